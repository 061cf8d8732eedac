from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metaembed_rag.errors import IndexLockedError, IndexNotFoundError, MetadataError, StoreError
from metaembed_rag.pages import Page
from metaembed_rag.store import collection, records, requests
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.places import MEMORY
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import pack, vector_format
from tests.support.processes import CONTEXT

ABOUT = CollectionModel("model", "f" * 32, dimension=4, vectors=3)


def vectors(pages: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((pages, 3, 4)).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def packed(made: np.ndarray) -> list[str]:
    return pack(vector_format("int8").encode(made))


def put(store: ChromaStore, pages: list[Page], made: np.ndarray) -> None:
    metadatas = [
        records.to_metadata(Record(page, payload, page.content_hash(), "text"))
        for page, payload in zip(pages, packed(made), strict=True)
    ]
    store.upsert([page.id for page in pages], made[:, 0], metadatas)


@pytest.fixture
def store() -> ChromaStore:
    return ChromaStore.open(MEMORY, lambda: ABOUT)


def test_a_page_comes_back_as_it_was_stored(store):
    page = Page(
        source="/a/b.pdf",
        number=7,
        text="Umsatz 2024 – größer",
        metadata={"author": "Ö", "year": 2024, "share": 0.5, "draft": False, "tags": ["x", "y"]},
        page_count=9,
        settings="pdf:896",
        source_digest="d1",
        text_from_ocr=True,
    )
    put(store, [page], vectors(1))
    record = store.get([page.id])[page.id]
    assert record.page == page
    assert record.content_hash == page.content_hash()


def test_vectors_come_back_within_the_rounding_of_int8(store):
    made = vectors(2)
    put(store, [Page(source="a"), Page(source="b")], made)
    found = store.get(["a#1", "b#1"])
    back = store.about.unpack([found["a#1"], found["b#1"]]).decode()
    assert np.abs(back - made).max() <= 1 / 250


def test_records_are_realigned_by_id_and_missing_ones_left_out(store):
    pages = [Page(source=name, text=name) for name in "abcdef"]
    put(store, pages, vectors(6))
    found = store.get(["f#1", "none#1", "a#1"])
    assert {id: record.page.text for id, record in found.items()} == {"f#1": "f", "a#1": "a"}


def test_candidates_are_the_nearest_first_vectors(store):
    made = vectors(50)
    put(store, [Page(source=str(i)) for i in range(50)], made)
    query = vectors(1, seed=9)[0, 0]
    nearest = np.argsort(-(made[:, 0] @ query))[:5]
    found = store.candidates(query, 5)
    assert [record.page.source for record in found] == [str(i) for i in nearest]


def test_more_candidates_than_pages_are_all_pages(store):
    put(store, [Page(source="a"), Page(source="b")], vectors(2))
    assert len(store.candidates(vectors(1)[0, 0], 1000)) == 2


def test_filters_name_sources_pages_and_the_users_fields(store):
    pages = [
        Page(source=s, number=n, metadata={"lang": lang})
        for s, n, lang in [("a", 1, "en"), ("a", 2, "de"), ("b", 1, "de")]
    ]
    put(store, pages, vectors(3))
    assert store.ids({"source": "a"}) == ["a#1", "a#2"]
    assert store.ids({"source": "a", "lang": "de"}) == ["a#2"]
    assert store.ids({"page": {"$gt": 1}}) == ["a#2"]
    assert store.ids({"$or": [{"source": "b"}, {"page": 2}]}) == ["a#2", "b#1"]


def test_a_bad_filter_is_a_sentence(store):
    with pytest.raises(StoreError, match="no operator '\\$nearly' .* it has \\$eq"):
        store.ids({"source": {"$nearly": "a"}})


def test_upsert_replaces_and_none_removes_a_key(store):
    put(store, [Page(source="a", metadata={"old": 1})], vectors(1))
    before = store.get(["a#1"])["a#1"]
    page = Page(source="a", text="new", metadata={"new": 2})
    metadata = records.to_metadata(Record(page, packed(vectors(1))[0], "h", "text"))
    metadata |= records.keys_gone(before, metadata)
    store.upsert(["a#1"], vectors(1)[:, 0], [metadata])
    assert store.get(["a#1"])["a#1"].page == page
    assert store.count() == 1


def test_batches_stay_under_both_limits(store, monkeypatch):
    monkeypatch.setattr(requests, "MAX_BYTES", 100_000)
    pages = [Page(source=str(i), text="x" * 30_000) for i in range(7)]
    sizes = []
    upsert = store._collection.upsert
    monkeypatch.setattr(
        store._link._connection,
        "collection",
        type(
            "Spy",
            (),
            {
                "metadata": store._collection.metadata,
                "upsert": lambda self, **given: (sizes.append(len(given["ids"])), upsert(**given)),
            },
        )(),
    )
    put(store, pages, vectors(7))
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"a": None}, "is None"),
        ({"a": {"b": 1}}, "is a dict"),
        ({"a": b"x"}, "is bytes"),
        ({"a": []}, "holds 0 values"),
        ({"a": [0.0] * 6000}, "holds 6000 values"),
        ({"a": [1, "x"]}, "several types"),
        ({"a": [{"b": 1}]}, "is a dict"),
        ({"a": float("nan")}, "finite"),
        ({"a": [1.0, float("inf")]}, "finite"),
        ({"a": 2**63}, "beyond 64 bits"),
        ({"a": "\ud800"}, "surrogate"),
        ({"source": "x"}, "set by the page itself"),
        ({"metaembed:hash": "x"}, "reserved"),
        ({"chroma:x": "x"}, "reserved"),
        ({"$x": "x"}, "reserved"),
        ({"": "x"}, "non-empty"),
        ({3: "x"}, "non-empty"),
    ],
)
def test_metadata_that_would_be_harmed_is_refused_by_page_and_key(metadata, reason):
    with pytest.raises(MetadataError, match=reason) as error:
        records.check_metadata(metadata, "report.pdf#3")
    assert "report.pdf#3" in str(error.value)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1).filter(
            lambda key: (
                key not in ("source", "page")
                and not key.startswith(("#", "$", "chroma:", "metaembed:"))
            )
        ),
        st.one_of(
            st.text(),
            st.booleans(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.lists(st.text(), min_size=1, max_size=5),
            st.lists(st.integers(-(2**31), 2**31), min_size=1, max_size=5),
        ),
        max_size=4,
    )
)
def test_metadata_that_is_accepted_comes_back_unharmed(metadata):
    store = ChromaStore.open(MEMORY, lambda: ABOUT)
    page = Page(source="a", metadata=metadata)
    put(store, [page], vectors(1))
    back = store.get([page.id])[page.id].page.metadata
    assert records.same_metadata(back, metadata)


def test_metadata_are_the_same_up_to_the_last_digit_of_a_float():
    same = records.same_metadata
    assert same({"a": 0.1 + 0.2, "b": [1.0]}, {"a": 0.3, "b": (1.0,)})
    assert not same({"a": 0.3}, {"a": 0.300001})
    assert not same({"a": 1}, {"a": 1, "b": 2})
    assert not same({"a": [1]}, {"a": [1, 2]})


def test_an_index_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(IndexNotFoundError, match="metaembed index PATH"):
        ChromaStore.open(tmp_path / "none", None)
    assert not (tmp_path / "none").exists()


def test_other_files_are_never_mixed_with_a_new_index(tmp_path):
    (tmp_path / "thesis.pdf").write_bytes(b"x")
    with pytest.raises(StoreError, match="holds other files"):
        ChromaStore.open(tmp_path, lambda: ABOUT)
    with pytest.raises(StoreError, match="is a file"):
        ChromaStore.open(tmp_path / "thesis.pdf", lambda: ABOUT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.pdf"]


def test_a_damaged_database_is_a_sentence(tmp_path):
    (tmp_path / "chroma.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="Chroma at"):
        ChromaStore.open(tmp_path, lambda: ABOUT)


def test_a_collection_of_another_program_is_refused(tmp_path):
    import chromadb

    client = chromadb.PersistentClient(
        str(tmp_path), settings=chromadb.Settings(anonymized_telemetry=False)
    )
    client.create_collection("pages")
    with pytest.raises(StoreError, match="not made by metaembed_rag"):
        ChromaStore.open(tmp_path, lambda: ABOUT)


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "FORMAT", 99)
    ChromaStore.open(tmp_path / "i", lambda: replace(ABOUT, format="int4"))
    monkeypatch.undo()
    with pytest.raises(StoreError, match="format 99"):
        ChromaStore.open(tmp_path / "i", None)


def test_two_indexes_in_memory_share_nothing(store):
    put(store, [Page(source="a")], vectors(1))
    assert ChromaStore.open(MEMORY, lambda: ABOUT).count() == 0


def hold_lock(folder, held, done):
    with ChromaStore.open(folder, lambda: ABOUT).writing():
        held.set()
        done.wait(30)


@pytest.mark.integration
def test_a_second_writing_process_is_told_to_wait(tmp_path):
    held, done = CONTEXT.Event(), CONTEXT.Event()
    other = CONTEXT.Process(target=hold_lock, args=(tmp_path / "i", held, done))
    other.start()
    try:
        assert held.wait(60)
        store = ChromaStore.open(tmp_path / "i", lambda: ABOUT)
        with pytest.raises(IndexLockedError, match="another process is writing"), store.writing():
            pass
        assert store.count() == 0  # reading needs no lock
    finally:
        done.set()
        other.join()
    with store.writing():
        pass


@pytest.mark.integration
def test_a_lock_of_a_killed_process_is_free(tmp_path):
    held, done = CONTEXT.Event(), CONTEXT.Event()
    other = CONTEXT.Process(target=hold_lock, args=(tmp_path / "i", held, done))
    other.start()
    assert held.wait(60)
    other.kill()
    other.join()
    start = time.monotonic()
    with ChromaStore.open(tmp_path / "i", lambda: ABOUT).writing(timeout=5):
        assert time.monotonic() - start < 5


def test_pictures_appear_whole_under_a_name_of_their_content(tmp_path):
    folder = PictureFolder(tmp_path / "pictures")
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    first, second = folder.save(red, "a#1", "h1"), folder.save(blue, "a#1", "h2")
    assert first != second
    assert Image.open(folder.path(first)).convert("RGB").getpixel((4, 4))[0] > 200
    assert folder.save(red, "a#1", "h1") == first
    folder.remove({first, None, "no/such.jpg"})
    assert not folder.path(first).exists()
    assert folder.path(second).exists()
    assert len([path for path in folder.folder.rglob("*") if path.is_file()]) == 1


def test_the_revision_of_a_folder_changes_with_writes_and_not_with_reads(tmp_path):
    store = ChromaStore.open(tmp_path / "i", lambda: ABOUT)
    put(store, [Page(source="a")], vectors(1))
    assert store.revision() is None  # a write within the same tick of the clock would not show
    database = tmp_path / "i" / "chroma.sqlite3"
    os.utime(database, (1, 1))
    first = store.revision()
    assert first is not None
    store.get(["a#1"])
    store.candidates(vectors(1)[0, 0], 5)
    assert store.revision() == first
    put(store, [Page(source="a")], vectors(1, seed=1))
    assert store.revision() is None
    os.utime(database, (2, 2))
    assert store.revision() not in (None, first)


@pytest.mark.integration
def test_a_page_that_another_process_deleted_is_left_out_of_the_candidates(tmp_path):
    store = ChromaStore.open(tmp_path / "i", lambda: ABOUT)
    put(store, [Page(source="a"), Page(source="b")], vectors(2))
    query = vectors(2)[0, 0]
    assert {record.page.id for record in store.candidates(query, 5)} == {"a#1", "b#1"}
    process = CONTEXT.Process(target=_delete, args=(str(tmp_path / "i"), "b#1"))
    process.start()
    process.join()
    assert {record.page.id for record in store.candidates(query, 5)} == {"a#1"}


def _delete(where: str, id: str) -> None:
    ChromaStore.open(where, None).delete([id])


def test_stamps_say_exactly_what_was_written_since(store):
    put(store, [Page(source="a"), Page(source="b")], vectors(2))
    known = {page.stamp for page in store.texts()}
    assert (len(known), store.written_since(known)) == (1, [])
    put(store, [Page(source="b", text="new")], vectors(1))
    assert store.written_since(known) == ["b#1"]
    [stamp] = known
    assert store.with_stamp(stamp) == ["a#1"]
    assert {(page.id, page.text, page.request_size) for page in store.texts()} == {
        ("a#1", "", 2),
        ("b#1", "new", 1),
    }
    assert store.written_since(()) == ["a#1", "b#1"]
