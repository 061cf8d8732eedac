"""Filters as people and models type them, ``year=2019..2021``, in the language of an index.

Nothing heavy is imported here: a command that asks a server loads nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from metaembed_rag.errors import StoreError
from metaembed_rag.metadata.fields import DATE_FIELDS, is_date, iso, moment
from metaembed_rag.metadata.filters import check_order

FORMS = (
    "KEY=VALUE, KEY=ONE,TWO (any of these), KEY=FROM..TO, KEY!=VALUE, KEY~=PART (ignoring case; "
    "with * of the whole), KEY!~=PART, KEY>NUMBER, >=, <, <= (also dates: 2024-02-01), or a filter "
    "as JSON"
)
"""What can be typed."""
_TYPED = re.compile(r"(.+?)(\s*)(!~=|~=|!=|>=|<=|=|>|<)(\s*)(.*)", re.DOTALL)
_RANGE = re.compile(r"(\S*?)\.\.(\S*)")
_ORDER = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_PATHS = ("source", "file_path", "folder")
"""Keys whose value may be a path of this machine."""


def parsed(typed: Sequence[str], *, here: bool = False) -> dict[str, Any] | None:
    """The filter that all of these conditions make; None for none.

    Args:
        typed: Such as ``"file_type=pdf,docx"``. A value that looks like a number matches text and
            number.
        here: A value that is a path of this machine also means what it is in full.

    Raises:
        StoreError: One is no condition; it says what can be typed.
    """
    conditions = [_condition(one, here) for one in typed]
    return joined("$and", conditions) if conditions else None


def _condition(typed: str, here: bool) -> dict[str, Any]:
    if typed.lstrip().startswith("{"):
        return _json(typed)
    found = _TYPED.fullmatch(typed)
    if found is None:
        raise StoreError(f"a condition is {FORMS}; not {typed!r}")
    key, space, operator, after, value = found.groups()
    value = value if space else after + value
    if operator in _ORDER:
        return {key: {_ORDER[operator]: _ordered(key, operator, value)}}
    if operator.endswith("~="):
        return _of_part(key, value, negated=operator == "!~=")
    between = _between(key, value)
    if operator == "=":
        equal = _equal(key, value, here)
        return equal if between is None else joined("$or", [equal, {key: between}])
    if between is not None:
        return {"$or": [{key: {_OUTSIDE[name]: end}} for name, end in between.items()]}
    values = _values(key, value, here)
    return {key: {"$nin": values} if len(values) > 1 else {"$ne": values[0]}}


_OUTSIDE = {"$gte": "$lt", "$lte": "$gt"}


def _json(typed: str) -> dict[str, Any]:
    try:
        found = json.loads(typed)
    except ValueError as error:
        raise StoreError(f"{typed}: this is no JSON ({error})") from error
    return dict(found)


def _equal(key: str, value: str, here: bool) -> dict[str, Any]:
    values = _values(key, value, here)
    if len(_listed(value)) > 1:
        return {key: {"$in": values}}
    return joined("$or", [{key: one} for one in values])


def _values(key: str, value: str, here: bool) -> list[Any]:
    """All that a value may mean: as it is typed, a number, without quotes, each of a list."""
    every = [value, *(_listed(value) if '"' not in value[:1] else [value.strip('"')])]
    found = [one for text in every for one in _meanings(text)]
    if here and key in _PATHS and _exists(value):
        found = [value, Path(value).expanduser().resolve().as_posix()]
    if key == "folder":  # as shells complete it
        found += [one.rstrip("/") for one in found if isinstance(one, str) and one.strip("/")]
    return list({repr(one): one for one in found}.values())  # 1 and True are two values


def _listed(value: str) -> list[str]:
    if value.startswith('"'):
        return [value]
    parts = [part.strip() for part in value.split(",")]
    return [part for part in parts if part] if len(parts) > 1 else [value]


def _meanings(value: str) -> list[Any]:
    if value.lower() in ("true", "false"):
        return [value, value.lower() == "true"]
    number = _number(value)
    return [value] if number is None else [value, number]


def _number(value: str) -> int | float | None:
    """The number that a text means, if an index can hold it."""
    with suppress(ValueError):
        whole = int(value)
        return whole if abs(whole) < 2**63 else None
    with suppress(ValueError):
        return float(value) if math.isfinite(float(value)) else None
    return None


def _between(key: str, value: str) -> dict[str, Any] | None:
    """The ends of a range; None of what is none. One of the two may be left out."""
    found = _RANGE.fullmatch(value)
    if found is None or not (found[1] or found[2]):
        return None
    named = {"$gte": found[1], "$lte": found[2]}
    ends = {name: _end(key, text) for name, text in named.items() if text}
    numbers = {isinstance(end, int | float) for end in ends.values()}
    if None in ends.values() or len(numbers) > 1:
        return None
    if len(ends) == len(named):
        check_order(key, *ends.values())
    return ends


def _end(key: str, text: str) -> Any:
    """A number, or a date; None of any other text, and of a day that no calendar has."""
    there_is_such_a_day = moment(iso(text) or "") is not None
    if key in DATE_FIELDS:
        return text if there_is_such_a_day else None
    number = _number(text)
    return number if number is not None else text if is_date(text) and there_is_such_a_day else None


def _ordered(key: str, operator: str, value: str) -> Any:
    found = _end(key, value)
    if found is None:
        raise StoreError(
            f"{key}{operator}{value}: only numbers and dates (2024-02-01, 2024-02, in a "
            f"field of dates 2024) are more or less than others; a part of a text is {key}~=PART"
        )
    return found


def _of_part(key: str, value: str, *, negated: bool) -> dict[str, Any]:
    if not value:
        raise StoreError(f"{key}~= takes a part of the text, or a pattern with *")
    name = "glob" if "*" in value else "icontains"
    return {key: {f"$not_{name}" if negated else f"${name}": value}}


def _exists(path: str) -> bool:
    with suppress(OSError, RuntimeError, ValueError):  # too long; the home folder of nobody
        return Path(path).expanduser().exists()
    return False


def joined(operator: str, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    """Conditions under an operator; one stands alone, as Chroma wants it."""
    return conditions[0] if len(conditions) == 1 else {operator: conditions}
