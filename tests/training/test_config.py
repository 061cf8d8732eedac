"""A run's configuration: read from TOML and flags, refused by file and line."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from metaembed_rag.errors import TrainingError
from metaembed_rag.training.config import TABLES, read_config

WHOLE = """\
out = "my-model"

[model]
backbone = "Qwen/Qwen2.5-VL-3B-Instruct"
r_q = 16
template = { text = "a {text}", image = "<img>", fused = "<img> {text}" }

[lora]
targets = ["q_proj", "v_proj"]

[[data]]
path = "charts.jsonl"
weight = 2
name = "charts"

[[data]]
path = "pages"

[loss]
groups = [[1, 1], [16, 64]]
weights = [1, 0.5]
temperatures = 0.03
score = "sum"

[train]
steps = 4000
learning_rate = 1e-4
precision = "bf16"
gradient_checkpointing = true

[[evaluate]]
path = "beir"
limit = 200
mode = "text"
"""


def read(tmp_path, text, flags=None):
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path, flags)


def test_a_file_is_read_with_defaults_for_what_it_leaves_out(tmp_path):
    config = read(tmp_path, WHOLE)
    assert (config.model.r_q, config.model.r_c) == (16, None)
    assert config.lora.targets == ("q_proj", "v_proj")
    assert config.lora.rank == 32
    assert [one.weight for one in config.data] == [2.0, 1.0]
    assert config.loss.groups == ((1, 1), (16, 64))
    assert config.loss.temperatures == 0.03
    assert config.train.seed == 0
    assert config.evaluate[0].limit == 200
    assert config.warm_up == 400


def test_without_a_lora_table_everything_is_trained(tmp_path):
    assert read(tmp_path, 'out = "a"\n[[data]]\npath = "b"').lora is None
    assert read(tmp_path, 'out = "a"\n[lora]\n[[data]]\npath = "b"').lora.rank == 32


def test_flags_win_over_the_file_and_do_without_one(tmp_path):
    flags = {"train": {"steps": 7}, "out": "else", "data": [{"path": "c.jsonl"}]}
    config = read(tmp_path, WHOLE, flags)
    assert (config.train.steps, config.train.learning_rate) == (7, 1e-4)
    assert (config.out, [one.path for one in config.data]) == ("else", ["c.jsonl"])
    alone = read_config(None, {"out": "a", "data": [{"path": "b"}]})
    assert alone.model.backbone == "mini"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("steps = 4000", "step = 4000", 26, "unknown key 'step' in [train]; did you mean 'steps'?"),
        ("weights = [1, 0.5]", "batch_size = 8", 21, "it belongs under [train]. Known: groups"),
        ("[train]", "[trian]", 25, "unknown key 'trian'; did you mean 'train'?"),
        ("steps = 4000", 'steps = "many"', 26, "train.steps must be a whole number, not 'many'"),
        ("steps = 4000", "steps = 0", 26, "train.steps must be at least 1, not 0"),
        ("r_q = 16", "r_q = true", 5, "model.r_q must be a whole number, not True"),
        ("weight = 2", "weight = -2", 13, "data.weight must be above 0, not -2"),
        (
            'path = "pages"',
            'paht = "pages"',
            17,
            "unknown key 'paht' in [data]; did you mean 'path'",
        ),
        ('path = "pages"', "limit = 3", 16, "[[data]] needs 'path'"),
        ("[[1, 1], [16, 64]]", "[[1, 1], [16]]", 20, "a list of budgets such as [[1, 1], [4, 8]]"),
        ("[[1, 1], [16, 64]]", "[[1, 0], [2, 4]]", 20, "r_c must be a whole number of at least 1"),
        ("weights = [1, 0.5]", "weights = [1]", 19, "loss.weights has 1 numbers for 2 groups"),
        ('score = "sum"', 'score = "max"', 23, "loss.score must be one of mean, sum, not 'max'"),
        ('mode = "text"', 'mode = "words"', 34, "evaluate.mode must be one of fused, image, text"),
        ("targets = [", "targets = [1, ", 9, "lora.targets must be text, or a list of texts"),
        ('out = "my-model"', "out = 3", 1, '"out" must name the folder'),
    ],
)
def test_a_wrong_line_is_named(tmp_path, old, new, line, message):
    assert WHOLE.count(old) == 1
    with pytest.raises(TrainingError, match=re.escape(message)) as caught:
        read(tmp_path, WHOLE.replace(old, new))
    assert str(caught.value).startswith(f"{tmp_path / 'run.toml'}, line {line}: ")


def test_a_wrong_flag_is_named_without_a_line(tmp_path):
    with pytest.raises(TrainingError, match=r"^train\.steps must be at least 1, not 0$"):
        read(tmp_path, WHOLE, {"train": {"steps": 0}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('out = "a"', "there is no training set; add [[data]]"),
        ('out = "a"\n[data]\npath = "b"', "write [[data]] with two brackets"),
        ('[[data]]\npath = "b"', '"out" must name the folder of the run'),
        ("out = ", "not TOML"),
        ('out = "a"\ntrain = 3', "[train] must be a table"),
    ],
)
def test_what_is_missing_is_said(tmp_path, text, message):
    with pytest.raises(TrainingError, match=re.escape(message)):
        read(tmp_path, text)


def test_a_missing_file_is_named():
    with pytest.raises(TrainingError, match=r"nowhere\.toml: no such file"):
        read_config("nowhere.toml")


def test_the_reference_names_every_key_with_its_default():
    text = (Path(__file__).parents[2] / "docs/train.md").read_text(encoding="utf-8")
    for table, kind in TABLES.items():
        for key in fields(kind):
            row = re.search(rf"^\| `{table}\.{key.name}` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
            assert row, f"{table}.{key.name}"
            default = key.default
            shown = "" if default is None else f"`{default}`".lower()
            if isinstance(default, str | bool | int | float):
                assert row[1] == shown, f"{table}.{key.name}"
            choices = ", ".join(key.metadata["choices"])
            described = key.metadata["help"] + (f"; one of {choices}" if choices else "")
            assert row[2] == described, f"{table}.{key.name}"


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "run.toml").write_text('out = "o"\n[[data]]\npath = "a"\n', encoding="utf-8-sig")
    assert read_config(tmp_path / "run.toml").out == "o"


def test_weights_that_are_all_zero_are_refused_also_for_the_papers_groups():
    with pytest.raises(TrainingError, match="loss.weights are all 0"):
        read_config(None, {"out": "o", "data": [{"path": "a"}], "loss": {"weights": [0] * 5}})


def test_importing_the_training_package_loads_no_torch():
    code = "import sys, metaembed_rag.training; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
