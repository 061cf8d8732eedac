"""Whether a filter spares any page: what deletes by a filter must not delete everything by mistake.

All functions take filters of the form of :func:`metaembed_rag.metadata.filters.normalize_where`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metaembed_rag.metadata.conditions import OF_TEXT
from metaembed_rag.metadata.filters import TEXT_FIELD

_NEGATIVE = frozenset({"$ne", "$nin", "$not_contains", *OF_TEXT})
_OPPOSITES = (("$eq", "$ne"), ("$in", "$nin"), ("$contains", "$not_contains"))
_PART_OPPOSITES = tuple((yes, no) for no, yes in OF_TEXT.items())
_REGEX_OPPOSITES = (("$regex", "$not_regex"), ("$contains", "$not_contains"))
_RESERVED = ("metaembed:", "chroma:", "#")
"""Beginnings of names that no key of a user's has."""
_PROBES = ("", "a", "Ω ", "7\n", "\n\n", "_-#{}[]()", "\N{SNOWMAN}" * 3)
"""Texts that have nothing in common: what is found in all of them is found in every text."""
_ALWAYS_THERE = ("source", "page", "file_name", "file_path", "folder", "page_label")
"""What every page says."""

Where = Mapping[str, Any]


def spares_none(where: Where | None) -> bool:
    """Whether every page passes, whatever an index holds.

    So do ``{"page": {"$gte": 1}}``, ``{"source": {"$ne": ""}}``, an expression that is found in
    every text, a key that no page can have in a negation, and a condition or its opposite. A page
    number is at least 1; a source, and what its name says, is a text that is not empty.
    """
    if where is None:
        return True
    [(key, asked)] = where.items()
    if key == "$and":
        return all(map(spares_none, asked))
    if key == "$or":
        return any(map(spares_none, asked)) or _has_opposites(asked)
    [(operator, value)] = _condition(asked).items()
    if key == TEXT_FIELD:
        return operator == "$regex" and _is_found_in_all(value)
    if operator in ("$glob", "$regex"):
        return key in _ALWAYS_THERE and _is_of_every_text(operator, value)
    if key == "page":
        return _is_of_every_number(operator, value)
    if key == "source":
        return _cannot_be(operator, value, lambda one: not isinstance(one, str) or not one)
    if key in _ALWAYS_THERE:
        return operator != "$not_contains" and _cannot_be(operator, value, lambda one: one == "")
    return operator in _NEGATIVE and key.startswith(_RESERVED)


def only_negates(where: Where) -> bool:
    """Whether a filter says only what pages are not, so that a misspelt key lets all pass."""
    [(key, asked)] = where.items()
    if key == "$and":
        return bool(asked) and all(map(only_negates, asked))
    if key == "$or":
        return any(map(only_negates, asked))
    return next(iter(_condition(asked))) in _NEGATIVE


def _condition(asked: Any) -> Mapping[str, Any]:
    return asked if isinstance(asked, Mapping) else {"$eq": asked}


def _has_opposites(parts: Sequence[Where]) -> bool:
    """Whether one of these conditions is another one's opposite."""
    said = {repr(_spelt(part)) for part in parts}
    return any(repr(_opposite(part)) in said for part in parts if _opposite(part))


def _spelt(part: Where) -> Where:
    [(key, asked)] = part.items()
    return part if key in ("$and", "$or") else {key: dict(_condition(asked))}


def _opposite(part: Where) -> Where | None:
    [(key, asked)] = part.items()
    if key in ("$and", "$or"):
        return None
    [(operator, value)] = _condition(asked).items()
    pairs = _REGEX_OPPOSITES if key == TEXT_FIELD else _OPPOSITES + _PART_OPPOSITES
    return next(({key: {no: value}} for yes, no in pairs if yes == operator), None)


def _is_of_every_text(operator: str, value: str) -> bool:
    """Whether a condition on a part of a text is met by every text."""
    return set(value) == {"*"} if operator == "$glob" else _is_found_in_all(value)


def _is_found_in_all(expression: str) -> bool:
    search = re.compile(expression).search
    return all(search(text) for text in _PROBES)


def _is_of_every_number(operator: str, value: Any) -> bool:
    """Whether a condition on the number of a page is met by every number from 1."""
    if operator in ("$gt", "$gte") and not isinstance(value, str):
        return bool(value < 1 or (operator == "$gte" and value == 1))
    return _cannot_be(operator, value, lambda one: isinstance(one, str) or one < 1)


def _cannot_be(operator: str, value: Any, is_none: Callable[[Any], bool]) -> bool:
    """Whether a negation names only values that a field never has."""
    if operator == "$not_contains":  # neither number nor source is a list
        return True
    values = value if operator == "$nin" else [value]
    return operator in ("$ne", "$nin") and all(map(is_none, values))
