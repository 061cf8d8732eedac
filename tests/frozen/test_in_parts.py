"""Indexes in parts (texts as documents, vectors in bundles), as these commits wrote them.

e153782 wrote format 3, and 48a0583 format 4, in which vectors in bundles are coded.
``fixtures/<commit>`` holds an index of five pages (one replaced, a sixth deleted, two with
pictures) and the pages and hits that it gave. None of these files is ever changed.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest

from metaembed_rag import Page, PageIndex
from metaembed_rag.testing import FakeEncoder

FIXTURES = Path(__file__).parents[1] / "fixtures"
FORMATS = {"e153782": 3, "48a0583": 4}
CODED = {"e153782": [], "48a0583": ["coded", *["coded distinct"] * 6]}
"""By commit: what the keys of bundles say of vectors that are coded."""
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "exhaustive": {"exhaustive": True},
    "candidates": {"candidates": 5},
    "where": {"where": {"year": 2001}},
}


@pytest.fixture(params=FORMATS)
def commit(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def answers(commit: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / commit / "answers.json").read_text("utf-8"))
    return found


@pytest.fixture
def folder(tmp_path: Path, commit: str) -> Path:
    """The old index, unpacked: Chroma writes when it opens."""
    with tarfile.open(FIXTURES / commit / "index.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "index"


def opened(folder: Path) -> PageIndex:
    encoder = FakeEncoder(dimension=64, query_vectors=4, document_vectors=32)
    return PageIndex.open(folder, encoder, create=False)


def test_its_vectors_are_in_bundles_and_its_texts_are_documents(folder, commit):
    with sqlite3.connect(folder / "chroma.sqlite3") as database:
        keys = {key for (key,) in database.execute("SELECT key FROM embedding_metadata")}
        [(version,)] = database.execute(
            "SELECT int_value FROM collection_metadata WHERE key = 'metaembed:format'"
        ).fetchall()
        rows = database.execute("SELECT key FROM collection_metadata WHERE key LIKE '%:coded%'")
        coded = [key.partition(":")[2] for (key,) in rows if key[0].isdigit()]
    database.close()
    assert version == FORMATS[commit]
    assert sorted(coded) == CODED[commit]
    assert {"chroma:document", "metaembed:bundle", "metaembed:row"} <= keys
    assert not {"metaembed:vectors", "metaembed:text"} & keys


@pytest.mark.parametrize("deleted", ["nothing", "cache"])
def test_an_index_in_parts_gives_the_pages_and_hits_that_it_gave(folder, answers, deleted):
    shutil.rmtree(folder / deleted, ignore_errors=True)
    with opened(folder) as index:
        assert {key: index.info()[key] for key in answers["info"]} == answers["info"]
        now = [
            [*_of(page), page.page_count, page.image_path is not None]
            for page in index.get(index.ids())
        ]
        assert now == answers["pages"]
        for asked, expected in answers["hits"].items():
            budget, way, query = asked.split("|")
            hits = index.search(query, 5, budget=budget, hybrid=False, **WAYS[way])
            assert [hit.page.id for hit in hits] == [id for id, _ in expected], asked
            scores = [score for _, score in expected]
            assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-6), asked


def test_an_index_in_parts_passes_the_check_also_after_it_was_written_to(folder):
    with opened(folder) as index:
        assert index.check().is_sound
        index.add([Page("new.txt", text="an unheard of xylophone")])
        assert index.search("xylophone", 1)[0].page.source == "new.txt"
        index.delete("whale.txt#1")
        index.compact()
        assert index.check().is_sound


def _of(page: Page) -> list[Any]:
    return [page.id, page.source, page.number, page.text, dict(page.metadata)]
