"""Every record is looked at, and what is wrong with it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.store import collection as layout
from metaembed_rag.store import damage, records
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import FORMATS, pack, vector_format


def opened(where: Any, format: str | None = None) -> PageIndex:
    encoder = FakeEncoder(dimension=16, query_vectors=4, document_vectors=8)
    return PageIndex.open(where, encoder, format=format)


def pages() -> list[Page]:
    made = [Page("s", n, text) for n, text in enumerate(["red apples", "blue whales"], start=1)]
    return [*made, Page("p", text="a picture", image=Image.new("RGB", (30, 20), "red"))]


@pytest.fixture(autouse=True)
def _layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record without its text is one of before texts were documents, which cannot be lost."""
    if "[no text" in request.node.name:
        monkeypatch.setattr(layout, "layout_for", lambda size: {})


@pytest.fixture
def index(tmp_path: Path) -> PageIndex:
    index = opened(tmp_path / "index")
    index.add(pages())
    return index


def change(index: PageIndex, id: str, metadata: dict[str, Any]) -> None:
    """As another program, or a disk, could."""
    index._store._collection.update(ids=[id], metadatas=[metadata])


def found(index: PageIndex) -> list[tuple[str, str]]:
    return [(id, what) for id, what in damage.scan(index._store, index._pictures)]


def payload(index: PageIndex, id: str) -> str:
    return index._store.get([id])[id].payload


def flipped(text: str, place: int) -> str:
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]


@pytest.mark.parametrize("format", FORMATS)
def test_of_a_whole_index_nothing_is_named(format):
    index = opened(":memory:", format)
    index.add(pages())
    seen: list[int] = []
    assert list(damage.scan(index._store, index._pictures, seen.append)) == []
    assert seen == [3]


@pytest.mark.parametrize("place", [0, 7, 80, 120, 190])
def test_fault_27_a_changed_character_of_a_pages_vectors_is_noticed(index, place, caplog):
    whole = [(hit.page.id, hit.score) for hit in index.search("red apples", hybrid=False)]
    change(index, "s#1", {records.VECTORS: flipped(payload(index, "s#1"), place)})
    for keywords in ({}, {"exhaustive": True}, {"candidates": 10}):
        hits = index.search("red apples", hybrid=False, **keywords)
        assert {hit.page.id for hit in hits} == {"s#2", "p#1"}
    assert caplog.text.count("their checksum differs") == 1
    assert [id for id, _ in found(index)] == ["s#1"]
    assert index.add(pages()).added == 1
    assert found(index) == []
    assert [(hit.page.id, hit.score) for hit in index.search("red apples", hybrid=False)] == whole


def test_a_record_without_a_checksum_is_read_and_gets_one_when_it_is_written(index):
    change(index, "s#1", {records.SUM: None})
    assert len(index.search("red apples", exhaustive=True)) == 3
    assert found(index) == []
    index.add([Page("s", 1, "redder apples")])
    assert records.SUM in index._store.stored(["s#1"])["s#1"]


def test_a_checksum_that_an_older_version_left_beside_its_vectors_does_not_count(index):
    vectors = vector_format("int8").encode(index.vectors(["s#2"]))
    by_older = {records.VECTORS: pack(vectors)[0], records.STAMP: records.new_stamp(1)}
    change(index, "s#1", by_older)
    assert found(index) == []
    assert np.array_equal(*index.vectors(["s#1", "s#2"]))


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({records.TEXT: None}, "lacks metaembed:text"),
    "a page that is text": ({"page": "one"}, "page is 'one'"),
    "not a number": ({records.VECTORS: "AH4B" * 48, records.SUM: None}, "not finite"),
    "zeros": ({records.VECTORS: "AAAA" * 48, records.SUM: None}, "one that is zero"),
    "long vectors": ({records.VECTORS: "fwAA" * 48, records.SUM: None}, "characters|length"),
    "too many": ({records.VECTORS: "AAAA" * 480, records.SUM: None}, "take 1920 characters"),
    "too few": ({records.VECTORS: "AAAA", records.SUM: None}, "fewer than 8 vectors"),
}


@pytest.mark.parametrize(("metadata", "words"), CASES.values(), ids=CASES)
def test_what_is_wrong_with_a_record_is_named(index, metadata, words):
    change(index, "s#1", metadata)
    [(id, what)] = found(index)
    assert id == "s#1"
    assert any(word in what for word in words.split("|"))


def test_vectors_that_are_not_of_length_1_are_named(index):
    long = vector_format("int8").encode(2 * index.vectors(["s#1"]))
    change(index, "s#1", {records.VECTORS: pack(long)[0], records.SUM: None})
    [(id, what)] = found(index)
    assert (id, "not of length 1 but of 2.0" in what) == ("s#1", True)


def test_records_of_other_programs_are_named(index):
    bare = np.eye(1, 16, dtype=np.float32)
    index._store._collection.add(ids=["alien"], embeddings=bare, metadatas=[{"x": 1}])
    assert [id for id, _ in found(index)] == ["alien"]


SPOILED: dict[str, tuple[Any, str]] = {
    "missing": (lambda path: path.unlink(), "is missing"),
    "empty": (lambda path: path.write_bytes(b""), "is cut off"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is cut off"),
    "no picture": (lambda path: path.write_bytes(b"\xff\xd8 text \xff\xd9"), "cannot be read"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILED.values(), ids=SPOILED)
def test_fault_27_a_damaged_picture_is_named(index, spoil, words):
    spoil(index._pictures.files()[0])
    [(id, what)] = found(index)
    assert id == "p#1"
    assert words in what


@pytest.mark.parametrize("how", ["missing", "empty", "cut off"])
def test_fault_27_a_damaged_picture_is_restored_by_adding_its_page_again(index, how):
    path = index._pictures.files()[0]
    before = path.read_bytes()
    SPOILED[how][0](path)
    assert index.add(pages()).unchanged == 3
    assert path.read_bytes() == before


def test_fault_27_a_damaged_picture_is_restored_by_syncing_its_file_again(tmp_path):
    file = tmp_path / "red car.png"
    Image.new("RGB", (300, 200), "red").save(file)
    index = opened(tmp_path / "index")
    assert index.sync(file).added == 1
    [path] = index._pictures.files()
    before = path.read_bytes()
    path.write_bytes(before[:100])
    assert index.sync(file).unchanged == 1
    assert path.read_bytes() == before
