"""Training runs: they learn, resume to the same numbers, and end in checkpoints that load."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
for module in ("accelerate", "datasets", "peft"):
    pytest.importorskip(module)

from metaembed_rag.errors import DatasetError, TrainingError  # noqa: E402
from metaembed_rag.model import MetaEmbedEncoder  # noqa: E402
from metaembed_rag.testing import FakeEncoder  # noqa: E402
from metaembed_rag.training import fit, run_folder  # noqa: E402
from metaembed_rag.training.config import read_config  # noqa: E402
from metaembed_rag.training.weights import AllWeights, meta_rows  # noqa: E402
from tests.support import tiny_backbones as tiny  # noqa: E402

pytestmark = pytest.mark.integration

WORDS = ["revenue", "region", "quarter", "costs", "chart", "bars"]
WORDS += ["legend", "years", "fox", "dog", "page", "shows"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a text backbone, a vision-language one, and pairs for each."""
    folder = tmp_path_factory.mktemp("training")
    tiny.modernbert(folder / "bert")
    tiny.qwen2_5_vl(folder / "qwen")
    lines = [{"query": f"{a} {b}", "positive": f"the {b} of {a}"} for a in WORDS for b in WORDS[:2]]
    lines[0]["negatives"] = ["a lazy fox"]
    write(folder / "pairs.jsonl", lines)
    for i, color in enumerate(["red", "blue", "lime", "gold"]):
        Image.new("RGB", (56 + 28 * i, 56), color).save(folder / f"{i}.png")
    pictures = [
        {"query": WORDS[i], "positive": {"image": f"{i}.png", "text": WORDS[-1]}} for i in range(4)
    ]
    pictures[1]["negatives"] = [{"image": "3.png"}]
    write(folder / "pictures.jsonl", pictures)
    return folder


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def flags_of(place, out, data="pairs.jsonl", lora=None, loss=None, model=None, **train):
    """A short run on the tiny text backbone, as `read_config` takes it."""
    small = {"r_q": 2, "r_c": 3, "max_query_tokens": 16, "max_document_tokens": 32}
    flags = {
        "out": str(out),
        "model": {"backbone": str(place / "bert"), **small, **(model or {})},
        "data": [{"path": str(place / data)}],
        "loss": {"groups": [[1, 1], [2, 3]], **(loss or {})},
        "train": {"steps": 6, "batch_size": 4, "save_every": 2, "log_every": 2, "warm_up": 1}
        | {"learning_rate": 1e-3, "device": "cpu"}
        | train,
    }
    if lora is not None:
        flags["lora"] = lora
    return flags


def config(place, out, evaluate=(), **options):
    sets = [{"path": str(one), "mode": "text"} for one in evaluate]
    return read_config(None, {**flags_of(place, out, **options), "evaluate": sets})


def write_toml(path, flags):
    """The same run as a file: texts, numbers and lists of JSON are those of TOML."""
    lines = [f"out = {json.dumps(flags['out'])}"]
    for table in ("model", "loss", "train"):
        lines += [f"[{table}]", *(f"{k} = {json.dumps(v)}" for k, v in flags[table].items())]
    for one in flags["data"]:
        lines += ["[[data]]", f"path = {json.dumps(one['path'])}"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def vectors(folder):
    encoder = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    return encoder.encode_query(["revenue region", "dog"])


def log_of(out):
    lines = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def beir(folder, words=WORDS):
    """A small evaluation set; one query and one page a word."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    write(folder / "corpus.jsonl", [{"_id": w, "text": f"the {w} of dog"} for w in words])
    write(folder / "queries.jsonl", [{"_id": w, "text": f"{w} dog"} for w in words])
    rows = "".join(f"{w}\t{w}\t1\n" for w in words)
    (folder / "qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    return folder


class Stop(Exception):
    """Ends a run at once, as a signal would between two steps."""


def interrupted(asked, step):
    def say(line):
        if line.startswith(f"step {step}/"):
            raise Stop

    with pytest.raises(Stop):
        fit.train(asked, say=say)


@pytest.mark.parametrize(
    "options",
    [{}, {"lora": {"rank": 2, "dropout": 0.5}, "mini_batch": 3}],
    ids=["all weights", "LoRA with dropout and GradCache"],
)
def test_an_interrupted_run_ends_in_exactly_the_same_numbers(place, tmp_path, options):
    whole = fit.train(config(place, tmp_path / "whole", **options))
    interrupted(config(place, tmp_path / "cut", **options), step=4)
    assert [path.name for path in (tmp_path / "cut/checkpoints").glob("ch*")] == ["checkpoint-2"]
    told = []
    resumed = fit.train(config(place, tmp_path / "cut", **options), say=told.append)
    assert told[0] == "going on from step 2 of 6"
    assert resumed["loss"] == whole["loss"]
    assert [line["loss"] for line in log_of(tmp_path / "cut")] == [
        line["loss"] for line in log_of(tmp_path / "whole")
    ]
    assert (vectors(tmp_path / "cut") == vectors(tmp_path / "whole")).all()


@pytest.mark.slow
def test_a_killed_run_ends_in_exactly_the_same_numbers(place, tmp_path):
    """SIGKILL in a process of its own, wherever it happens to be."""
    whole = fit.train(config(place, tmp_path / "whole", steps=40))
    asked = config(place, tmp_path / "cut", steps=40)
    file = write_toml(tmp_path / "run.toml", flags_of(place, tmp_path / "cut", steps=40))
    command = [sys.executable, "-m", "metaembed_rag.cli", "train", file]
    for _ in range(2):
        before = sorted((tmp_path / "cut/checkpoints").glob("checkpoint-*"))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while sorted((tmp_path / "cut/checkpoints").glob("checkpoint-*")) == before:
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert (vectors(next((tmp_path / "cut/checkpoints").glob("checkpoint-*")))).shape == (2, 2, 32)
    assert fit.train(asked)["loss"] == whole["loss"]


def test_training_lowers_the_loss_and_the_folder_says_how(place, tmp_path):
    result = fit.train(config(place, tmp_path / "out", steps=20), command="metaembed train x.toml")
    losses = [line["loss"] for line in log_of(tmp_path / "out")]
    assert losses[-1] < 0.8 * losses[0]
    assert set(result["groups"]) == {"1,1", "2,3"}
    assert set(result["collapse"]) == {"2,3"}
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    digest = json.loads((tmp_path / "out/run.json").read_text())["data"][0]["digest"]
    for part in (
        "metaembed train x.toml",
        "| pairs | 1 | 24 |",
        digest,
        "train.steps | 20",
        "torch",
    ):
        assert part in card


def test_a_finished_run_is_not_done_again(place, tmp_path):
    first = fit.train(config(place, tmp_path / "out"))
    told = []
    assert fit.train(config(place, tmp_path / "out"), say=told.append) == first
    assert told == [f"{tmp_path / 'out'}: this run is finished already"]


def test_the_result_loads_in_sentence_transformers_and_trains_on(place, tmp_path):
    from sentence_transformers import MultiVectorEncoder

    fit.train(config(place, tmp_path / "out"))
    theirs = MultiVectorEncoder(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    ours = vectors(tmp_path / "out")
    assert np.abs(np.asarray(theirs.encode_query(["revenue region"])[0]) - ours[0]).max() < 1e-5
    again = config(place, tmp_path / "more", model={"backbone": str(tmp_path / "out")})
    assert fit.train(again)["steps"] == 6


def test_lora_on_a_vision_language_backbone_reads_pictures_and_ends_as_a_whole_model(
    place, tmp_path
):
    from sentence_transformers import MultiVectorEncoder

    result = fit.train(
        config(
            place,
            tmp_path / "out",
            data="pictures.jsonl",
            lora={"rank": 2},
            model={"backbone": str(place / "qwen"), "r_q": 2, "r_c": 3},
            loss={"groups": [[2, 3]]},
            steps=2,
            mini_batch=2,
            gradient_checkpointing=True,
            precision="bf16",
        )
    )
    encoder = MetaEmbedEncoder.from_pretrained(tmp_path / "out", device="cpu")
    start = MetaEmbedEncoder.from_backbone(place / "qwen", 2, 3, device="cpu")
    picture = Image.open(place / "0.png")
    ours = encoder.encode_document([picture])
    assert np.isfinite(result["loss"])
    assert np.abs(ours - start.encode_document([picture])).max() > 1e-4
    theirs = MultiVectorEncoder(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    assert np.abs(np.asarray(theirs.encode_document([picture])[0]) - ours[0]).max() < 1e-4


def test_the_best_weights_are_the_model_and_scores_stand_in_the_card(place, tmp_path):
    folder = beir(tmp_path / "beir")
    flags = flags_of(place, tmp_path / "out", evaluate_every=2)
    flags["evaluate"] = [{"path": str(folder), "mode": "text", "limit": 5}]
    result = fit.train(read_config(None, flags))
    lines = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    scores = {line["step"]: line["scores"]["beir"]["2,3"] for line in lines if "scores" in line}
    assert list(scores) == [0, 2, 4, 6]
    trained = {step: value for step, value in scores.items() if step}
    assert scores[result["best_step"]] == max(trained.values())
    assert result["before"]["beir"]["2,3"] == scores[0]
    assert "| beir | (2,3) |" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    from metaembed_rag.evaluation import evaluate

    encoder = MetaEmbedEncoder.from_pretrained(tmp_path / "out", device="cpu")
    report = evaluate(folder, encoder, mode="text", budgets=["2,3"], limit=5)
    assert report.results[0].mean("ndcg@5") == pytest.approx(max(trained.values()), abs=1e-4)


def test_meta_tokens_have_a_rate_of_their_own(place):
    """AdamW's update is proportional to its rate: a tenth of the rate, of the update."""

    def moved(share):
        encoder = MetaEmbedEncoder.from_backbone(place / "bert", 2, 3, device="cpu")
        weight = encoder.backbone.model.get_input_embeddings().weight
        before = weight.detach().clone()
        optimizer = torch.optim.AdamW([weight], lr=1e-2, weight_decay=0.1)
        AllWeights(encoder, meta_share=share).watch(optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            weight.mul(torch.arange(weight.numel()).view_as(weight).cos()).sum().backward()
            optimizer.step()
        rows = torch.zeros(len(weight), dtype=torch.bool)
        rows[meta_rows(encoder)] = True
        change = weight.detach() - before
        return change[rows], change[~rows]

    meta, others = moved(0.1)
    full_meta, full_others = moved(1.0)
    assert torch.equal(others, full_others)
    assert torch.allclose(meta, 0.1 * full_meta, rtol=0.01, atol=1e-6)
    assert moved(0.0)[0].abs().max() == 0


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"steps": 8}, "train.steps is 6 there and 8 here"),
        ({"seed": 1}, "train.seed is 0 there and 1 here"),
        ({"lora": {"rank": 2}}, "lora is not given there"),
    ],
)
def test_another_configuration_is_refused_by_the_names_of_its_keys(
    place, tmp_path, changes, differing
):
    interrupted(config(place, tmp_path / "out"), step=2)
    with pytest.raises(TrainingError, match="another configuration") as caught:
        fit.train(config(place, tmp_path / "out", **changes))
    assert differing in str(caught.value) or "lora.rank" in str(caught.value)


def test_other_data_is_refused_and_another_device_or_log_is_not(place, tmp_path):
    mine = tmp_path / "pairs.jsonl"
    mine.write_text((place / "pairs.jsonl").read_text())
    asked = config(tmp_path, tmp_path / "out", model={"backbone": str(place / "bert")})
    interrupted(asked, step=4)
    same = config(tmp_path, tmp_path / "out", model={"backbone": str(place / "bert")}, log_every=1)
    assert fit.train(same)["steps"] == 6
    (tmp_path / "out/result.json").unlink()
    write(mine, [{"query": "a", "positive": "b"}, {"query": "c", "positive": "d"}])
    with pytest.raises(TrainingError, match=r"data\.1\.digest"):
        fit.train(asked)


def test_what_failed_before_its_first_report_may_be_asked_otherwise(place, tmp_path):
    with pytest.raises(TrainingError, match="cannot be used"):
        fit.train(config(place, tmp_path / "out", lora={"targets": "nowhere"}))
    assert (tmp_path / "out/run.json").is_file()
    assert fit.train(config(place, tmp_path / "out", steps=2))["steps"] == 2


def test_a_run_that_was_killed_while_its_folder_was_made_starts(place, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.run.json.part").write_text("{")
    assert fit.train(config(place, tmp_path / "out", steps=2))["steps"] == 2


def test_evaluation_sets_of_one_name_are_told_apart_and_must_not_change(place, tmp_path):
    sets = [beir(tmp_path / "a/set"), beir(tmp_path / "b/set", WORDS[:3])]
    asked = config(place, tmp_path / "out", sets, evaluate_every=6)
    interrupted(asked, step=4)
    beir(sets[1], WORDS[:4])
    with pytest.raises(TrainingError, match=r"evaluated\.2\.digest"):
        fit.train(asked)
    beir(sets[1], WORDS[:3])
    assert list(fit.train(asked)["after"]) == [f"{one}, text" for one in sets]
    twice = config(place, tmp_path / "out", [sets[0]] * 2, evaluate_every=6)
    with pytest.raises(TrainingError, match="given twice"):
        fit.train(twice)


def test_pages_that_an_evaluation_cannot_read_are_told_once(place, tmp_path):
    folder = beir(tmp_path / "set")
    with (folder / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "empty", "text": ""}) + "\n")
    told = []
    fit.train(config(place, tmp_path / "out", [folder], steps=2), say=told.append)
    assert [line.partition(":")[0] for line in told].count("set") == 1
    assert told[0].startswith("set: 1 of 13 pages cannot be read")


def test_a_set_in_which_no_page_stands_against_another_is_refused(place, tmp_path):
    lines = [{"query": word, "positive": "the same page"} for word in WORDS]
    write(tmp_path / "same.jsonl", lines)
    bert = {"backbone": str(place / "bert")}
    with pytest.raises(DatasetError, match=r"same\.jsonl: no two of its 12 rows"):
        fit.train(config(tmp_path, tmp_path / "out", data="same.jsonl", model=bert))
    assert not (tmp_path / "out").exists()


def test_a_lack_of_memory_on_the_device_says_what_to_change(place, tmp_path, monkeypatch):
    def lack(*_):
        raise torch.OutOfMemoryError("Tried to allocate 2 GiB. GPU 0 has 1")

    monkeypatch.setattr(fit.MMRObjective, "forward", lack)
    with pytest.raises(TrainingError, match=r"Tried to allocate 2 GiB\).*mini_batch"):
        fit.train(config(place, tmp_path / "out"))


def test_a_warm_up_longer_than_the_run_is_told(place, tmp_path):
    told = []
    fit.train(config(place, tmp_path / "out", steps=2, warm_up=50), say=told.append)
    assert told[0].startswith("train.warm_up takes 50 of 2 steps")


def test_a_folder_that_holds_something_else_is_not_touched(place, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match="not empty and holds no training run"):
        fit.train(config(place, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_pictures_for_a_text_model_are_refused_by_line_before_anything_is_written(place, tmp_path):
    with pytest.raises(DatasetError, match=r"pictures\.jsonl, line 1: the positive has an image"):
        fit.train(config(place, tmp_path / "out", data="pictures.jsonl"))
    assert not (tmp_path / "out").exists()


def test_a_damaged_picture_is_named_with_its_line_also_by_workers(place, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    lines = [{"query": "a", "positive": {"image": "bad.png"}}, {"query": "b", "positive": "c"}]
    write(tmp_path / "bad.jsonl", lines)
    qwen = {"backbone": str(place / "qwen")}
    for workers in (0, 1):
        asked = config(
            tmp_path, tmp_path / f"{workers}", data="bad.jsonl", model=qwen, workers=workers
        )
        with pytest.raises(DatasetError, match=r"bad\.jsonl, line \d: .*bad\.png"):
            fit.train(asked)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": {"groups": [[2, 4]]}}, r"\(2,4\), but the model makes 2 query vectors and 3"),
        ({"device": "tpu"}, "must be cpu, cuda or mps"),
        ({"lora": {"targets": "nowhere"}}, "lora.targets 'nowhere' cannot be used"),
        ({"learning_rate": 1e30, "clip": 0}, "not a finite number at step"),
    ],
)
def test_what_cannot_work_is_one_sentence(place, tmp_path, changes, message):
    with pytest.raises(TrainingError, match=message):
        fit.train(config(place, tmp_path / "out", **changes))


@pytest.mark.slow
def test_two_processes_train_as_one_does_on_their_batches_together(place, tmp_path):
    alone = fit.train(config(place, tmp_path / "one", batch_size=8))
    file = write_toml(tmp_path / "run.toml", flags_of(place, tmp_path / "two", batch_size=4))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += ["-m", "metaembed_rag.cli", "train", file, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    together = json.loads(done.stdout.strip().splitlines()[-1])
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-3)


def test_a_model_trained_in_dimension_prefixes_says_so(place, tmp_path):
    fit.train(config(place, tmp_path / "m", loss={"dimensions": [8]}, steps=2))
    encoder = MetaEmbedEncoder.from_pretrained(tmp_path / "m", device="cpu")
    assert encoder.dimensions == (8, 32)


def test_a_prefix_longer_than_the_vectors_is_refused(place, tmp_path):
    with pytest.raises(TrainingError, match="64 values a vector, but the model's have 32"):
        fit.train(config(place, tmp_path / "m", loss={"dimensions": [8, 64]}))


def test_an_encoder_without_meta_tokens_of_its_own_cannot_be_trained(place, tmp_path, monkeypatch):
    fake = classmethod(lambda cls, name, **options: FakeEncoder(8, 2, 3))
    monkeypatch.setattr(MetaEmbedEncoder, "from_pretrained", fake)
    with pytest.raises(TrainingError, match="mini has no Meta Tokens that could be trained"):
        fit.train(config(place, tmp_path / "out", model={"backbone": "mini"}))


def test_a_run_killed_while_it_removes_a_checkpoint_leaves_no_half(place, tmp_path, monkeypatch):
    real = shutil.rmtree

    def killed(path, *options, **keywords):
        if Path(path).is_dir() and (Path(path) / "trainer_state.json").exists():
            next(Path(path).iterdir()).unlink()
            raise Stop
        real(path, *options, **keywords)

    monkeypatch.setattr(run_folder.shutil, "rmtree", killed)
    with pytest.raises(Stop):
        fit.train(config(place, tmp_path / "out"))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "out/checkpoints").glob("ch*")] == ["checkpoint-4"]
    assert fit.train(config(place, tmp_path / "out"))["steps"] == 6
