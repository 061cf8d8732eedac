"""The recipe of the shipped checkpoint, from text to scores, at toy sizes."""

from __future__ import annotations

import itertools
import json
import logging
import random
from dataclasses import fields
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
for module in ("accelerate", "datasets", "ir_measures", "tokenizers"):
    pytest.importorskip(module)

from metaembed_rag import MetaEmbedEncoder  # noqa: E402
from metaembed_rag.evaluation import Dataset, Query, evaluate  # noqa: E402
from metaembed_rag.pages import Page  # noqa: E402
from metaembed_rag.training.config import read_config  # noqa: E402
from recipes.mini import stages  # noqa: E402
from recipes.mini.__main__ import STAGES, main, parser  # noqa: E402
from recipes.mini.data import corpora  # noqa: E402
from recipes.mini.data.rows import write_dataset  # noqa: E402
from recipes.mini.stages import Mini, Sizes  # noqa: E402
from tests.recipes.builders import jsonl  # noqa: E402

pytestmark = pytest.mark.integration

WORDS = [a + b + c + d for a in "bdg" for b in "aeo" for c in "lmn" for d in "ae"]
SIZES = Sizes(vocabulary=700, hidden=128, layers=1, intermediate=64, bag_steps=5, bag_batch=64)
TRAINING = {"steps": 30, "batch_size": 16, "learning_rate": 1e-3, "warm_up": 5}
TRAINING |= {"save_every": 10, "log_every": 10}


def words(drawn, count):
    return " ".join(drawn.sample(WORDS, count))


def asking_for(text):
    """The first words of a text backwards, which is another language: it has to be learnt."""
    return " ".join(word[::-1] for word in text.split()[:4])


def titled_page(path, number, drawn):
    """Twelve words over and over: a page still answers when a title or a span is taken out."""
    own = drawn.sample(WORDS, 12)
    text = " ".join(own + own[::-1] + own[::2] + own[1::2])
    return {"path": path, "page": number, "titles": [f"{own[0]} {own[1]}"], "text": text}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What ``prepare`` leaves: pages of 150 TeX packages with a title each, a few other texts."""
    folder, drawn = tmp_path_factory.mktemp("mini"), random.Random(0)
    places = [f"/usr/share/doc/texlive-doc/latex/p{package}/m.pdf" for package in range(150)]
    rows = [titled_page(place, number, drawn) for place in places for number in (1, 2)]
    for package in corpora.TEX_PACKAGES:
        rows_of = rows if package.endswith("latex-extra-doc") else []
        jsonl(folder / "work" / "tex" / f"{package}.jsonl", rows_of)
    sections = [titled_page("/book", number, drawn) for number in range(1, 9)]
    jsonl(folder / "work" / "handbooks" / "some-doc.jsonl", sections)
    data = folder / "data"
    pairs = [
        {"id": f"{a}{b}", "query": asking_for(text), "text": text}
        for a, b in itertools.product(WORDS[::3], WORDS[:20])
        for text in [words(drawn, 8)]
    ]
    jsonl(data / "debian_packages" / "train_pairs.jsonl.gz", pairs)
    for split in ("train", "val"):
        texts = [words(drawn, 12) for _ in range(24)]
        answers = [{"text": asking_for(text), "answer": text} for text in texts]
        jsonl(data / "opencqa_train" / f"{split}.jsonl", answers)
    pages, queries = (Page("c", text="kala"),), (Query("q", "kala"),)
    asked = Dataset("cranfield", pages, queries, {"q": {"c#1": 1}})
    write_dataset(data / "cranfield", asked)
    return folder


@pytest.fixture
def mini(prepared, monkeypatch):
    """The recipe at toy sizes, without Debian's packages."""
    monkeypatch.setattr(corpora, "download", lambda package, folder: folder)
    drawn = random.Random(1)
    glosses = [(text[:9], text) for text in (words(drawn, 8) for _ in WORDS)]
    monkeypatch.setattr(corpora, "read_wordnet", lambda deb: glosses)
    work = prepared / "work"
    return Mini(work, prepared / "data", work / "mini", SIZES, TRAINING)


class Killed(BaseException):
    """Ends a run at once, as a signal would."""


def kill_at_step_20(record):
    if record.getMessage().startswith("step 20/"):
        raise Killed
    return True


def test_the_recipe_makes_a_checkpoint_that_finds_pages_it_has_not_seen(prepared, mini, caplog):
    caplog.set_level(logging.INFO)
    work = prepared / "work"
    for stage in ("pairs", "tokenizer", "bag", "start"):
        getattr(mini, stage)()
    for path in (work / "pairs").glob("*.jsonl"):  # one set: losses of several differ too much
        if path.stem != "debian":
            path.unlink()
    stages.logger.addFilter(kill_at_step_20)
    with pytest.raises(Killed):
        mini.train()
    stages.logger.removeFilter(kill_at_step_20)
    for stage in ("train", "average", "export", "evaluate"):
        getattr(mini, stage)()
    assert "going on from step 10 of 30" in caplog.text

    lines = [json.loads(line) for line in (work / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.9 * losses[0]
    encoder = MetaEmbedEncoder.from_pretrained(work / "mini", device="cpu")
    assert (encoder.query_vectors, encoder.document_vectors) == (16, 64)
    assert encoder.dimensions == (64, 128)
    titles = evaluate(work / "pairs" / "validation" / "tex_titles", encoder, mode="text")
    assert titles.pages >= 10
    assert titles.results[0].mean("ndcg@5") > 3 / titles.pages + 0.2  # chance is below 3 / pages
    assert "cranfield, ndcg@5: {'1,1': 1.0" in caplog.text


def test_an_unknown_stage_is_refused_with_the_names_of_the_stages(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["bake"])
    message = capsys.readouterr().err
    assert all(stage in message for stage in STAGES)
    assert all(hasattr(Mini, stage) for stage in STAGES)


def test_a_stage_before_its_time_is_one_sentence(tmp_path, caplog):
    assert main(["pairs", "--work", str(tmp_path), "--data", str(tmp_path)]) == 1
    assert "is missing; run the prepare step first" in caplog.text


def test_the_defaults_are_the_sizes_of_the_shipped_checkpoint():
    shipped = MetaEmbedEncoder.from_pretrained("mini", device="cpu").backbone.model.config
    sizes = Sizes()
    assert (shipped.vocab_size, shipped.hidden_size) == (sizes.vocabulary, sizes.hidden)
    assert shipped.num_hidden_layers == sizes.layers
    assert shipped.intermediate_size == sizes.intermediate
    assert {one.name for one in fields(Sizes)} <= vars(parser().parse_args(["all"])).keys()


def test_the_configuration_has_the_numbers_of_the_shipped_run():
    run = read_config(stages.CONFIG)
    assert run.loss.groups == ((1, 1), (2, 4), (4, 8), (8, 16), (16, 64))
    assert (run.loss.temperatures, run.loss.score) == (0.05, "mean")
    assert run.train.steps * run.train.batch_size == 320_000
    assert (run.train.learning_rate, run.train.meta_learning_rate) == (2e-4, 0.005 * 1e-3)
    assert run.warm_up == 0.05 * run.train.steps
    assert sum(one.weight for one in run.data) == pytest.approx(1)


def test_paths_of_the_configuration_move_to_the_work_folder_and_keys_may_be_replaced(tmp_path):
    (tmp_path / "pairs").mkdir()
    for name in ("title", "debian"):
        (tmp_path / "pairs" / f"{name}.jsonl").touch()
    run = Mini(tmp_path, tmp_path, tmp_path, Sizes(), {"steps": 40}).run_config()
    assert [Path(one.path) for one in run.data] == [
        tmp_path / "pairs" / "title.jsonl",
        tmp_path / "pairs" / "debian.jsonl",
    ]
    assert (run.out, run.model.backbone) == (str(tmp_path / "run"), str(tmp_path / "start"))
    assert (run.train.steps, run.warm_up) == (40, 2)
