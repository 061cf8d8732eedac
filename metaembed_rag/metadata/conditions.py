"""Conditions that Chroma cannot answer: on fields that follow from a record, on parts of a text,
on dates. They are tested here, page by page.
"""

from __future__ import annotations

import operator as compare
import re
from collections.abc import Callable, Hashable, Mapping
from fnmatch import translate
from typing import Any

from metaembed_rag.metadata.fields import (
    DATE_FIELDS,
    FILE_FIELDS,
    KNOWN,
    PUBLIC,
    Facts,
    Said,
    Stat,
    is_date,
    iso,
    moment,
    said,
    stat_of,
)

OF_TEXT: Mapping[str, str] = {
    "$not_icontains": "$icontains",
    "$not_glob": "$glob",
    "$not_regex": "$regex",
}
"""Operators on a part of a text, which Chroma lacks, by their opposites."""
_OPPOSITES = {"$ne": "$eq", "$nin": "$in", "$not_contains": "$contains", **OF_TEXT}
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": compare.gt,
    "$gte": compare.ge,
    "$lt": compare.lt,
    "$lte": compare.le,
}
_PARTS = frozenset({*OF_TEXT, *OF_TEXT.values()})
_DATED = frozenset({f"{PUBLIC}{name}" for name in DATE_FIELDS} | DATE_FIELDS)

Matches = Callable[[Said], bool]


def is_looked_up(key: str, asked: Any) -> bool:
    """Whether a condition of :func:`metaembed_rag.metadata.filters.normalize_where` is tested here.

    Args:
        key: Of the condition.
        asked: A value, or one operator and its value.
    """
    if key in KNOWN:
        return True
    if not isinstance(asked, Mapping):
        return False
    [(operator, value)] = asked.items()
    return operator in _PARTS or (operator in _ORDER and isinstance(value, str))


def condition_test(key: str, asked: Any, stat: Stat = stat_of) -> Callable[[Facts], bool]:
    """Whether a page meets a condition, by what its record says of it.

    Args:
        key: Of a field, or of metadata.
        asked: A value, or one operator and its value.
        stat: What the system says of a file, asked once a file.
    """
    [(operator, value)] = (asked if isinstance(asked, Mapping) else {"$eq": asked}).items()
    positive = _OPPOSITES.get(operator, operator)
    matches, is_met = _matches(key, positive, value), positive == operator
    name = key.removeprefix(PUBLIC)
    by_file: dict[Hashable, bool] = {}

    def test(facts: Facts) -> bool:
        """Pages of one file answer alike where they say nothing of their own."""
        if name in facts.own or name not in FILE_FIELDS:
            return matches(said(key, facts, once)) == is_met
        place = (facts.source, facts.root)
        if place not in by_file:
            by_file[place] = matches(said(key, facts, once)) == is_met
        return by_file[place]

    known: dict[str, Any] = {}

    def once(source: str) -> Any:
        if source not in known:
            known[source] = stat(source)
        return known[source]

    return test


def text_matches(operator: str, wanted: str) -> Callable[[str], bool]:
    """Whether a text has a part, ignoring case, or is of a form: ``$icontains``, ``$glob``,
    ``$regex`` and their opposites.
    """
    positive = OF_TEXT.get(operator, operator)
    if positive == "$icontains":
        part = wanted.casefold()

        def found(text: str) -> bool:
            return part in text.casefold()
    else:
        is_glob = positive == "$glob"
        find = re.compile(translate(wanted), re.I).match if is_glob else re.compile(wanted).search

        def found(text: str) -> bool:
            return find(text) is not None

    return found if positive == operator else lambda text: not found(text)


def _matches(key: str, operator: str, value: Any) -> Matches:
    """The test of a positive operator on what a page says."""
    if operator in _PARTS:
        test = text_matches(operator, value)
        return lambda one: any(map(test, one.searched))
    if operator == "$contains":
        return _has_part(value)
    if key in _DATED or (operator in _ORDER and isinstance(value, str)):
        return _compares_dates(operator, value)
    if operator in _ORDER:
        return _orders(_ORDER[operator], value)
    wanted = set(map(_key, value if operator == "$in" else [value]))
    if key.removeprefix(PUBLIC) == "file_type":
        wanted = {_key(_plain_type(one)) for _, one in wanted}
    return lambda one: (
        not isinstance(one.shown, list) and any(_key(each) in wanted for each in one.equal)
    )


def _key(value: Any) -> tuple[bool, Any]:
    """1 and 1.0 are one value, and True is another."""
    return isinstance(value, bool), value


def _plain_type(value: Any) -> Any:
    return value.lower().removeprefix(".") if isinstance(value, str) else value


def _has_part(value: Any) -> Matches:
    """Of a list, whether it holds the value; of a text, whether it holds it as a part."""

    def test(one: Said) -> bool:
        if isinstance(one.shown, list):
            return _key(value) in map(_key, one.equal)
        return isinstance(value, str) and any(value in text for text in one.searched)

    return test


def _orders(ordered: Callable[[Any, Any], bool], value: Any) -> Matches:
    def test(one: Said) -> bool:
        every = () if isinstance(one.shown, list) else one.equal
        numbers = (each for each in every if isinstance(each, int | float))
        return any(ordered(each, value) for each in numbers if not isinstance(each, bool))

    return test


def _compares_dates(operator: str, value: Any) -> Matches:
    """Dates are compared as exactly as the filter names one: ``2024-02`` is all of that month."""
    if operator not in ("$eq", "$in"):
        return _compares_one(_ORDER[operator], value)
    every = value if operator == "$in" else [value]
    tests = [_compares_one(compare.eq, one) for one in every]
    return lambda one: one.shown in every or any(test(one) for test in tests)


def _compares_one(ordered: Callable[[Any, Any], bool], value: Any) -> Matches:
    wanted = iso(value)
    if wanted is None:
        return lambda one: False

    def test(one: Said) -> bool:
        found = () if isinstance(one.shown, list) else map(iso, one.equal)
        return any(each is not None and _compared(ordered, each, wanted) for each in found)

    return test


def _compared(ordered: Callable[[Any, Any], bool], found: str, wanted: str) -> bool:
    if len(wanted) > 10:
        one, other = moment(found), moment(wanted)
        return one is not None and other is not None and ordered(one, other)
    return ordered(found[: len(wanted)], wanted)


def is_ordered(key: str, value: Any) -> bool:
    """Whether a value has an order in a filter on this key: a number, or a date."""
    if key in _DATED:
        return iso(value) is not None
    return (isinstance(value, int | float) and not isinstance(value, bool)) or is_date(value)
