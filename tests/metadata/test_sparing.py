"""Filters that every page passes are told, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from metaembed_rag.metadata.filters import NOTHING, normalize_where
from metaembed_rag.metadata.sparing import only_negates, spares_none


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"$and": []},
        {"title": {"$nin": []}},
        {"page": {"$gte": 1}},
        {"page": {"$gt": 0}},
        {"page": {"$gte": -5.5}},
        {"page": {"$ne": 0}},
        {"page": {"$nin": [0, -1, "x"]}},
        {"page": {"$not_contains": 3}},
        {"source": {"$ne": ""}},
        {"source": {"$ne": 7}},
        {"source": {"$nin": ["", 1]}},
        {"source": {"$not_contains": "a.pdf"}},
        {"#document": {"$regex": ".*"}},
        {"#document": {"$regex": "x?"}},
        {"metaembed:hash": {"$ne": "x"}},
        {"chroma:document": {"$not_contains": "x"}},
        {"$or": [{"year": 1}, {"page": {"$gte": 1}}]},
        {"$or": [{"year": 1}, {"year": {"$ne": 1}}]},
        {"$or": [{"year": {"$in": [1, 2]}}, {"year": {"$nin": [1, 2]}}]},
        {"$or": [{"tags": {"$contains": "a"}}, {"tags": {"$not_contains": "a"}}]},
        {"$or": [{"#document": {"$contains": "a"}}, {"#document": {"$not_contains": "a"}}]},
        {"$and": [{"page": {"$gte": 1}}, {"source": {"$ne": ""}}]},
    ],
)
def test_a_filter_that_every_page_passes_spares_none(where: dict[str, Any]) -> None:
    assert spares_none(normalize_where(where))


@pytest.mark.parametrize(
    "where",
    [
        NOTHING,
        {"year": 1},
        {"year": {"$ne": 1}},
        {"page": {"$gte": 2}},
        {"page": {"$gt": 1}},
        {"page": {"$ne": 1}},
        {"page": {"$nin": [0, 1]}},
        {"page": {"$lt": 10}},
        {"page": 0},
        {"source": "a.pdf"},
        {"source": {"$ne": "a.pdf"}},
        {"source": {"$nin": ["", "a.pdf"]}},
        {"#document": {"$regex": "a"}},
        {"#document": {"$regex": "^$"}},
        {"#document": {"$not_regex": ".*"}},
        {"#document": {"$contains": "a"}},
        {"$or": [{"year": 1}, {"month": {"$ne": 1}}]},
        {"$or": [{"year": 1}, {"year": {"$ne": 2}}]},
        {"$and": [{"page": {"$gte": 1}}, {"year": 1}]},
    ],
)
def test_a_filter_that_a_page_can_fail_spares_some(where: dict[str, Any]) -> None:
    assert not spares_none(normalize_where(where))


@pytest.mark.parametrize(
    ("where", "negates"),
    [
        ({"year": {"$ne": 1}}, True),
        ({"year": {"$nin": [1]}}, True),
        ({"tags": {"$not_contains": "a"}}, True),
        ({"#document": {"$not_regex": "a"}}, True),
        ({"$and": [{"a": {"$ne": 1}}, {"b": {"$ne": 1}}]}, True),
        ({"$or": [{"a": 1}, {"b": {"$ne": 1}}]}, True),
        ({"a": 1, "b": {"$ne": 1}}, False),
        ({"a": {"$gt": 1}}, False),
        (NOTHING, False),
    ],
)
def test_what_only_negates_is_told(where: dict[str, Any], negates: bool) -> None:
    found = normalize_where(where)
    assert found is not None and only_negates(found) == negates
