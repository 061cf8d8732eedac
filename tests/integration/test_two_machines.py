"""Two machines on one Chroma server: processes with a home and a cache of their own agree."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors import native
from tests.support.processes import CONTEXT

pytestmark = pytest.mark.integration

WAYS: dict[str, dict[str, Any]] = {
    "vectors": {"hybrid": False},
    "hybrid": {"hybrid": True},
    "all": {"exhaustive": True, "hybrid": False},
    "chroma": {"candidates": 10, "hybrid": False},
}


def add(index: PageIndex, pages: list[list[str | None]]) -> list[int]:
    made = [
        Page(source=source, text=text, image=Image.new("RGB", (30, 20), color) if color else None)
        for source, text, color in pages
    ]
    report = index.add(made)
    return [report.added, report.updated, report.unchanged]


def delete(index: PageIndex, source: str) -> int:
    return index.delete(source=source)


def look(index: PageIndex, query: str) -> dict[str, Any]:
    found = {
        name: [
            [hit.page.id, round(hit.score, 5), hit.page.text]
            for hit in index.search(query, 10, **options)
        ]
        for name, options in WAYS.items()
    }
    return {"ids": index.ids(), "count": len(index), **found}


def pictures_of(index: PageIndex, ids: list[str]) -> list[bool]:
    pages = index.get(ids)
    hits = {hit.page.id: hit.page for hit in index.search("fox", 10)}
    for page in pages:
        assert bool(hits[page.id].image_path) == bool(page.image_path)
    return [bool(page.image_path) and Path(page.image_path).is_file() for page in pages]


ANSWERS = {answer.__name__: answer for answer in (add, delete, look, pictures_of)}


def _machine(
    asked: Connection, own: dict[str, str], where: str, collection: str, pictures: str | None
) -> None:
    os.environ.update(own)
    with PageIndex.open(where, FakeEncoder(), collection=collection, pictures=pictures) as index:
        while question := asked.recv():
            name, *arguments = question
            asked.send(ANSWERS[name](index, *arguments))


Ask = Callable[..., Any]


@pytest.fixture
def machine(server, tmp_path) -> Iterator[Callable[..., Ask]]:
    """Start a machine on the server: what asks it to add, delete or look."""
    started: list[tuple[Any, Connection]] = []
    collection = f"c{uuid4().hex[:8]}"
    native.kernel()
    compiled = native._folder()

    def start(name: str, pictures: Path | None = None) -> Ask:
        home = tmp_path / name
        home.mkdir()
        if compiled.is_dir():  # the compiler has nothing to do with what is shown here
            shutil.copytree(compiled, home / "cache" / "metaembed_rag" / compiled.name)
        own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1"}
        here, there = CONTEXT.Pipe()
        given = (there, own, server, collection, str(pictures) if pictures else None)
        process = CONTEXT.Process(target=_machine, args=given)
        process.start()
        there.close()
        started.append((process, here))

        def ask(*question: Any) -> Any:
            here.send(question)
            return here.recv()

        return ask

    yield start
    for process, here in started:
        here.send(None)
        process.join(30)
        assert process.exitcode == 0


FIRST = [["a", "red foxes run", None], ["b", "blue whales swim", None], ["c", "a fox sleeps", None]]


def test_pages_caches_and_hybrid_search_agree_after_writes_by_either(machine, tmp_path):
    one, two = machine("one"), machine("two")
    assert one("add", FIRST) == [3, 0, 0]
    assert one("look", "fox") == two("look", "fox")
    assert two("look", "fox")["count"] == 3
    assert two("add", [["d", "the fox and the whale", None], ["a", "red cats run", None]]) == [
        1,
        1,
        0,
    ]
    seen = one("look", "whale")
    assert seen == two("look", "whale")
    assert seen["ids"] == ["a#1", "b#1", "c#1", "d#1"]
    assert {text for _, _, text in seen["vectors"]} >= {"red cats run", "the fox and the whale"}
    assert one("delete", "b") == 1
    assert one("look", "whale") == two("look", "whale")
    assert "b#1" not in {id for id, _, _ in two("look", "whale")["hybrid"]}
    assert two("add", FIRST[:1]) == [0, 1, 0] and one("add", FIRST[:1]) == [0, 0, 1]
    assert one("look", "fox") == two("look", "fox")
    third = machine("three")  # with no cache at all
    assert third("look", "fox") == one("look", "fox")
    caches = [sorted((tmp_path / name / "cache").rglob("*.json")) for name in ("one", "two")]
    assert all(caches)  # each had one of its own


def test_a_picture_is_shown_where_it_lies_and_its_absence_is_no_failure(machine, tmp_path):
    pictured = [["a", "red fox", "red"], ["b", "a fox in words", None]]
    one, two = machine("one"), machine("two")
    one("add", pictured)
    assert one("pictures_of", ["a#1", "b#1"]) == [True, False]
    assert two("pictures_of", ["a#1", "b#1"]) == [False, False]
    assert one("look", "fox") == two("look", "fox")


def test_a_shared_place_for_pictures_shows_them_on_both(machine, tmp_path):
    shared = tmp_path / "shared"
    one, two = machine("one", shared), machine("two", shared)
    one("add", [["a", "red fox", "red"]])
    two("add", [["b", "blue fox", "blue"]])
    ids = ["a#1", "b#1"]
    assert one("pictures_of", ids) == two("pictures_of", ids) == [True, True]
    assert two("delete", "a") == 1
    assert one("pictures_of", ["b#1"]) == two("pictures_of", ["b#1"]) == [True]
    assert one("look", "fox") == two("look", "fox")
