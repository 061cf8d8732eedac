"""An index whose records have checksums, as the commit da68122 wrote it, in every later version.

``fixtures/da68122`` holds an index of five pages (one replaced, a sixth deleted, two with pictures)
and the pages and hits that it gave. None of these files is ever changed.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from metaembed_rag import Page, PageIndex
from metaembed_rag.testing import FakeEncoder

FROZEN = Path(__file__).parents[1] / "fixtures" / "da68122"
ANSWERS = json.loads((FROZEN / "answers.json").read_text(encoding="utf-8"))
SUM = "metaembed:sum"
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
    encoder = FakeEncoder(dimension=32, query_vectors=4, document_vectors=8)
    return PageIndex.open(folder, encoder, create=False)


@pytest.mark.parametrize("deleted", ["nothing", "cache"])
def test_an_index_with_checksums_gives_the_pages_and_hits_that_it_gave(folder, deleted):
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
            hits = index.search(query, 5, budget=budget, **WAYS[way])
            assert [hit.page.id for hit in hits] == [id for id, _ in expected], asked
            scores = [score for _, score in expected]
            assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-6), asked


def test_an_index_with_checksums_passes_the_check_also_after_it_was_written_to(folder):
    with opened(folder) as index:
        assert all(held.get(SUM) for held in index._store.stored(index.ids()).values())
        assert index.check().is_sound
        index.add([Page("new.txt", text="an unheard of xylophone")])
        assert index.search("xylophone", 1)[0].page.source == "new.txt"
        index.delete("whale.txt#1")
        assert index.check().is_sound


def test_its_checksums_still_find_what_was_changed(folder):
    with opened(folder) as index:
        [held] = index._store.stored(["whale.txt#1"]).values()
        [key] = [key for key, value in held.items() if value == "A whale is no fish."]
        index._store.update_metadata(["whale.txt#1"], [{key: "A whale is a fish."}])
        found = index.check().findings
        assert {one.id for one in found} == {"whale.txt#1"}


def _of(page: Page) -> list[Any]:
    return [page.id, page.source, page.number, page.text, dict(page.metadata)]
