"""The texts that filters look into are those of the pages as they are now."""

from __future__ import annotations

import pytest

from metaembed_rag.metadata.filters import TEXT_FIELD
from metaembed_rag.pages import Page
from metaembed_rag.store import texts
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.places import MEMORY
from tests.store.test_chroma import ABOUT, put, vectors

WHALES = {TEXT_FIELD: {"$contains": "whales"}}


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path) -> ChromaStore:
    where = MEMORY if request.param == "memory" else str(tmp_path / "index")
    store = ChromaStore.open(where, lambda: ABOUT)
    put(store, [Page("s", 1, "whales"), Page("s", 2, "apples")], vectors(2))
    return store


def test_fault_10_changed_added_and_deleted_texts_are_seen(store):
    assert store.ids(WHALES) == ["s#1"]
    put(store, [Page("s", 2, "whales, too"), Page("s", 3, "whales")], vectors(2))
    assert store.ids(WHALES) == ["s#1", "s#2", "s#3"]
    store.delete(["s#1"])
    assert store.ids(WHALES) == ["s#2", "s#3"]


def test_a_text_is_read_once(store, monkeypatch):
    store.ids(WHALES)
    read = []
    get = store.get
    monkeypatch.setattr(store, "get", lambda ids, **given: (read.extend(ids), get(ids, **given))[1])
    assert store.ids({**WHALES, "page": 1}) == ["s#1"]
    assert read == []
    put(store, [Page("s", 2, "whales")], vectors(1))
    assert store.ids(WHALES) == ["s#1", "s#2"]
    assert set(read) == {"s#2"}


def test_only_texts_of_pages_that_pass_the_rest_are_read(store, monkeypatch):
    read = []
    get = store.get
    monkeypatch.setattr(store, "get", lambda ids, **given: (read.extend(ids), get(ids, **given))[1])
    assert store.ids({**WHALES, "page": 2}) == []
    assert read == ["s#2"]


def test_a_request_that_was_seen_in_part_is_read_again(store, monkeypatch):
    """Somebody replaces both pages between the reading of the first and of the second."""

    monkeypatch.setattr(texts, "_READ_AT_ONCE", 1)
    get, replaced = store.get, []

    def reading(ids, **given):
        found = get(ids, **given)
        if not replaced:
            replaced.append(True)
            put(store, [Page("s", 1, "pears"), Page("s", 2, "whales")], vectors(2))
        return found

    monkeypatch.setattr(store, "get", reading)
    assert store.ids(WHALES) == ["s#2"]
