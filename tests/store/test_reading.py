"""A record that is damaged, or of another program, costs its page and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from metaembed_rag.errors import ModelError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.store import collection as layout
from metaembed_rag.store import places, records
from metaembed_rag.store.cache import VectorCache
from metaembed_rag.testing import FakeEncoder

pytestmark = pytest.mark.usefixtures("vectors_alone")
"""Scores of this module are those of vectors."""


TEXTS = ["red apples", "blue whales", "green pears", "whales and apples"]
WAYS: dict[str, dict[str, Any]] = {
    "cascade": {},
    "exhaustive": {"exhaustive": True},
    "candidates": {"candidates": 10},
    "hybrid": {"hybrid": True},
    "filter": {"where": {"source": "s"}},
    "text": {"where": {"#document": {"$contains": "e"}}},
}
DAMAGE: dict[str, dict[str, Any]] = {
    "short vectors": {records.VECTORS: "AAAA"},
    "no base64": {records.VECTORS: "ü" * 12_000},
    "vectors of another type": {records.VECTORS: 5},
    "no vectors": {records.VECTORS: None},
    "infinite vectors": {records.VECTORS: "/Hx8" * 4000},
    "no text": {records.TEXT: None},
    "text of another type": {records.TEXT: 1},
    "no hash": {records.HASH: None},
    "a negative page": {"page": -1},
    "a page that is text": {"page": "one"},
    "no source": {"source": ""},
    "a strange stamp": {records.STAMP: "yesterday"},
    "a time that is text": {records.WRITTEN: "noon"},
}


def opened(where: Any) -> PageIndex:
    return PageIndex.open(where, FakeEncoder(dimension=16, query_vectors=4, document_vectors=8))


def pages() -> list[Page]:
    return [Page("s", n, text, page_count=4) for n, text in enumerate(TEXTS, start=1)]


def collection(where: Path) -> Any:
    """The collection as any program of Chroma's opens it."""
    settings = Settings(anonymized_telemetry=False)
    return chromadb.PersistentClient(str(where), settings).get_collection("pages")


def damage(index: PageIndex, id: str, metadata: dict[str, Any]) -> None:
    index._store._collection.update(ids=[id], metadatas=[metadata])


def assert_all_ways_find(index: PageIndex, expected: set[str]) -> None:
    for way, keywords in WAYS.items():
        found = {hit.page.id for hit in index.search("apples", len(expected), **keywords)}
        assert found == expected, way


@pytest.fixture(autouse=True)
def _layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record without its text is one of before texts were documents, which cannot be lost."""
    if "[no text" in request.node.name:
        monkeypatch.setattr(layout, "layout_for", lambda size: {})


@pytest.fixture
def index() -> PageIndex:
    index = opened(":memory:")
    index.add(pages())
    return index


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("metadata", DAMAGE.values(), ids=DAMAGE)
def test_fault_23_a_damaged_record_costs_its_page(index, metadata, cached, caplog):
    index._searcher._without = not cached
    damage(index, "s#1", metadata)
    assert_all_ways_find(index, {"s#2", "s#3", "s#4"})
    told = [line for line in caplog.records if "cannot be read" in line.getMessage()]
    assert len(told) == 1
    assert "'s#1'" in told[0].getMessage()
    assert (
        told[0].getMessage().startswith("1 record of the index at :memory: cannot be read and is")
    )
    assert "add its page again, or delete it by its id" in told[0].getMessage()
    assert [page.id for page in index.get(["s#1", "s#2"])] == ["s#2"]
    assert len(index.score("apples", ["s#1", "s#2"])) == 1
    assert index.info()["pages"] == len(index) == 3


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("keywords", WAYS.values(), ids=WAYS)
def test_fault_23_other_pages_take_the_places_of_damaged_ones(index, keywords, cached):
    index._searcher._without = not cached
    damage(index, "s#1", {records.VECTORS: "AAAA"})
    damage(index, "s#4", {records.VECTORS: "AAAA"})
    fewer = {**keywords, "candidates": 2} if "candidates" in keywords else keywords
    assert {hit.page.id for hit in index.search("red apples", 2, **fewer)} == {"s#2", "s#3"}


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("metadata", DAMAGE.values(), ids=DAMAGE)
def test_fault_23_adding_the_page_again_heals_it(index, metadata, cached):
    index._searcher._without = not cached
    damage(index, "s#1", {**metadata, "left": "over"})
    report = index.add(pages())
    assert (report.added, report.unchanged) == (1, 3)
    assert_all_ways_find(index, {"s#1", "s#2", "s#3", "s#4"})
    assert dict(index.get(["s#1"])[0].metadata) == {}
    assert index.add(pages()).unchanged == len(index) == 4


def test_fault_23_a_damaged_record_can_be_deleted_in_every_way(index):
    for n, given in enumerate([{"ids": "s#1"}, {"source": "s"}, {"where": {"page": 3}}], start=1):
        damage(index, f"s#{n}", {records.VECTORS: "AAAA"})
        index.search("apples")
        assert index.delete(**given) == (4 if "source" in given else 1)
        index.add(pages())
        assert len(index) == 4


@pytest.mark.parametrize("metadata", DAMAGE.values(), ids=DAMAGE)
def test_fault_23_a_record_of_any_damage_can_be_deleted_by_its_id(index, metadata):
    damage(index, "s#1", metadata)
    assert index.delete("s#1") == 1
    assert set(index.ids()) == {"s#2", "s#3", "s#4"}
    assert_all_ways_find(index, {"s#2", "s#3", "s#4"})


@pytest.fixture
def foreign(tmp_path) -> Path:
    """An index with two records that another program wrote into its collection."""
    opened(tmp_path).add(pages())
    first = np.eye(2, 16, dtype=np.float32)
    collection(tmp_path).add(ids=["alien", "bare"], embeddings=first, metadatas=[{"x": 1}, None])
    return tmp_path


def test_fault_23_records_of_another_program_are_left_out(foreign, caplog):
    index = opened(foreign)
    assert_all_ways_find(index, {"s#1", "s#2", "s#3", "s#4"})
    told = [line for line in caplog.records if "cannot be read" in line.getMessage()]
    assert len(told) == 1
    assert "2 records" in told[0].getMessage()
    assert index.add([*pages(), Page("s", text="new whales", id="new")]).added == 1
    assert len(index) == 5
    assert {"alien", "bare"} <= set(index.ids())
    assert index.delete(["alien", "bare"]) == 2
    assert_all_ways_find(opened(foreign), {"s#1", "s#2", "s#3", "s#4", "new"})


@pytest.mark.parametrize("damaged", [True, False])
def test_fault_23_the_mapped_copy_is_not_made_again_for_each_search(foreign, monkeypatch, damaged):
    if damaged:  # a record of which the copy has a row
        collection(foreign).update(ids=["s#1"], metadatas=[{records.VECTORS: "AAAA"}])
    index = opened(foreign)
    for _ in range(2):  # at first, the mark says that nobody has written
        index.search("apples")
    updates = []
    real = VectorCache._update
    monkeypatch.setattr(VectorCache, "_update", lambda *given: (updates.append(1), real(*given))[1])
    for keywords in WAYS.values():
        index.search("apples", **keywords)
    assert updates == []


def test_fault_23_what_another_process_has_mended_or_deleted_is_noticed(foreign):
    index = opened(foreign)
    index.search("apples")
    other = opened(foreign)
    other.add([Page("s", 9, text="apples apples", id="alien")])
    other.delete("bare")
    assert_all_ways_find(index, {"s#1", "s#2", "s#3", "s#4", "alien"})
    assert len(index) == 5


def test_fault_23_a_folder_with_damaged_pages_is_synced(tmp_path):
    files, place = tmp_path / "files", tmp_path / "index"
    files.mkdir()
    (files / "a.txt").write_text("red apples")
    (files / "b.txt").write_text("blue whales")
    index = opened(place)
    assert index.sync(files).added == 2
    [id] = index.ids({"source": (files / "a.txt").as_posix()})
    collection(place).update(ids=[id], metadatas=[{records.VECTORS: "AAAA"}])
    index = opened(place)
    assert index.sync(files).added == 1
    assert index.sync(files).unchanged == 2
    assert {hit.page.text for hit in index.search("apples")} == {"red apples", "blue whales"}


def texts_of_a_folder(index: PageIndex) -> set[str]:
    return {hit.page.text for hit in index.search("apples", 9, exhaustive=True)}


@pytest.mark.parametrize("copy", ["kept", "made again"])
def test_fault_23_a_record_that_another_process_could_not_read_is_mended_by_sync(
    tmp_path, caplog, copy
):
    long = "\n\n".join(f"whales and apples {n} " * 60 for n in range(3))
    (tmp_path / "a.txt").write_text(long)
    place = tmp_path / "index"
    assert opened(place).sync(tmp_path / "a.txt").added == 3
    whole = texts_of_a_folder(opened(place))
    last = opened(place).ids()[-1]
    collection(place).update(ids=[last], metadatas=[{records.VECTORS: "AAAA"}])
    if copy == "made again":
        shutil.rmtree(place / "cache")
    for _ in range(3):  # each of which stands for a process of its own
        caplog.clear()
        assert len(texts_of_a_folder(opened(place))) == 2
        assert caplog.text.count("cannot be read") == 1
        assert repr(last) in caplog.text
    report = opened(place).sync(tmp_path / "a.txt")
    assert (report.added, report.unchanged) == (1, 2)
    assert opened(place).sync(tmp_path / "a.txt").unchanged == 3
    caplog.clear()
    assert texts_of_a_folder(opened(place)) == whole
    assert (caplog.text, list((place / "cache").rglob("unreadable.json"))) == ("", [])


def test_fault_23_a_damaged_record_whose_page_became_blank_leaves_the_index(tmp_path):
    path, place = tmp_path / "a.txt", tmp_path / "index"
    path.write_text("red apples")
    index = opened(place)
    index.sync(path)
    damage(index, index.ids()[0], {records.VECTORS: "AAAA"})
    path.write_text(" ")
    assert (opened(place).sync(path).removed, opened(place).ids()) == (1, [])


@pytest.mark.parametrize("kept", ["[1, null]", "{}", "[", '["gone#1", "s#1"]'])
def test_fault_23_what_is_kept_of_unreadable_records_is_a_hint(tmp_path, kept, caplog):
    opened(tmp_path).add(pages())
    file = tmp_path / "cache" / "pages" / "unreadable.json"
    file.write_text(kept)
    assert_all_ways_find(opened(tmp_path), {"s#1", "s#2", "s#3", "s#4"})
    assert [one for one in caplog.records if one.name.startswith("metaembed_rag")] == []
    assert "s#1" not in (file.read_text() if file.exists() else "")


class Odd(FakeEncoder):
    """Gives what ``change`` makes of the right vectors."""

    change: Any = None

    def encode_document(self, documents, **options):
        found = super().encode_document(documents, **options)
        return found if self.change is None else self.change(found)

    def encode_query(self, queries, **options):
        found = super().encode_query(queries, **options)
        return found if self.change is None else self.change(found)


def nan(found):
    return np.where(np.arange(len(found))[:, None, None] == 0, np.nan, found)


CHANGES = {
    "fewer vectors": lambda found: found[:, :-1],
    "other values": lambda found: found[..., :-1],
    "fewer inputs": lambda found: found[:-1],
    "a list of different lengths": lambda found: [found[0], found[0][1:]],
    "words": lambda found: "vectors",
}


def at(value: float, *place: int) -> Any:
    """Puts a value into the first document or query: into a vector, or one number of it."""

    def change(found):
        changed = found.copy()
        changed[(0, *place)] = value
        return changed

    return change


UNUSABLE = {
    "nan": nan,
    "nan behind the first vector": at(np.nan, 2),
    "one nan behind the first vector": at(np.nan, -1, 3),
    "infinite behind the first vector": at(np.inf, -1),
    "one infinite number": at(-np.inf, 1, 0),
    "zeros behind the first vector": at(0, -1),
    "zeros": lambda found: np.nan_to_num(nan(found)),
    "one vector of zeros": lambda found: (
        found
        * ((np.arange(len(found)) > 0)[:, None, None] | (np.arange(found.shape[1]) > 0)[:, None])
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_fault_23_an_encoder_that_does_not_give_what_it_announces_writes_nothing(change):
    encoder = Odd(dimension=16, query_vectors=4, document_vectors=8)
    index = PageIndex.open(":memory:", encoder)
    index.add(pages())
    encoder.change = change
    new = [Page("new", n, "new whales") for n in (1, 2)]
    with pytest.raises(ModelError, match="the model 'fake' gave vectors"):
        index.add(new)
    with pytest.raises(ModelError, match="the model 'fake' gave vectors"):
        index.search("apples")
    with pytest.raises(ModelError, match="the model 'fake' gave vectors"):
        index.score("apples", new)
    encoder.change = None
    assert len(index) == 4
    assert_all_ways_find(index, {"s#1", "s#2", "s#3", "s#4"})
    assert index.add(new).added == 2


@pytest.mark.parametrize("change", UNUSABLE.values(), ids=UNUSABLE)
def test_fault_23_a_page_without_usable_vectors_costs_itself_only(change):
    encoder = Odd(dimension=16, query_vectors=4, document_vectors=8)
    index = PageIndex.open(":memory:", encoder)
    index.add(pages())
    encoder.change = change
    new = [Page("new", n, f"new whales {n}") for n in (1, 2, 3)]
    for added, unchanged in ((2, 0), (0, 2)):
        report = index.add(new)
        assert (report.added, report.unchanged, report.blank) == (added, unchanged, [])
        [error] = report.skipped
        assert error.source == "new#1"
        assert "the model 'fake' gave vectors of a document that are" in error.reason
    assert index.add([Page("s", 1, "other apples")]).skipped[0].source == "s#1"
    with pytest.raises(ModelError, match="the model 'fake' gave vectors of a query"):
        index.search("apples")
    with pytest.raises(ModelError, match="the model 'fake' gave vectors of a"):
        index.score("apples", new)
    encoder.change = None
    assert len(index) == 6
    assert index.get(["s#1"])[0].text == "red apples"  # it keeps what it had
    assert index.add(new).added == 1


@pytest.mark.integration
def test_fault_23_a_servers_damaged_records_cost_their_pages(server, tmp_path, monkeypatch):
    monkeypatch.setattr(places.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    encoder = FakeEncoder(dimension=16, query_vectors=4, document_vectors=8)
    index = PageIndex.open(server, encoder, collection="damaged")
    index.add(pages())
    damage(index, "s#1", {records.VECTORS: "AAAA"})
    index._store._collection.add(ids=["bare"], embeddings=np.eye(1, 16, dtype=np.float32))
    for _ in range(2):
        assert_all_ways_find(index, {"s#2", "s#3", "s#4"})
    assert index.delete("bare") == index.add(pages()).added == 1
    assert_all_ways_find(index, {"s#1", "s#2", "s#3", "s#4"})
