"""Filters by their logic: what combinations of nothing, of one and of several mean."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from metaembed_rag.errors import StoreError
from metaembed_rag.metadata.filters import (
    NOTHING,
    TEXT_FIELD,
    all_of,
    fields,
    normalize_where,
    of_text,
    text_test,
)

A, B = {"a": 1}, {"b": 2}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, None),
        ({}, None),
        ({"$and": []}, None),
        ({"$or": [{}, A]}, None),
        ({"a": {"$nin": []}}, None),
        ({"$or": []}, NOTHING),
        ({"a": {"$in": []}}, NOTHING),
        ({"$and": [A, {"a": {"$in": ()}}]}, NOTHING),
        ({"$or": [A, {"a": {"$in": []}}]}, A),
        ({"$or": [A]}, A),
        ({"$and": [A]}, A),
        ({"a": 1, "b": 2}, {"$and": [A, B]}),
        ({"a": {"$gte": 2, "$lt": 5}}, {"$and": [{"a": {"$gte": 2}}, {"a": {"$lt": 5}}]}),
        ({"$and": [{"$and": [A, B]}, {"c": 3}]}, {"$and": [A, B, {"c": 3}]}),
        ({"$or": [A, B], "c": 3}, {"$and": [{"$or": [A, B]}, {"c": 3}]}),
        ({"a": {"$in": [1, "x", 1]}}, {"$or": [{"a": {"$in": [1]}}, {"a": {"$in": ["x"]}}]}),
        ({"a": {"$nin": [1, 0.5]}}, {"$and": [{"a": {"$nin": [1]}}, {"a": {"$nin": [0.5]}}]}),
        ({"a": {"$contains": 1}}, {"$or": [{"a": {"$contains": 1}}, {"a": {"$contains": 1.0}}]}),
        ({"a": datetime.date(2024, 2, 1)}, {"a": "2024-02-01"}),
        ({"a": {"$in": np.arange(2)}}, {"a": {"$in": [0, 1]}}),
    ],
)
def test_fault_10_a_filter_means_what_logic_says(given, meant):
    assert normalize_where(given) == meant
    assert normalize_where(normalize_where(given)) == meant


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a", "is a dictionary"),
        ({1: 2}, "by text, not by 1"),
        ({"$not": A}, "has no '\\$not' here"),
        ({"$or": A}, "takes a list of filters"),
        ({"$and": "ab"}, "takes a list of filters"),
        ({"a": {}}, "has no operator"),
        ({"a": None}, "asks for None"),
        ({"a": [1]}, "is a list"),
        ({"a": {"$in": 3}}, "needs a list of values"),
        ({"a": {"$gt": "next week"}}, "orders numbers only, and dates"),
        ({"creation_date": {"$gt": "next week"}}, "orders numbers only, and dates"),
        ({"a": {"$nearly": "b"}}, "no operator '\\$nearly' .* it has \\$eq, \\$ne"),
        ({"a": {"$glob": ""}}, "needs a text for \\$glob"),
        ({"a": {"$icontains": 3}}, "needs a text for \\$icontains, not 3"),
        ({"a": {"$regex": "("}}, "no regular expression"),
        ({"a": {"$between": [1]}}, "needs two values"),
        ({"a": 2**64}, "beyond 64 bits"),
        ({"a": float("nan")}, "only finite"),
        ({"a": {"$not_contains": ""}}, "an empty text"),
        ({"a": object()}, "is an object"),
        ({TEXT_FIELD: "words"}, "takes \\$contains"),
        ({TEXT_FIELD: {"$contains": ""}}, "needs a text"),
        ({TEXT_FIELD: {"$regex": "("}}, "no regular expression"),
    ],
)
def test_fault_10_what_has_no_meaning_is_refused_in_a_sentence(given, message):
    with pytest.raises(StoreError, match=message):
        normalize_where(given)


def test_the_fields_of_a_filter():
    assert fields(normalize_where({"$or": [A, {"b": 1, "c": {"$in": [1]}}]})) == {"a", "b", "c"}
    assert fields(None) == set()


def test_nothing_and_everything_are_joined():
    assert all_of(NOTHING, None) == NOTHING
    assert normalize_where(all_of(NOTHING, A)) == NOTHING


@pytest.mark.parametrize(
    ("condition", "texts"),
    [
        ({"$contains": "net"}, ["net revenue"]),
        ({"$not_contains": "net"}, ["Net loss"]),
        ({"$regex": "(?i)^net"}, ["net revenue", "Net loss"]),
        ({"$not_regex": "loss$"}, ["net revenue"]),
    ],
)
def test_conditions_on_texts(condition, texts):
    test = text_test(condition)
    assert [text for text in ("net revenue", "Net loss") if test(text)] == texts


def test_chromas_conditions_on_documents_are_filters():
    both = of_text({"$or": [{"$contains": "a"}, {"$contains": "b"}]})
    assert both == {"$or": [{TEXT_FIELD: {"$contains": "a"}}, {TEXT_FIELD: {"$contains": "b"}}]}
    assert of_text(None) is None
    with pytest.raises(StoreError, match="a condition on texts"):
        of_text({})
