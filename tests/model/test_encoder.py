"""The encoder's outside: names, folders, errors, fingerprints, silence; on a tiny text model."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import metaembed_rag.model.checkpoints as checkpoints
from metaembed_rag.errors import CheckpointError, ModalityError, ModelError
from metaembed_rag.model import MetaEmbedEncoder, Template, shipped_checkpoints
from tests.support import tiny_backbones

TEXTS = ["the fox", "revenue by region grew", "a chart with bars and a legend of years"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_backbones.modernbert(tmp_path_factory.mktemp("plain") / "bert")


@pytest.fixture(scope="module")
def encoder(plain: Path) -> MetaEmbedEncoder:
    return MetaEmbedEncoder.from_backbone(plain, device="cpu")


@pytest.fixture(autouse=True)
def no_further_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAEMBED_CHECKPOINTS", raising=False)


@pytest.fixture
def saved(encoder: MetaEmbedEncoder, tmp_path: Path) -> Path:
    return encoder.save_pretrained(tmp_path / "saved")


def test_it_says_what_it_is(encoder: MetaEmbedEncoder, plain: Path) -> None:
    assert encoder.name == str(plain)
    assert (encoder.dimension, encoder.query_vectors, encoder.document_vectors) == (32, 16, 64)
    assert encoder.modalities == {"text"}
    assert "r_q=16, r_c=64, D=32" in repr(encoder)


def test_saved_weights_may_be_read_by_whoever_may_read_the_rest(saved: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in saved.iterdir() if path.is_file()}
    assert modes["model.safetensors"] == modes["metaembed.json"]


def test_numbers_of_vectors_are_chosen_when_it_is_made(plain: Path) -> None:
    encoder = MetaEmbedEncoder.from_backbone(plain, 2, 5, device="cpu")
    assert encoder.encode_query("fox").shape == (1, 2, 32)
    assert encoder.encode_document("fox").shape == (1, 5, 32)


def test_one_input_counts_as_a_list_of_one(encoder: MetaEmbedEncoder) -> None:
    one = encoder.encode_query("the fox")
    assert np.array_equal(one, encoder.encode_query(["the fox"]))
    assert np.array_equal(one, encoder.encode_query({"text": "the fox"}))
    assert np.array_equal(one, encoder.encode_query({"text": "the fox", "image": None}))


def test_no_input_gives_no_row(encoder: MetaEmbedEncoder) -> None:
    assert encoder.encode_document([]).shape == (0, 64, 32)


def test_results_do_not_depend_on_the_batch_size(encoder: MetaEmbedEncoder) -> None:
    texts = [f"fox {'and dog ' * i}" for i in range(20)]
    every = encoder.encode_document(texts)
    assert np.abs(encoder.encode_document(texts, batch_size=3) - every).max() <= 1e-5


def test_text_that_looks_like_a_file_name_is_text(encoder: MetaEmbedEncoder) -> None:
    assert encoder.encode_query(["chart.png", "https://example.org/a.jpg"]).shape == (2, 16, 32)


@pytest.mark.parametrize("empty", ["", " \n\t", {}, {"text": ""}, {"text": None, "image": None}])
def test_nothing_is_never_encoded(encoder: MetaEmbedEncoder, empty: Any) -> None:
    with pytest.raises(ModalityError, match="document 1 has neither text nor an image"):
        encoder.encode_document(["fox", empty])


@pytest.mark.parametrize("fused", [False, True])
def test_a_text_only_model_sends_images_to_ocr(encoder: MetaEmbedEncoder, fused: bool) -> None:
    image = Image.new("RGB", (8, 8))
    with pytest.raises(ModalityError, match=r"reads text only.*\.\[ocr\]"):
        encoder.encode_document({"text": "fox", "image": image} if fused else image)


@pytest.mark.parametrize("wrong", [Path("a.png"), b"fox", 3, {"path": "a.png"}, {"text": 3}, None])
def test_other_things_are_refused(encoder: MetaEmbedEncoder, wrong: Any) -> None:
    with pytest.raises(ModalityError, match="query 0 is"):
        encoder.encode_query([wrong])


def test_impossible_numbers_are_refused(encoder: MetaEmbedEncoder, plain: Path) -> None:
    with pytest.raises(ValueError, match="between 1 and 16"):
        encoder.encode_query("fox", vectors=17)
    with pytest.raises(ValueError, match="batch_size"):
        encoder.encode_query("fox", batch_size=0)
    with pytest.raises(CheckpointError, match="query_vectors"):
        MetaEmbedEncoder.from_backbone(plain, 0)
    with pytest.raises(ValueError, match="no dtype"):
        MetaEmbedEncoder.from_backbone(plain, dtype="float99")
    with pytest.raises(TypeError, match="'colour'"):
        MetaEmbedEncoder.from_backbone(plain, colour="red")


def test_a_length_beyond_the_backbones_positions_is_refused(plain: Path) -> None:
    # 2,048 positions: 1,983 + 64 Meta Tokens + [CLS] + [SEP] are one too many.
    with pytest.raises(CheckpointError, match=r"needs 2049 positions.*has 2048"):
        MetaEmbedEncoder.from_backbone(plain, max_document_tokens=1983)


def test_vectors_that_are_no_numbers_are_an_error(plain: Path) -> None:
    encoder = MetaEmbedEncoder.from_backbone(plain, device="cpu")
    with torch.no_grad():
        encoder.backbone.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        encoder.encode_query("fox")


def test_meta_rows_are_the_same_for_the_same_seed(plain: Path) -> None:
    rows = [
        MetaEmbedEncoder.from_backbone(plain, device="cpu", seed=seed).encode_query("fox")
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(rows[0], rows[1])
    assert np.abs(rows[0] - rows[2]).max() > 1e-3


def test_meta_tokens_that_are_there_are_reused(encoder: MetaEmbedEncoder, saved: Path) -> None:
    for name in ("metaembed.json", "modules.json"):
        (saved / name).unlink()
    again = MetaEmbedEncoder.from_backbone(saved, device="cpu", seed=99)
    assert np.array_equal(again.encode_query(TEXTS), encoder.encode_query(TEXTS))


def test_a_template_stands_around_the_text(plain: Path) -> None:
    template = Template(text="title: {text} end")
    encoder = MetaEmbedEncoder.from_backbone(plain, device="cpu", template=template)
    ids = encoder.backbone.preprocess(["fox"])["input_ids"][0]
    text = encoder.backbone.tokenizer.decode(ids, skip_special_tokens=True)
    assert text == "title: fox end"


def test_a_template_without_a_place_for_the_text_is_refused(plain: Path) -> None:
    with pytest.raises(CheckpointError, match="exactly once"):
        MetaEmbedEncoder.from_backbone(plain, template={"text": "title:"})


def test_sentence_transformers_loads_the_folder(encoder: MetaEmbedEncoder, saved: Path) -> None:
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(saved), trust_remote_code=True, device="cpu")
    query = model.encode_query(["the fox"], convert_to_numpy=True)[0]
    document = model.encode_document(["the fox"], convert_to_numpy=True)[0]
    assert np.array_equal(query, encoder.encode_query("the fox")[0])
    assert np.array_equal(document, encoder.encode_document("the fox")[0])


def test_half_precision_weights_take_half_the_bytes(
    encoder: MetaEmbedEncoder, saved: Path, tmp_path: Path
) -> None:
    before = encoder.encode_query(TEXTS)
    half = encoder.save_pretrained(tmp_path / "half", dtype="float16")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (saved, half)]
    assert sizes[1] < 0.6 * sizes[0]
    assert np.array_equal(encoder.encode_query(TEXTS), before)  # saving rounds the copy only
    loaded = MetaEmbedEncoder.from_pretrained(half, device="cpu")
    assert loaded.model.dtype == torch.float32
    assert 0 < np.abs(loaded.encode_query(TEXTS) - before).max() < 1e-2


def test_lengths_of_earlier_calls_are_not_saved(encoder: MetaEmbedEncoder, tmp_path: Path) -> None:
    encoder.encode_query("fox " * 500)
    encoder.save_pretrained(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    assert (tokenizer["truncation"], tokenizer["padding"]) == (None, None)


def test_saving_keeps_a_model_card(encoder: MetaEmbedEncoder, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("my card")
    encoder.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my card"


class TestFingerprint:
    def test_it_is_that_of_the_stored_weights_in_any_dtype(
        self, encoder: MetaEmbedEncoder, saved: Path
    ) -> None:
        rounded = MetaEmbedEncoder.from_pretrained(saved, device="cpu", dtype="bfloat16")
        assert rounded.model.dtype == torch.bfloat16
        assert rounded.fingerprint == encoder.fingerprint

    def test_it_changes_with_a_single_weight(self, plain: Path) -> None:
        encoder = MetaEmbedEncoder.from_backbone(plain, device="cpu")
        before = encoder.fingerprint
        with torch.no_grad():
            next(encoder.backbone.model.layers.parameters()).view(-1)[0] += 0.5
        assert encoder.fingerprint != before

    def test_it_changes_with_meta_rows(self, plain: Path) -> None:
        made = [MetaEmbedEncoder.from_backbone(plain, device="cpu", seed=i) for i in (1, 2)]
        assert made[0].fingerprint != made[1].fingerprint

    @pytest.mark.parametrize(
        "change",
        [{"max_document_tokens": 100}, {"template": {"text": "page: {text}"}}, {"r_c": 63}],
    )
    def test_it_changes_with_settings(
        self, plain: Path, encoder: MetaEmbedEncoder, change: dict[str, Any]
    ) -> None:
        other = MetaEmbedEncoder.from_backbone(plain, device="cpu", **change)
        assert other.fingerprint != encoder.fingerprint

    def test_it_does_not_depend_on_the_place(
        self, encoder: MetaEmbedEncoder, saved: Path, tmp_path: Path
    ) -> None:
        moved = Path(shutil.copytree(saved, tmp_path / "elsewhere"))
        assert MetaEmbedEncoder.from_pretrained(moved).fingerprint == encoder.fingerprint


class TestNames:
    def test_a_shipped_name_is_found(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch, encoder: MetaEmbedEncoder
    ) -> None:
        shutil.copytree(saved, saved.parent / "shelf" / "tiny")
        monkeypatch.setattr(checkpoints, "SHIPPED", saved.parent / "shelf")
        loaded = MetaEmbedEncoder.from_pretrained("tiny", device="cpu")
        assert shipped_checkpoints() == ["tiny"]
        assert (loaded.name, loaded.fingerprint) == ("tiny", encoder.fingerprint)

    def test_an_environment_variable_adds_a_shelf(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("METAEMBED_CHECKPOINTS", str(saved.parent))
        assert "saved" in shipped_checkpoints()
        assert MetaEmbedEncoder.from_pretrained("saved", device="cpu").name == "saved"

    def test_an_unknown_name_lists_what_there_is(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checkpoints, "SHIPPED", saved.parent)
        with pytest.raises(CheckpointError, match=r"'maxi'.*not a shipped name \(saved\)"):
            MetaEmbedEncoder.from_pretrained("maxi")

    def test_a_hub_id_without_a_network_says_what_was_tried(self) -> None:
        with pytest.raises(CheckpointError, match=r"no checkpoint 'nobody/nothing'.*hub gave none"):
            MetaEmbedEncoder.from_pretrained("nobody/nothing")

    def test_a_missing_backbone_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            MetaEmbedEncoder.from_backbone(tmp_path / "none")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("metaembed.json", "no metaembed.json.*from_backbone"),
        ("config.json", "no config.json"),
        ("model.safetensors", r"no weights \(\*\.safetensors\)"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_an_incomplete_folder_says_what_is_missing(saved: Path, missing: str, message: str) -> None:
    (saved / missing).unlink()
    with pytest.raises(CheckpointError, match=message):
        MetaEmbedEncoder.from_pretrained(saved)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is empty"):
        MetaEmbedEncoder.from_pretrained(tmp_path)


def test_damaged_weights_are_one_sentence(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be loaded as a model"):
        MetaEmbedEncoder.from_pretrained(saved)


def test_weights_that_are_missing_are_not_made_up(saved: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(saved / "model.safetensors")
    name = next(name for name in weights if "layers" in name)
    del weights[name]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"lacks 1 of the model's weights, such as {name}"):
        MetaEmbedEncoder.from_pretrained(saved)


def test_missing_meta_tokens_are_named(saved: Path) -> None:
    settings = json.loads((saved / "metaembed.json").read_text())
    settings["document_vectors"] = 65
    (saved / "metaembed.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=r"<\|meta_document_64\|>"):
        MetaEmbedEncoder.from_pretrained(saved)


def test_a_newer_format_asks_for_an_upgrade(saved: Path) -> None:
    (saved / "metaembed.json").write_text('{"format": 2}')
    with pytest.raises(CheckpointError, match="upgrade metaembed-rag"):
        MetaEmbedEncoder.from_pretrained(saved)


def test_a_folder_never_touches_the_network(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert MetaEmbedEncoder.from_pretrained(saved).encode_query("fox").shape == (1, 16, 32)


def test_loading_encoding_and_saving_are_silent(
    plain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = MetaEmbedEncoder.from_backbone(plain, device="cpu")
    encoder.encode_document("fox " * 5000)
    MetaEmbedEncoder.from_pretrained(encoder.save_pretrained(tmp_path)).encode_query("fox")
    assert capfd.readouterr() == ("", "")


def test_dropout_is_off_after_training(encoder: MetaEmbedEncoder) -> None:
    encoder.model.train()
    encoder.encode_query("fox")
    assert not any(module.training for module in encoder.model.modules())


def test_progress_is_drawn_on_standard_error(
    encoder: MetaEmbedEncoder, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder.encode_document(TEXTS, show_progress=True)
    out, err = capfd.readouterr()
    assert (out, "Encoding documents" in err, "3/3" in err) == ("", True, True)


def test_threads_share_it(encoder: MetaEmbedEncoder) -> None:
    expected = [encoder.encode_query(text) for text in TEXTS]
    wrong: list[str] = []

    def work(text: str, right: np.ndarray) -> None:
        for _ in range(5):
            if not np.array_equal(encoder.encode_query(text), right):
                wrong.append(text)

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(TEXTS, expected, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
