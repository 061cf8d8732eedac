"""Pictures stay inside their folder, whatever a record says."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.store import records
from metaembed_rag.testing import FakeEncoder


@pytest.fixture
def index(tmp_path):
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    picture = Image.new("RGB", (30, 20), "red")
    index.add([Page(source="a.pdf", text="red apples", image=picture)])
    return index


def tamper(index: PageIndex, name: str) -> None:
    """Change the name of a page's picture as somebody else's program could."""
    index._store._collection.update(ids=["a.pdf#1"], metadatas=[{records.IMAGE: name}])


@pytest.mark.parametrize("how", ["absolute", "up", "link", "folder"])
def test_fault_20_a_record_neither_shows_nor_deletes_a_file_outside(index, tmp_path, how):
    victim = tmp_path / "letter.jpg"
    Image.new("RGB", (5, 5)).save(victim)
    folder = index._pictures.folder
    names = {
        "absolute": str(victim),
        "up": os.path.relpath(victim, folder),
        "link": "link.jpg",
        "folder": ".",
    }
    if how == "link":
        (folder / "link.jpg").symlink_to(victim)
    assert index.search("apples")[0].page.image_path is not None
    tamper(index, names[how])
    assert index.search("apples")[0].page.image_path is None
    assert index.get(["a.pdf#1"])[0].image_path is None
    index.add([Page(source="a.pdf", text="green pears")])  # replaces the page and its picture
    assert victim.exists()
    tamper(index, names[how])
    assert index.delete("a.pdf#1") == 1
    assert victim.exists()
    assert folder.exists()


def test_fault_20_a_picture_outside_is_told_once(index, caplog):
    tamper(index, "/etc/passwd")
    for _ in range(3):
        index.search("apples")
    assert caplog.text.count("lies outside") == 1


@pytest.mark.parametrize("how", ["absolute", "missing"])
def test_fault_20_a_picture_whose_name_leads_outside_is_mended_by_adding_again(
    index, tmp_path, how
):
    before = index.search("apples")[0].page.image_path
    tamper(index, {"absolute": str(tmp_path / "letter.jpg"), "missing": "no/picture.jpg"}[how])
    again = Page(source="a.pdf", text="red apples", image=Image.new("RGB", (30, 20), "red"))
    index.add([again])
    assert index.search("apples")[0].page.image_path == before
