"""An index of format 4 (vectors in bundles are coded), as the commit 48a0583 wrote it.

``fixtures/48a0583`` holds an index of five pages (one replaced, a sixth deleted, two with pictures)
and the pages and hits that it gave. None of these files is ever changed.
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

FROZEN = Path(__file__).parents[1] / "fixtures" / "48a0583"
ANSWERS = json.loads((FROZEN / "answers.json").read_text(encoding="utf-8"))
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "exhaustive": {"exhaustive": True},
    "candidates": {"candidates": 5},
    "where": {"where": {"year": 2001}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The old index, unpacked: Chroma writes when it opens."""
    with tarfile.open(FROZEN / "index.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "index"


def opened(folder: Path) -> PageIndex:
    encoder = FakeEncoder(dimension=64, query_vectors=4, document_vectors=32)
    return PageIndex.open(folder, encoder, create=False)


def test_the_vectors_in_its_bundles_are_coded(folder):
    with sqlite3.connect(folder / "chroma.sqlite3") as database:
        [(version,)] = database.execute(
            "SELECT int_value FROM collection_metadata WHERE key = 'metaembed:format'"
        ).fetchall()
        rows = database.execute("SELECT key FROM collection_metadata WHERE key LIKE '%:coded%'")
        coded = [key.partition(":")[2] for (key,) in rows if key[0].isdigit()]
    database.close()
    assert version == 4
    assert sorted(coded) == ["coded", *["coded distinct"] * 6]


@pytest.mark.parametrize("deleted", ["nothing", "cache"])
def test_an_index_of_coded_vectors_gives_the_pages_and_hits_that_it_gave(folder, deleted):
    shutil.rmtree(folder / deleted, ignore_errors=True)
    with opened(folder) as index:
        assert {key: index.info()[key] for key in ANSWERS["info"]} == ANSWERS["info"]
        now = [
            [*_of(page), page.page_count, page.image_path is not None]
            for page in index.get(index.ids())
        ]
        assert now == ANSWERS["pages"]
        for asked, expected in ANSWERS["hits"].items():
            budget, way, query = asked.split("|")
            hits = index.search(query, 5, budget=budget, hybrid=False, **WAYS[way])
            assert [hit.page.id for hit in hits] == [id for id, _ in expected], asked
            scores = [score for _, score in expected]
            assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-6), asked


def test_an_index_of_coded_vectors_passes_the_check_also_after_it_was_written_to(folder):
    with opened(folder) as index:
        assert index.check().is_sound
        index.add([Page("new.txt", text="an unheard of xylophone")])
        assert index.search("xylophone", 1)[0].page.source == "new.txt"
        index.delete("whale.txt#1")
        index.compact()
        assert index.check().is_sound


def _of(page: Page) -> list[Any]:
    return [page.id, page.source, page.number, page.text, dict(page.metadata)]
