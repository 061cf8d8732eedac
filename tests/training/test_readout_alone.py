"""A readout trained alone: the backbone's weights stay, and nothing is lost on the way."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
for module in ("accelerate", "datasets"):
    pytest.importorskip(module)

from metaembed_rag.errors import TrainingError  # noqa: E402
from metaembed_rag.model import MetaEmbedEncoder  # noqa: E402
from metaembed_rag.training import fit  # noqa: E402
from metaembed_rag.training.config import read_config  # noqa: E402
from recipes.minilm.start import with_windows  # noqa: E402
from tests.support import tiny_backbones as tiny  # noqa: E402
from tests.support.tiny_bert import bert  # noqa: E402

WORDS = ["revenue", "region", "quarter", "costs", "chart", "bars", "legend", "years"]


@pytest.fixture
def pairs(tmp_path):
    rows = [{"query": f"{a} {b}", "positive": f"the {b} of {a}"} for a in WORDS for b in WORDS[:2]]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def configuration(tmp_path, start, pairs):
    path = tmp_path / "run.toml"
    path.write_text(
        f"out = '{tmp_path / 'run'}'\n[model]\nbackbone = '{start}'\n[[data]]\npath = '{pairs}'\n"
        "[train]\ntrained = 'readout'\nsteps = 3\nbatch_size = 4\nlearning_rate = 1e-2\n"
        "warm_up = 0\ndevice = 'cpu'\n",
        encoding="utf-8",
    )
    return read_config(path)


def test_the_backbone_stays_and_the_readout_learns(tmp_path, pairs):
    start = with_windows(bert(tmp_path / "bert")).save_pretrained(tmp_path / "start")
    fit.train(configuration(tmp_path, start, pairs))

    before, after = (
        MetaEmbedEncoder.from_pretrained(folder, device="cpu").backbone.model.state_dict()
        for folder in (start, tmp_path / "run")
    )
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if name.startswith("text."):
            assert torch.equal(tensor, after[name]), name
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert {"reader.lexical.weight", "reader.output.weight", "reader.weight.weight"} <= set(moved)


def test_a_model_without_a_readout_is_refused(tmp_path, pairs):
    tiny.modernbert(tmp_path / "plain")
    with pytest.raises(TrainingError, match=r"train\.trained is \"readout\""):
        fit.train(configuration(tmp_path, tmp_path / "plain", pairs))
