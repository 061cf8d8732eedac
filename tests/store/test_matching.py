"""Filters that Chroma does not take in one question are answered as if it did."""

from __future__ import annotations

import pytest

from metaembed_rag.metadata.filters import TEXT_FIELD
from metaembed_rag.pages import Page
from metaembed_rag.store import chroma, matching
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.places import MEMORY
from tests.store.test_chroma import ABOUT, put, vectors

MANY = 30_000


@pytest.fixture
def store() -> ChromaStore:
    """Pages n = 0 to 5; the text is the number, and the even ones are "even"."""
    store = ChromaStore.open(MEMORY, lambda: ABOUT)
    pages = [
        Page("s", n + 1, f"{n} even" if n % 2 == 0 else str(n), metadata={"n": n, "s": f"s{n}"})
        for n in range(6)
    ]
    put(store, pages, vectors(6))
    return store


def numbers(store: ChromaStore, where: dict) -> list[int]:
    return [store.get([id])[id].page.metadata["n"] for id in store.ids(where)]


def deep(levels: int) -> dict:
    """Only 3, by as many levels of filters."""
    where: dict = {"n": 3}
    for level in range(levels):
        where = {"$and": [{"$or": [where, {"n": 100 + level}]}, {"n": {"$lt": 50}}]}
    return where


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"n": {"$in": list(range(3, MANY))}}, [3, 4, 5]),
        ({"n": {"$nin": list(range(3, MANY))}}, [0, 1, 2]),
        ({"s": {"$in": [f"s{n}" for n in range(5, MANY)]}}, [5]),
        ({"s": {"$nin": [f"s{n}" for n in range(5, MANY)]}, "n": {"$gt": 2}}, [3, 4]),
        ({"$or": [{"n": n} for n in range(4, 3000)]}, [4, 5]),
        ({"$and": [{"n": {"$ne": n}} for n in range(1, 3000)]}, [0]),
        (deep(80), [3]),
        ({"n": {"$in": []}}, []),
        ({"n": {"$nin": []}}, [0, 1, 2, 3, 4, 5]),
        ({TEXT_FIELD: {"$contains": "even"}}, [0, 2, 4]),
        ({TEXT_FIELD: {"$not_contains": "even"}, "n": {"$gt": 1}}, [3, 5]),
        ({"$or": [{TEXT_FIELD: {"$regex": "^4"}}, {"n": 1}]}, [1, 4]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_fault_10_filters_of_any_size_and_on_texts_are_answered(store, where, expected):
    assert numbers(store, where) == expected
    nearest = store.candidates(vectors(1)[0, 0], 6, where)
    assert sorted(record.page.metadata["n"] for record in nearest) == expected


def test_fault_10_in_pieces_the_answer_is_that_of_one_question(store, monkeypatch):
    wheres = [
        {"$or": [{"n": {"$in": [1, 2, 3]}}, {"s": "s5"}], "n": {"$lte": 4}},
        {"$or": [{"$and": [{"n": {"$gt": 1}}, {"n": {"$lt": 4}}]}, {"n": {"$nin": [0, 1, 2, 3]}}]},
    ]
    whole = [store.ids(where) for where in wheres]
    for limit in ("_VALUES", "_CONDITIONS", "_DEPTH"):
        with monkeypatch.context() as patch:
            patch.setattr(matching, limit, 2)
            assert [store.ids(where) for where in wheres] == whole


def test_candidates_of_a_filter_in_pieces_are_the_nearest_of_all(store, monkeypatch):
    query = vectors(1, seed=5)[0, 0]
    few = {"n": {"$lt": 5, "$gte": 0}}
    whole = [record.page.id for record in store.candidates(query, 3, few)]
    monkeypatch.setattr(chroma, "_IDS_AT_ONCE", 2)
    monkeypatch.setattr(matching, "_VALUES", 2)
    assert [record.page.id for record in store.candidates(query, 3, few)] == whole


@pytest.mark.integration
def test_fault_10_a_server_answers_filters_of_any_size_and_on_texts(server):
    store = ChromaStore.open(server, lambda: ABOUT, collection="matching")
    put(store, [Page("s", 1, "whales"), Page("s", 2, "apples")], vectors(2))
    assert store.ids({"page": {"$in": list(range(2, MANY))}}) == ["s#2"]
    assert store.ids({TEXT_FIELD: {"$contains": "whales"}}) == ["s#1"]
    put(store, [Page("s", 2, "whales")], vectors(1))
    assert store.ids({TEXT_FIELD: {"$contains": "whales"}}) == ["s#1", "s#2"]
    assert store.ids({"$or": [{"page": n} for n in range(2, 2000)]}) == ["s#2"]
