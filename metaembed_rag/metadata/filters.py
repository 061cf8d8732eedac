"""Filters in Chroma's language, brought into the one form that Chroma takes, by their logic.

Several keys, or several operators on a key, must all match; combinations of one part or of none,
and lists without values, mean what logic says: ``{"$in": []}`` lets no page pass, ``{"$nin": []}``
every one. Beside fields of the metadata a filter can name the page's text (:data:`TEXT_FIELD`) and
what follows from its file (:data:`metaembed_rag.metadata.fields.FIELDS`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from typing import Any

from metaembed_rag.errors import StoreError
from metaembed_rag.metadata import values
from metaembed_rag.metadata.conditions import OF_TEXT, is_ordered
from metaembed_rag.metadata.fields import iso

TEXT_FIELD = "#document"
"""The text of a page, in a filter: ``{"#document": {"$contains": "net revenue"}}``.

It takes ``$contains``, ``$not_contains``, ``$regex`` and ``$not_regex`` (Python's expressions), all
of which tell capitals apart; ``(?i)`` at the beginning of an expression does not, nor do
``$icontains`` and ``$not_icontains``.
"""
NOTHING: dict[str, Any] = {"$or": []}
"""The filter that lets no page pass: one of no conditions."""

_DEEPEST = 100
"""Combinations inside each other: Chroma and Python go down a stack for each."""

_COMBINED = {"$and", "$or"}
_ORDER = {"$gt", "$gte", "$lt", "$lte"}
_OF_TEXT = ("$contains", "$not_contains", "$regex", "$not_regex")
_OF_VALUE = ("$eq", "$ne", *sorted(_ORDER), "$in", "$nin", "$contains", "$not_contains")
_OF_PART = (*OF_TEXT.values(), *OF_TEXT)
_LIKE = re.compile(r"([*?[])|(%)|(_)")


def normalize_where(where: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The form of a filter that Chroma takes.

    Args:
        where: Several plain keys, or several operators on one, must all match. Values are
            converted as a page's metadata are.

    Returns:
        None where every page passes, :data:`NOTHING` where none can; otherwise one condition, or
        one combination of at least two.

    Raises:
        StoreError: A value that no page can have, or a shape that has no meaning.
    """
    return _normalized(where, 0)


def _normalized(where: Mapping[str, Any] | None, depth: int) -> dict[str, Any] | None:
    """As :func:`normalize_where`, of a filter inside so many combinations."""
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise StoreError(f"a filter is a dictionary such as {{'year': 2020}}, not {where!r:.200}")
    if depth > 2 * _DEEPEST:  # of a condition on texts, each level is two
        raise StoreError(
            f"a filter is nested more than {2 * _DEEPEST} deep; ask for less at a time"
        )
    return _all([_part(key, asked, depth) for key, asked in where.items()])


def all_of(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A filter that a page passes when it passes both; None passes every page."""
    first, second = normalize_where(one), normalize_where(other)
    return {"$and": [first, second]} if first and second else first or second


def of_text(condition: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Chroma's ``where_document`` as a filter: a condition on the text, or ``$and``, ``$or``.

    Raises:
        StoreError: It is none.
    """
    return normalize_where(_all_of_text(condition, 0))


def _all_of_text(condition: Mapping[str, Any] | None, depth: int) -> dict[str, Any] | None:
    if condition is None:
        return None
    if not isinstance(condition, Mapping) or not condition:
        raise StoreError(
            f"a condition on texts is {{'$contains': 'words'}}, not {condition!r:.200}"
        )
    if depth > _DEEPEST:
        raise StoreError(f"a condition is nested more than {_DEEPEST} deep; ask for less at a time")
    return {"$and": [_of_text(*one, depth) for one in condition.items()]}


def _of_text(operator: str, asked: Any, depth: int) -> dict[str, Any]:
    if operator in _COMBINED and isinstance(asked, list | tuple):
        return {operator: [_all_of_text(one, depth + 1) or {} for one in asked]}
    return {TEXT_FIELD: {operator: asked}}


def fields(where: Mapping[str, Any] | None) -> set[str]:
    """The names of all fields in a filter of the form of :func:`normalize_where`."""
    found: set[str] = set()
    for key, asked in (where or {}).items():
        found |= set().union(*map(fields, asked)) if key in _COMBINED else {key}
    return found


def text_test(condition: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether a text meets a condition on :data:`TEXT_FIELD`, such as ``{"$contains": "x"}``."""
    [(operator, wanted)] = condition.items()
    if operator.endswith("regex"):
        search = re.compile(wanted).search
        if operator == "$regex":
            return lambda text: search(text) is not None
        return lambda text: search(text) is None
    if operator == "$contains":
        return lambda text: wanted in text
    return lambda text: wanted not in text


def _part(key: Any, asked: Any, depth: int) -> dict[str, Any] | None:
    """What one key of a filter asks for."""
    if not isinstance(key, str):
        raise StoreError(f"a filter names metadata by text, not by {key!r}")
    if key in _COMBINED:
        if isinstance(asked, str | Mapping) or not isinstance(asked, Iterable):
            raise StoreError(f"{key} in a filter takes a list of filters, not {asked!r}")
        parts = [_normalized(one, depth + 1) for one in asked]
        return _all(parts) if key == "$and" else _any(parts)
    if key.startswith("$"):
        raise StoreError(
            f"a filter has no {key!r} here; it combines filters by '$and' and '$or', and negates a "
            f"condition by '$ne', '$nin' and '$not_contains'"
        )
    if not isinstance(asked, Mapping):
        return {key: _value(key, asked)} if key != TEXT_FIELD else _text_condition("$eq", asked)
    if not asked:
        raise StoreError(f"the filter on {key!r} has no operator; write {{{key!r}: value}}")
    return _all([_condition(key, operator, value) for operator, value in asked.items()])


def _condition(key: str, operator: Any, asked: Any) -> dict[str, Any] | None:
    """What one operator on a field asks for."""
    if operator in _OTHER_WORDS:
        return _OTHER_WORDS[operator](key, asked)
    if key == TEXT_FIELD:
        return _text_condition(operator, asked)
    if operator in ("$in", "$nin"):
        return _one_of(key, operator, asked)
    if operator in _OF_PART:
        return {key: {operator: _checked_text(f"the filter on {key!r}", operator, asked)}}
    if operator not in _OF_VALUE:
        raise StoreError(
            f"a filter has no operator {operator!r} (on {key!r}); it has "
            f"{', '.join((*_OF_VALUE, *_OF_PART))}"
        )
    return _of_value(key, operator, _value(key, asked))


def _of_value(key: str, operator: str, value: Any) -> dict[str, Any] | None:
    """What an operator on a value asks for."""
    if operator in _ORDER and not is_ordered(key, value):
        raise StoreError(
            f"the filter on {key!r} compares by {operator} with {value!r}, and a filter orders "
            f"numbers only, and dates such as '2024-02-01': store a number beside it, and compare "
            f"that"
        )
    if operator not in ("$contains", "$not_contains"):
        return {key: {operator: value}}
    if value == "":
        raise StoreError(f"the filter on {key!r} asks for a list with an empty text in it")
    spellings = [{key: {operator: one}} for one in _spellings(value)]
    return _any(spellings) if operator == "$contains" else _all(spellings)


def _between(key: str, asked: Any) -> dict[str, Any] | None:
    """``$between``, from the first to the last of two values."""
    if not isinstance(asked, list | tuple) or len(asked) != 2:
        raise StoreError(f"the filter on {key!r} needs two values for $between, not {asked!r}")
    check_order(key, *asked)
    return _all([_condition(key, "$gte", asked[0]), _condition(key, "$lte", asked[1])])


def check_order(key: str, first: Any, last: Any) -> None:
    """Refuse a range that ends before it begins.

    Raises:
        StoreError: It does. Dates are compared as far as both say them: 2024 ends after 2024-05.
    """
    ends: tuple[Any, ...] = first, last
    if isinstance(first, str) and isinstance(last, str):
        days = [(iso(one) or "")[:10] for one in ends]
        ends = tuple(day[: min(map(len, days))] for day in days)
    elif not all(isinstance(one, int | float) for one in ends):
        return
    if ends[0] > ends[1]:
        raise StoreError(f"the range of {key!r} from {first} to {last} ends before it begins")


def _like(key: str, asked: Any) -> dict[str, Any] | None:
    """``$like``: ``%`` stands for any characters, ``_`` for one."""
    return _condition(key, "$regex", rf"\A{translate(_glob(key, asked))}")


def _ilike(key: str, asked: Any) -> dict[str, Any] | None:
    """As ``$like``, without telling capitals apart."""
    return _condition(key, "$glob", _glob(key, asked))


def _glob(key: str, asked: Any) -> str:
    text = _checked_text(f"the filter on {key!r}", "$like", asked)
    return _LIKE.sub(lambda found: f"[{found[1]}]" if found[1] else "*" if found[2] else "?", text)


_OTHER_WORDS: dict[Any, Callable[[str, Any], dict[str, Any] | None]] = {
    "$between": _between,
    "$like": _like,
    "$ilike": _ilike,
}
"""Operators that users of LangChain know, in those that there are here."""


def _text_condition(operator: Any, asked: Any) -> dict[str, Any]:
    if operator in ("$icontains", "$not_icontains"):
        text = _checked_text("the filter on a page's text", operator, asked)
        found = "$regex" if operator == "$icontains" else "$not_regex"
        return {TEXT_FIELD: {found: f"(?i){re.escape(text)}"}}
    if operator not in _OF_TEXT:
        raise StoreError(
            f"the filter on a page's text takes {', '.join(_OF_TEXT)}, as in "
            f"{{{TEXT_FIELD!r}: {{'$contains': 'net revenue'}}}}"
        )
    return {TEXT_FIELD: {operator: _checked_text("the filter on a page's text", operator, asked)}}


def _checked_text(what: str, operator: str, asked: Any) -> str:
    """A text that is not empty, and an expression where the operator wants one."""
    if not isinstance(asked, str) or not asked:
        raise StoreError(f"{what} needs a text for {operator}, not {asked!r}")
    if operator.endswith("regex"):
        try:
            re.compile(asked)
        except re.error as error:
            raise StoreError(f"{asked!r} is no regular expression: {error}") from error
    return asked


def _one_of(key: str, operator: str, asked: Any) -> dict[str, Any] | None:
    """``$in`` and ``$nin``; Chroma takes values of one type at a time."""
    if isinstance(asked, str | bytes | Mapping) or not isinstance(asked, Iterable):
        raise StoreError(f"the filter on {key!r} needs a list of values for {operator}")
    kinds: dict[type, dict[Any, None]] = {}
    for one in asked:
        value = _value(key, one)
        kinds.setdefault(type(value), {})[value] = None
    parts = [{key: {operator: list(found)}} for found in kinds.values()]
    return _any(parts) if operator == "$in" else _all(parts)


def _value(key: str, asked: Any) -> Any:
    """A value as the pages' metadata hold it."""
    if type(asked) is str and asked.isascii():
        return asked  # as it is, and lists of 30,000 such are usual
    if asked is None:
        raise StoreError(
            f"the filter on {key!r} asks for None; a page without a value lacks the key, and "
            f"Chroma cannot ask for that"
        )
    try:
        found = values.plain(asked)
        if isinstance(found, list):
            raise StoreError(
                f"the filter on {key!r} is a list; write {{'$in': [...]}} for one of these values, "
                f"or {{'$contains': value}} for lists that hold a value"
            )
        return values.scalar(found)
    except ValueError as error:
        raise StoreError(f"the filter on {key!r} cannot be asked: its value {error}") from error


def _spellings(value: Any) -> list[Any]:
    """A number of a list as whole number and as float: Chroma tells those apart in lists only."""
    if isinstance(value, bool | str):
        return [value]
    if isinstance(value, float):
        return [value, int(value)] if value.is_integer() and abs(value) < 2**53 else [value]
    return [value, float(value)] if abs(value) < 2**53 else [value]


def _all(parts: Iterable[dict[str, Any] | None]) -> dict[str, Any] | None:
    """All of these conditions."""
    kept = _flat("$and", (part for part in parts if part is not None))
    if NOTHING in kept:
        return NOTHING
    if len(kept) < 2:
        return kept[0] if kept else None
    return {"$and": kept}


def _any(parts: Iterable[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Any of these conditions."""
    every = list(parts)
    if None in every:
        return None
    kept = _flat("$or", (part for part in every if part is not None))
    return kept[0] if len(kept) == 1 else {"$or": kept}


def _flat(operator: str, parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts, each once; those of one that is combined by the same operator in its place."""
    found: list[dict[str, Any]] = []
    for part in parts:
        if part.keys() == {operator} and part != NOTHING:
            found += part[operator]
        elif operator == "$and" or part != NOTHING:
            found.append(part)
    return list({repr(part): part for part in found}.values())  # 1 and 1.0 are two values
