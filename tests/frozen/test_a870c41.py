"""What the commit a870c41 wrote and promised, held in every later version.

``fixtures/a870c41`` holds an index of five collections (one a vector format, and one cut to half of
its dimension), a checkpoint, the hits and vectors that they gave then, and the names, keywords,
command-line options and extras of that commit. None of these files is ever changed.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
import shutil
import tarfile
import tomllib
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaembed_rag import MetaEmbedEncoder, PageIndex
from metaembed_rag.testing import FakeEncoder

ROOT = Path(__file__).parents[2]
FROZEN = Path(__file__).parents[1] / "fixtures" / "a870c41"
CONTRACTS = json.loads((FROZEN / "contracts.json").read_text(encoding="utf-8"))
ANSWERS = json.loads((FROZEN / "answers.json").read_text(encoding="utf-8"))
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "exhaustive": {"exhaustive": True},
    "candidates": {"candidates": 10},
    "hybrid": {"hybrid": True},
    "rrf": {"hybrid": "rrf"},
    "where": {"where": {"year": 2001}},
}
COLLECTIONS = sorted(ANSWERS)
DERIVED = ["nothing", "cache", "lexical"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The old index, unpacked: Chroma writes when it opens."""
    with tarfile.open(FROZEN / "index.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "index"


def opened(folder: Path, collection: str) -> PageIndex:
    encoder = FakeEncoder(dimension=32, query_vectors=4, document_vectors=8, dimensions=(16, 32))
    return PageIndex.open(folder, encoder, collection=collection, create=False)


def assert_same_hits(index: PageIndex, answers: dict[str, Any]) -> None:
    for asked, expected in answers["hits"].items():
        if asked == "auto":
            continue
        budget, way, query = asked.split("|")
        hits = index.search(query, 6, budget=budget, **WAYS[way])
        got = [[hit.page.id, hit.score, hit.maxsim, hit.bm25] for hit in hits]
        assert [row[0] for row in got] == [row[0] for row in expected], asked
        for one, other in zip(got, expected, strict=True):
            assert one[1:] == pytest.approx(other[1:], abs=1e-6), asked


@pytest.mark.integration
@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize("deleted", DERIVED)
def test_an_old_index_gives_the_hits_that_it_gave(folder, collection, deleted):
    shutil.rmtree(folder / deleted, ignore_errors=True)
    assert_same_hits(opened(folder, collection), ANSWERS[collection])


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_an_old_index_says_of_itself_what_it_said(folder, collection):
    index = opened(folder, collection)
    expected = ANSWERS[collection]["info"]
    assert {key: index.info()[key] for key in expected} == expected
    pages = index.get(index.ids())
    for page, was in zip(pages, ANSWERS[collection]["pages"], strict=True):
        now = [page.id, page.source, page.number, page.text, dict(page.metadata), page.page_count]
        assert [*now, page.content_hash(), page.image_path is not None] == was


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_an_old_calibration_chooses_the_budget_that_it_chose(folder, collection):
    hits = opened(folder, collection).search("whale", 4, budget="auto")
    assert hits.plan is not None and hits.plan.way == "auto"
    assert [hits.budget.r_q, hits.budget.r_c] == ANSWERS[collection]["hits"]["auto"]


def test_an_old_index_takes_new_pages_beside_its_own(folder):
    from metaembed_rag import Page

    index = opened(folder, "pages")
    before = len(index)
    report = index.add([Page(source="new.pdf", text="an unheard of xylophone")])
    assert (report.added, len(index)) == (1, before + 1)
    assert index.search("xylophone", 1)[0].page.source == "new.pdf"
    again = opened(folder, "pages")
    assert again.search("xylophone", 1)[0].page.source == "new.pdf"


@pytest.mark.integration
def test_an_old_checkpoint_gives_the_vectors_that_it_gave():
    encoder = MetaEmbedEncoder.from_pretrained(FROZEN / "checkpoint", device="cpu")
    texts = [
        "the fox jumps over the lazy dog",
        "revenue by region grew in the second quarter",
        "a chart with bars and a legend of years",
    ]
    expected = np.load(FROZEN / "checkpoint_vectors.npz")
    np.testing.assert_allclose(encoder.encode_query(texts), expected["query"], atol=1e-5)
    np.testing.assert_allclose(encoder.encode_document(texts), expected["document"], atol=1e-5)


# -- names, keywords, options, extras ----------------------------------------------------------


def keywords_of(function: Any) -> dict[str, str | None]:
    """The names that a function takes, each with the text of its default.

    A ``**keywords: Unpack[SomeDict]`` counts as the keys of that dictionary, which default to None.
    """
    found: dict[str, str | None] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            hint = typing.get_type_hints(inspect.unwrap(function)).get(parameter.name)
            unpacked = typing.get_args(hint)
            if unpacked and typing.is_typeddict(unpacked[0]):
                found |= dict.fromkeys(typing.get_type_hints(unpacked[0]), "None")
                continue
        empty = parameter.default is inspect.Parameter.empty
        found[parameter.name] = None if empty else repr(parameter.default)
    return found


def named(path: str) -> Any:
    """The object of a dotted path, the last parts of which may be a class and its method."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AssertionError(path)


@pytest.mark.parametrize("module", sorted(CONTRACTS["names"]))
def test_every_name_is_still_imported_from_where_it_was(module):
    found = importlib.import_module(module)
    for name in CONTRACTS["names"][module]:
        assert getattr(found, name) is not None, name


UNSAID = ("None", "False")
"""Two ways to say that an option was not chosen."""


@pytest.mark.parametrize("path", sorted(CONTRACTS["signatures"]))
def test_every_keyword_is_still_taken_with_its_default(path):
    takes = keywords_of(named(path))
    for name, (kind, default) in CONTRACTS["signatures"][path].items():
        if kind == "VAR_KEYWORD":
            continue
        assert name in takes, f"{path} no longer takes {name}"
        same = takes[name] == default or (takes[name] in UNSAID and default in UNSAID)
        assert same, f"{path}: {name} defaulted to {default}, now to {takes[name]}"


@pytest.mark.parametrize("path", sorted(CONTRACTS["fields"]))
def test_every_field_of_a_framework_class_is_still_there(path):
    assert set(CONTRACTS["fields"][path]) <= set(named(path).model_fields)


def options(parser: argparse.ArgumentParser) -> dict[str, dict[str, Any]]:
    """Of each argument its place, default, choices and number of values."""
    kinds = (argparse._HelpAction, argparse._SubParsersAction, argparse._VersionAction)
    plain = (str, int, float, bool, type(None), list)
    return {
        "/".join(action.option_strings) or action.dest: {
            "dest": action.dest,
            "default": action.default
            if isinstance(action.default, plain)
            else _named(action.default),
            "choices": list(action.choices) if action.choices else None,
            "nargs": action.nargs,
        }
        for action in parser._actions
        if not isinstance(action, kinds)
    }


def _named(value: Any) -> str:
    """Its text without the place in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize("command", sorted(CONTRACTS["commands"]))
def test_every_command_line_option_is_still_there(command, monkeypatch):
    from metaembed_rag import cli

    for variable in ("METAEMBED_INDEX", "METAEMBED_MODEL"):
        monkeypatch.delenv(variable, raising=False)
    actions = cli._parser()._actions
    commands = next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices
    now = options(commands[command])
    for name, was in CONTRACTS["commands"][command].items():
        if (command, name) == ("plan", "--model"):  # said "mini"; the default model is another now
            was = {**was, "default": None}
        if (command, name) == ("evaluate", "dataset"):  # may be left out, beside --index
            was = {**was, "nargs": "?"}
        assert now[name] == was, f"{command} {name}"


def test_every_extra_still_brings_what_it_brought():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]

    def packages(listed: list[str]) -> set[str]:
        return {one.partition(">")[0].partition("=")[0].strip() for one in listed}

    for extra, listed in CONTRACTS["extras"].items():
        assert packages(listed) <= packages(extras[extra]), extra
