"""What an index takes on disk, told by kind."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.store.disk import bytes_of
from metaembed_rag.testing import FakeEncoder


@pytest.fixture
def index(tmp_path: Path) -> PageIndex:
    index = PageIndex.open(tmp_path / "index", FakeEncoder(dimension=64, document_vectors=32))
    picture = Image.new("RGB", (60, 40), "navy")
    index.add([Page("a", n, f"page {n} fox", image=picture) for n in range(1, 9)])
    index.search("fox", hybrid=True)
    return index


@pytest.mark.skipif(shutil.which("du") is None, reason="needs du")
def test_all_kinds_together_are_what_du_counts(index, tmp_path):
    told = subprocess.run(
        ["du", "-ab", str(tmp_path / "index")], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split("\t") for line in told.splitlines()]
    counted = sum(int(size) for size, path in lines if Path(path).is_file())
    assert index.disk().total == counted


def test_each_kind_is_its_files(index, tmp_path):
    folder, found = tmp_path / "index", index.disk()
    assert found.records == (folder / "chroma.sqlite3").stat().st_size > 0
    assert found.cache == bytes_of(folder / "cache") > 8 * 32 * 66
    assert found.words == bytes_of(folder / "lexical") > 0
    assert found.pictures == sum(path.stat().st_size for path in folder.glob("pictures/*/??/*"))


def test_in_memory_there_is_nothing_on_disk_but_pictures():
    index = PageIndex.open(":memory:", FakeEncoder())
    index.add([Page("a", text="x")])
    assert index.disk().total == 0


def test_what_vanishes_meanwhile_counts_nothing(tmp_path):
    assert bytes_of(tmp_path / "none") == 0
