"""An index of pages, texts and pictures that is sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.maintenance.builders import made


@pytest.fixture
def where(tmp_path):
    with made(tmp_path / "index", tmp_path / "files"):
        pass
    return tmp_path / "index"


@pytest.fixture(scope="session")
def graph(tmp_path_factory) -> Path:
    """An index of so many pages that Chroma has written its graph; to be copied."""
    place = tmp_path_factory.mktemp("graph")
    with PageIndex.open(place, FakeEncoder(dimension=32, document_vectors=2)) as index:
        index.add([Page(f"{n}.txt", text=f"word{n} common") for n in range(1200)])
    return place
