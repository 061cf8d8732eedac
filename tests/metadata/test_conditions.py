"""Conditions that are tested page by page mean what Chroma's own would."""

from __future__ import annotations

from typing import Any

import pytest

from metaembed_rag.metadata.conditions import condition_test, is_looked_up, text_matches
from metaembed_rag.metadata.fields import Facts
from metaembed_rag.metadata.filters import normalize_where

PAGES = {
    "a": Facts({"title": "Budget 2024", "date": "2024-05-06"}, "/d/x/a.pdf", 1, "/d", 3),
    "b": Facts({"title": "Minutes", "date": "2023-01-01T10:00:00"}, "/d/x/y/b.jpg", 2, "/d", 1),
    "c": Facts({"file_name": "a.pdf", "tags": ["red", "blue"]}, "/d/c.md", 4, "/d"),
}


def passing(where: dict[str, Any]) -> str:
    [(key, asked)] = (normalize_where(where) or {}).items()
    assert is_looked_up(key, asked)
    test = condition_test(key, asked, lambda source: None)
    return "".join(name for name, facts in PAGES.items() if test(facts))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"file_name": "a.pdf"}, "ac"),
        ({"file_name": {"$ne": "a.pdf"}}, "b"),
        ({"file_name": {"$in": ["b.jpg", "c.md"]}}, "b"),
        ({"file_name": {"$nin": ["b.jpg"]}}, "ac"),
        ({"file_name": {"$contains": ".j"}}, "b"),
        ({"file_name": {"$not_contains": ".j"}}, "ac"),
        ({"file_name": {"$glob": "*.PDF"}}, "ac"),
        ({"file_name": {"$glob": "a"}}, ""),
        ({"file_name": {"$not_glob": "*.pdf"}}, "b"),
        ({"file_name": {"$regex": "^[ab]"}}, "abc"),
        ({"file_type": "PDF"}, "a"),
        ({"file_type": ".jpeg"}, "b"),
        ({"file_type": {"$in": ["application/pdf", "markdown"]}}, "ac"),
        ({"file_type": {"$glob": "image/*"}}, "b"),
        ({"folder": "x"}, "ab"),
        ({"folder": "x/y"}, "b"),
        ({"folder": "."}, "c"),
        ({"folder": "/d"}, "abc"),
        ({"file_path": "x/a.pdf"}, "a"),
        ({"file_path": "/d/x/a.pdf"}, "a"),
        ({"file_path": {"$icontains": "X/"}}, "ab"),
        ({"page_label": "2"}, "b"),
        ({"page_label": 2}, "b"),
        ({"page_label": {"$gte": 2}}, "bc"),
        ({"total_pages": {"$lt": 3}}, "b"),
        ({"total_pages": {"$ne": 3}}, "bc"),
        ({"total_pages": True}, ""),
        ({"title": {"$icontains": "BUDGET"}}, "a"),
        ({"title": {"$not_icontains": "budget"}}, "bc"),
        ({"title": {"$like": "M%es"}}, "b"),
        ({"title": {"$like": "m%es"}}, ""),
        ({"title": {"$ilike": "m_nutes"}}, "b"),
        ({"tags": {"$icontains": "RE"}}, "c"),
        ({"date": {"$gte": "2024-05"}}, "a"),
        ({"date": {"$lt": "2023-01-01T11:00:00+00:00"}}, "b"),
        ({"date": {"$lte": "2023-01-01"}}, "b"),
        ({"date": {"$gt": "2024-05"}}, ""),
    ],
    ids=repr,
)
def test_which_pages_pass(where, expected):
    assert passing(where) == expected


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        ({"creation_date": 2024}, True),
        ({"creation_date": "2024-02"}, True),
        ({"creation_date": "2024-03"}, False),
        ({"creation_date": {"$lte": "2024-02-29"}}, True),
        ({"creation_date": {"$gt": 2023}}, True),
        ({"creation_date": {"$gte": "2024-02-29T09:00:00+00:00"}}, True),
        ({"creation_date": {"$gt": "2024-02-29T09:00:00+00:00"}}, False),
        ({"creation_date": {"$in": ["2023", "2024-02-29"]}}, True),
        ({"moddate": {"$ne": 2024}}, True),
        ({"moddate": {"$gte": 1900}}, False),
    ],
    ids=repr,
)
def test_a_date_is_compared_as_exactly_as_it_is_named(where, passes):
    [(key, asked)] = (normalize_where(where) or {}).items()
    page = Facts({"creationdate": "2024-02-29T10:00:00+01:00"}, "x")
    assert condition_test(key, asked, lambda source: None)(page) is passes


def test_a_file_is_looked_at_once():
    asked = []
    test = condition_test("file_size", {"$gt": 1}, lambda source: asked.append(source))
    assert [test(Facts({}, "/a", number)) for number in (1, 2, 3)] == [False] * 3
    assert asked == ["/a"]


def test_between_is_from_the_first_to_the_last():
    assert normalize_where({"year": {"$between": [2019, 2021]}}) == {
        "$and": [{"year": {"$gte": 2019}}, {"year": {"$lte": 2021}}]
    }


@pytest.mark.parametrize(
    ("key", "asked"),
    [("year", 2024), ("year", {"$gt": 3}), ("title", {"$contains": "x"}), ("title", {"$eq": "x"})],
)
def test_what_chroma_can_answer_is_left_to_it(key, asked):
    assert not is_looked_up(key, asked)


@pytest.mark.parametrize(
    ("operator", "wanted", "found"),
    [
        ("$icontains", "straße", ["STRASSE"]),
        ("$glob", "[a-c]*", ["abc"]),
        ("$not_glob", "*c", ["STRASSE"]),
    ],
)
def test_parts_of_texts(operator, wanted, found):
    assert list(filter(text_matches(operator, wanted), ["abc", "STRASSE"])) == found
