"""Fields that no record holds can be asked for, as the pages are now, wherever an index lies."""

from __future__ import annotations

from uuid import uuid4

import pytest

from metaembed_rag.pages import Page
from metaembed_rag.store import page_fields
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.places import MEMORY
from tests.store.test_chroma import ABOUT, put, vectors

OF_A = {"file_name": "a.pdf"}


@pytest.fixture(params=["folder", "memory", "server"])
def store(request, tmp_path) -> ChromaStore:
    """Pages 1 and 2 of ``/d/a.pdf``, page 1 of ``/d/sub/b.txt``."""
    where = MEMORY if request.param == "memory" else str(tmp_path / "index")
    if request.param == "server":
        where = request.getfixturevalue("server")
    store = ChromaStore.open(where, lambda: ABOUT, collection=f"c{uuid4().hex[:8]}")
    pages = [
        Page("/d/a.pdf", 1, "x", metadata={"year": 1, "title": "Red"}, root="/d", page_count=2),
        Page("/d/a.pdf", 2, "whales", metadata={"year": 2, "label": "ii"}, root="/d", page_count=2),
        Page("/d/sub/b.txt", 1, "whales", metadata={"year": 3, "title": "Blue"}, root="/d"),
    ]
    put(store, pages, vectors(3))
    return store


A1, A2, B = "/d/a.pdf#1", "/d/a.pdf#2", "/d/sub/b.txt#1"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (OF_A, [A1, A2]),
        ({"file_name": {"$ne": "a.pdf"}}, [B]),
        ({**OF_A, "year": {"$gte": 2}}, [A2]),
        ({"$or": [OF_A, {"year": 3}]}, [A1, A2, B]),
        ({"$or": [{"folder": "sub"}, {"page_label": "ii"}]}, [A2, B]),
        ({"total_pages": 2, "#document": {"$contains": "whales"}}, [A2]),
        ({"title": {"$icontains": "re"}}, [A1]),
        ({"title": {"$not_icontains": "re"}}, [A2, B]),
        ({"file_path": {"$in": [f"{n}.pdf" for n in range(30_000)] + ["sub/b.txt"]}}, [B]),
        ({"file_name": {"$in": []}}, []),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_pages_pass_by_what_follows_from_their_file(store, where, expected):
    assert store.ids(where) == expected
    nearest = store.candidates(vectors(1)[0, 0], 9, where)
    assert sorted(record.page.id for record in nearest) == expected


def test_changed_added_and_deleted_pages_are_seen(store):
    assert store.ids(OF_A) == [A1, A2]
    put(store, [Page("/d/a.pdf", 2, metadata={"file_name": "z"}), Page("/e/a.pdf", 5)], vectors(2))
    assert store.ids(OF_A) == [A1, "/e/a.pdf#5"]
    store.delete([A1])
    assert store.ids(OF_A) == ["/e/a.pdf#5"]


def test_changed_metadata_are_seen(store):
    assert store.ids({"title": {"$icontains": "red"}}) == [A1]
    store.update_metadata([A1], [{"title": "Green"}])
    assert store.ids({"title": {"$icontains": "red"}}) == []


def test_a_damaged_record_is_told_by_what_is_left_of_it(store):
    store.update_metadata([A1], [{"metaembed:stamp": "rubbish", "page": True, "source": ""}])
    assert store.ids({"file_name": {"$glob": "a.pdf*"}}) == [A1, A2]


def test_pages_are_looked_at_once(store, monkeypatch):
    store.ids(OF_A)
    read = []
    stored = store.stored
    monkeypatch.setattr(
        store, "stored", lambda ids, **given: (read.extend(ids), stored(ids, **given))[1]
    )
    assert store.ids({"file_type": "pdf"}) == [A1, A2]
    assert read == []
    put(store, [Page("/d/c.pdf")], vectors(1))
    assert store.ids({"file_type": "pdf"}) == [A1, A2, "/d/c.pdf#1"]
    assert read == ["/d/c.pdf#1"]


def test_only_pages_that_pass_the_rest_are_looked_at(store, monkeypatch):
    read = []
    stored = store.stored
    monkeypatch.setattr(
        store, "stored", lambda ids, **given: (read.extend(ids), stored(ids, **given))[1]
    )
    assert store.ids({**OF_A, "year": 3}) == []
    assert read == [B]


def test_filters_that_chroma_answers_look_at_no_page(store, monkeypatch):
    monkeypatch.setattr(store, "stored", lambda ids, bare: pytest.fail("was looked at"))
    assert store.ids({"title": "Red", "year": {"$gte": 1}}) == [A1]


def test_a_request_that_was_seen_in_part_is_read_again(store, monkeypatch):
    monkeypatch.setattr(page_fields, "_READ_AT_ONCE", 1)
    stored, replaced = store.stored, []

    def reading(ids, **given):
        found = stored(ids, **given)
        if not replaced:
            replaced.append(True)
            pages = [Page("/d/a.pdf", number, metadata={"file_name": "z"}) for number in (1, 2)]
            put(store, pages, vectors(2))
        return found

    monkeypatch.setattr(store, "stored", reading)
    assert store.ids(OF_A) == []
