"""``metaembed train``: flags, messages and exit codes; the run itself is tested elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import pytest

from metaembed_rag import cli
from metaembed_rag.cli.train import flag_of
from metaembed_rag.training.config import MANY, TABLES


@pytest.fixture
def asked(monkeypatch):
    """What the run was asked: the configuration and the options, without a run."""
    pytest.importorskip("torch")
    from metaembed_rag.training import fit

    seen = {}

    def train(config, **options):
        seen.update(config=config, **options)
        before, after = {"set": {"1,1": 0.5}}, {"set": {"1,1": 0.625, "4,8": 0.75}}
        scores = {"before": before, "after": after, "best_step": 20}
        return {"out": config.out, "steps": 40, "seconds": 3.2, "loss": 0.5, **scores}

    monkeypatch.setattr(fit, "train", train)
    return seen


def test_every_key_is_a_flag(asked):
    flags = "--out o --data a.jsonl=2.5 --data b --evaluate d=text --evaluate-limit 9 --lora-rank 4"
    flags += " --groups=1,1|2,4 --weights 1,2 --temperatures 0.1,0.2 --score sum --evenness 0.5"
    flags += " --no-both-directions --backbone x/y --r-q 2 --lora-targets q,v --learning-rate 3e-4"
    flags += " --gradient-checkpointing --seed 5 --warm-up 0"
    assert cli.main(["train", *(flag.replace("|", " ") for flag in flags.split())]) == 0
    config = asked["config"]
    assert [(one.path, one.weight) for one in config.data] == [("a.jsonl", 2.5), ("b", 1.0)]
    assert [(one.path, one.mode, one.limit) for one in config.evaluate] == [("d", "text", 9)]
    assert (config.lora.rank, config.lora.targets) == (4, ("q", "v"))
    assert config.loss.groups == ((1, 1), (2, 4))
    assert (config.loss.weights, config.loss.temperatures) == ((1.0, 2.0), (0.1, 0.2))
    assert (config.model.backbone, config.model.r_q) == ("x/y", 2)
    assert config.train.gradient_checkpointing is True
    assert (config.train.learning_rate, config.train.seed, config.warm_up) == (3e-4, 5, 0)


def test_the_help_names_every_key(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    for table, kind in TABLES.items():
        for key in fields(kind):
            if table not in MANY:
                assert flag_of(table, key.name) in text


def test_no_two_keys_share_a_flag():
    flags = [
        flag_of(table, key.name)
        for table, kind in TABLES.items()
        if table not in MANY
        for key in fields(kind)
    ]
    assert len(flags) == len(set(flags))


def test_a_summary_for_people_and_an_object_for_programs(asked, capsys):
    command = ["train", "--out", "o", "--data", "a"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out.splitlines() == [
        "o: 40 steps in 3 s, loss 0.5000",
        "nDCG@5 on set at step 20 (before training)",
        "  (1,1)      62.5  ( 50.0)",
        "  (4,8)      75.0  (    -)",
    ]
    assert cli.main([*command, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["best_step"] == 20
    assert asked["say"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "a"], '"out" must name the folder'),
        (["--out", "o"], "there is no training set"),
        (["--out", "o", "--data", "a", "--steps", "many"], "train.steps must be a whole number"),
        (["nowhere.toml"], "nowhere.toml: no such file"),
        (["--out", "o", "--data", "a=-1"], "data.weight must be above 0, not -1"),
        (["--out", "o", "--data", "a", "--evaluate-limit", "3"], "goes with --evaluate"),
    ],
)
def test_a_failure_is_one_sentence_and_exit_code_1(arguments, message, capsys):
    assert cli.main(["train", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1


@pytest.mark.integration
def test_wrong_keys_are_refused_before_torch_is_loaded(tmp_path):
    (tmp_path / "run.toml").write_text('out = "a"\n[train]\nstpes = 3\n')
    code = "import sys; from metaembed_rag.cli import main; main(sys.argv[1:]); "
    code += "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", str(tmp_path / "run.toml")],
        capture_output=True,
        text=True,
    )
    assert "run.toml, line 3: unknown key 'stpes'" in done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.integration
@pytest.mark.parametrize("module", ["accelerate", "datasets"])
def test_a_missing_library_is_named_with_its_extra(module, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"query": "a", "positive": "b"}\n')
    code = f"import sys; sys.modules['{module}'] = None; from metaembed_rag.cli import main; "
    code += "sys.exit(main(['train', '--data', 'a.jsonl', '--out', 'o']))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert f"'{module}'" in done.stderr and ".[train]" in done.stderr
    assert "Traceback" not in done.stderr
