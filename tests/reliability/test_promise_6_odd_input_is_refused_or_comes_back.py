"""Promise 6: odd input is refused in a sentence, or taken and comes back as it was given."""

from __future__ import annotations

import json
import os
import time

import pytest
from hypothesis.errors import HypothesisWarning

from metaembed_rag import Page, PageIndex, load_pages
from metaembed_rag.errors import DatasetError, MetadataError, MetaEmbedError, PageError, StoreError
from metaembed_rag.evaluation.datasets import read_dataset
from metaembed_rag.pages import list_files
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.training.data import read_training_set
from tests.soak import fuzz
from tests.soak.tally import Share

SHARES = {
    "fuzz: pages": 400,
    "fuzz: queries, ids": 400,
    "fuzz: filters": 400,
    "fuzz: JSON lines": 300,
    "fuzz: addresses": 300,
    "fuzz: command lines": 40,
    "fuzz: files": 200,
}


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore", category=HypothesisWarning)
@pytest.mark.parametrize("name", SHARES)
def test_two_thousand_odd_cases(name):
    tally = fuzz.portions(name, Share(seed=11, cases=SHARES[name], seconds=60))
    assert tally.is_good, tally.failures


@pytest.fixture
def index():
    with PageIndex.open(":memory:", FakeEncoder()) as made:
        made.add([Page("a", text="a fox")])
        yield made


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"number": 2**63}, "beyond 64 bits"),
        ({"number": True}, "count from 1, not True"),
        ({"number": float("nan")}, "count from 1, not nan"),
        ({"number": float("inf")}, "count from 1, not inf"),
        ({"page_count": 0}, "1 page or more, not 0"),
        ({"page_count": "x"}, "1 page or more, not 'x'"),
        ({"page_count": 2**63}, "beyond 64 bits"),
        ({"id": ["x"]}, "its id is text, not a list"),
        ({"id": "\ud800"}, "its id is not valid Unicode"),
        ({"text": None}, "its text is text, not None"),
        ({"text": "\ud800"}, "its text is not valid Unicode"),
        ({"settings": 5}, "its settings is text, not an int"),
        ({"metadata": [1]}, "metadata are a dictionary"),
        ({"image": "picture.png"}, "its image is a PIL image or None, not a str"),
    ],
)
def test_a_page_that_would_not_come_back_is_refused(fields, why):
    with pytest.raises(PageError, match=why):
        Page(**{"source": "a", "text": "t", **fields})


def test_the_largest_number_comes_back(index):
    index.add([Page("big", 2**63 - 1, "text", page_count=2**63 - 1)])
    [page] = index.get([f"big#{2**63 - 1}"])
    assert (page.number, page.page_count) == (2**63 - 1, 2**63 - 1)


def test_half_a_character_in_the_name_of_metadata_is_named(index):
    with pytest.raises(MetadataError, match="page 'b#1': metadata key .* lone surrogate"):
        index.add([Page("b", text="b", metadata={"\ud800": 1})])


def test_metadata_and_filters_that_are_nested_without_end(index):
    deep: list[object] = []
    where: dict[str, object] = {"a": 1}
    for _ in range(3000):
        deep, where = [deep], {"$and": [where, {"$or": [{"b": 1}, {"c": 2}]}]}
    with pytest.raises(MetadataError, match="nested too deeply"):
        index.add([Page("b", text="b", metadata={"a": deep})])
    with pytest.raises(StoreError, match="nested more than 200 deep"):
        index.search("fox", where=where)


@pytest.mark.parametrize("ids", [5, None, b"x", [5], [["a"]], ["\ud800"]])
def test_ids_that_no_page_can_have(index, ids):
    for ask in (index.get, index.vectors, lambda one: index.score("fox", one)):
        with pytest.raises(StoreError, match="id"):
            ask(ids)
    if ids is not None:
        with pytest.raises(StoreError, match="id"):
            index.delete(ids)


def test_one_id_is_a_list_of_one(index):
    assert [page.id for page in index.get("a#1")] == ["a#1"]
    assert len(index.vectors("a#1")) == 1


@pytest.mark.parametrize("source", [5, ["a"]])
def test_a_source_that_is_none(index, source):
    with pytest.raises(StoreError, match="a source is a path or a text"):
        index.delete(source=source)


@pytest.mark.parametrize("source", ["\0", "~nobody_of_this_name/x", "x" * 5000])
def test_a_source_that_is_no_path_is_nobodys(index, source):
    assert index.delete(source=source) == 0


@pytest.mark.parametrize("candidates", ["x", 5.5, True])
def test_candidates_that_are_no_number(index, candidates):
    with pytest.raises(StoreError, match="candidates must be a whole number"):
        index.search("fox", 1, candidates=candidates)


@pytest.mark.parametrize("keywords", [{}, {"hybrid": True}, {"exhaustive": True}])
def test_a_query_of_twenty_megabytes_is_refused_at_once(index, keywords):
    begun = time.process_time()
    for query in ("word " * 4_000_000, "x" * 20_000_000, {"text": "word\n" * 4_000_000}):
        with pytest.raises(MetaEmbedError, match="too long"):
            index.search(query, 1, **keywords)
    with pytest.raises(MetaEmbedError, match="too long"):
        index.score("word " * 4_000_000, ["a#1"])
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("name", ["http://[::1", "http://\ud800", "http://a b:80/\0"])
def test_an_address_that_cannot_be_read(name):
    with pytest.raises(StoreError):
        PageIndex.open(name, FakeEncoder(), timeout=0.3)


@pytest.mark.parametrize(
    "line",
    [
        '{"_id": "a", "text": ' + "[" * 100_000,
        '{"_id": "a", "text": ' + "9" * 5000 + "}",
        '{"_id": "\\ud800", "text": "x"}',
        '{"_id": "a", "text": "\\ud800"}',
        '{"_id": "a", "text": "x", "metadata": 5}',
        json.dumps({"_id": "a", "image": "x" * 5000}),
        json.dumps({"_id": "a", "image": "a\0b"}),
    ],
    ids=["deep", "digits", "surrogate id", "surrogate", "metadata", "long name", "null"],
)
def test_odd_lines_name_file_and_line(tmp_path, line):
    (tmp_path / "corpus.jsonl").write_text(f'{{"_id": "good", "text": "x"}}\n{line}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "x"}\n')
    (tmp_path / "train.jsonl").write_text(f'{{"query": "a", "positive": "b"}}\n{line}\n')
    with pytest.raises(DatasetError, match=r"corpus\.jsonl, line 2"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"train\.jsonl, line 2"):
        list(read_training_set(tmp_path / "train.jsonl"))


def test_folders_nested_990_deep_are_walked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(990):
        os.mkdir("d")  # noqa: PTH102 (a path this long is more than one call takes)
        os.chdir("d")
    with open("x.txt", "w") as file:  # noqa: PTH123
        file.write("down here")
    monkeypatch.chdir(tmp_path)
    assert len(list_files(tmp_path)) == 1
    [page] = load_pages(tmp_path)
    assert page.text == "down here"
    while os.path.exists("d/d"):  # noqa: PTH110 (so that it can be removed by calls inside calls)
        os.rename("d/d", "e")  # noqa: PTH104
        os.rmdir("d") if not os.listdir("d") else None  # noqa: PTH106, PTH208
        os.rename("e", "d")  # noqa: PTH104


def test_the_home_of_nobody_is_a_missing_file():
    refused = []
    assert list(load_pages("~nobody_of_this_name/x.txt", on_skip=refused.append)) == []
    assert "no such file" in str(refused[0])


def test_the_command_line_takes_no_null_byte(tmp_path, run, loaded):
    (tmp_path / "a.txt").write_text("a fox")
    words = ("index", tmp_path / "a.txt", "a\0b", "--index", tmp_path / "i")
    _, err = run(*words, code=1)
    assert "is not a usable path" in err
