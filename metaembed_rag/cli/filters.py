"""Filters as people type them, ``--where year=2019..2021``, in the language of an index."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from metaembed_rag.cli.options import number_or_text
from metaembed_rag.cli.output import wrong_usage
from metaembed_rag.metadata.fields import DATE_FIELDS, is_date, iso

TEXT = "#document"
"""``metaembed_rag.metadata.filters.TEXT_FIELD``, which is not imported to ask a server."""
_TYPED = re.compile(r"(.+?)(\s*)(!~=|~=|!=|>=|<=|=|>|<)(\s*)(.*)", re.DOTALL)
_RANGE = re.compile(r"(\S*?)\.\.(\S*)")
_ORDER = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_FORMS = (
    "KEY=VALUE, KEY=ONE,TWO (any of these), KEY=FROM..TO, KEY!=VALUE, KEY~=PART (ignoring case; "
    "with * of the whole), KEY!~=PART, KEY>NUMBER, >=, <, <= (also dates: 2024-02-01), or a filter "
    "as JSON"
)
_PATHS = ("source", "file_path", "folder")
"""Keys whose value may be a path of this machine."""


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Which pages may be found: ``--where`` and ``--where-text``."""
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only such pages: KEY=VALUE, KEY=ONE,TWO, KEY=FROM..TO, KEY!=VALUE, KEY~=PART "
        "(ignoring case; with * of the whole), KEY>=NUMBER, or a filter as JSON. KEY is file_name, "
        "file_path, folder, file_type, page_label, a date or of the metadata; may be repeated",
    )
    parser.add_argument(
        "--where-text",
        action="append",
        default=[],
        metavar="TEXT",
        help="only pages that have these words, as they are written; may be repeated",
    )


def where_of(
    typed: Sequence[str], texts: Sequence[str], *, here: bool = True
) -> dict[str, Any] | None:
    """The filter that all of these conditions make, and all these words in a page's text.

    A value that looks like a number matches text and number; a path that is one ``here`` also what
    it is in full.

    Raises:
        SystemExit: One is no condition, which is said.
    """
    if "" in texts:
        raise wrong_usage("--where-text takes some words")
    conditions: list[dict[str, Any]] = [{TEXT: {"$contains": text}} for text in texts]
    conditions += [_condition(one, here) for one in typed]
    return _joined("$and", conditions) if conditions else None


def _condition(typed: str, here: bool) -> dict[str, Any]:
    if typed.lstrip().startswith("{"):
        return _json(typed)
    found = _TYPED.fullmatch(typed)
    if found is None:
        raise wrong_usage(f"--where takes {_FORMS}; not {typed!r}")
    key, space, operator, after, value = found.groups()
    value = value if space else after + value
    if operator in _ORDER:
        return {key: {_ORDER[operator]: _ordered(key, operator, value)}}
    if operator.endswith("~="):
        return _of_part(key, value, negated=operator == "!~=")
    between = _between(key, value)
    if operator == "=":
        equal = _equal(key, value, here)
        return equal if between is None else _joined("$or", [equal, {key: between}])
    if between is not None:
        return {"$or": [{key: {_OUTSIDE[name]: end}} for name, end in between.items()]}
    values = _values(key, value, here)
    return {key: {"$nin": values} if len(values) > 1 else {"$ne": values[0]}}


_OUTSIDE = {"$gte": "$lt", "$lte": "$gt"}


def _json(typed: str) -> dict[str, Any]:
    try:
        found = json.loads(typed)
    except ValueError as error:
        raise wrong_usage(f"--where {typed}: this is no JSON ({error})") from error
    return dict(found)


def _equal(key: str, value: str, here: bool) -> dict[str, Any]:
    values = _values(key, value, here)
    if len(_listed(value)) > 1:
        return {key: {"$in": values}}
    return _joined("$or", [{key: one} for one in values])


def _values(key: str, value: str, here: bool) -> list[Any]:
    """All that a value may mean: as it is typed, a number, without quotes, each of a list."""
    every = [value, *(_listed(value) if '"' not in value[:1] else [value.strip('"')])]
    found = [one for text in every for one in _meanings(text)]
    if here and key in _PATHS and _exists(value):
        found = [value, Path(value).expanduser().resolve().as_posix()]
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
    number = number_or_text(value)
    if isinstance(number, str):
        return None
    storable = abs(number) < 2**63 if isinstance(number, int) else math.isfinite(number)
    return number if storable else None


def _between(key: str, value: str) -> dict[str, Any] | None:
    """The ends of a range; None of what is none. One of the two may be left out."""
    found = _RANGE.fullmatch(value)
    if found is None or not (found[1] or found[2]):
        return None
    named = {"$gte": found[1], "$lte": found[2]}
    ends = {name: _end(key, text) for name, text in named.items() if text}
    numbers = {isinstance(end, int | float) for end in ends.values()}
    return ends if None not in ends.values() and len(numbers) == 1 else None


def _end(key: str, text: str) -> Any:
    """A number, or a date; None of any other text."""
    if key in DATE_FIELDS:
        return text if iso(text) else None
    number = _number(text)
    return number if number is not None else text if is_date(text) else None


def _ordered(key: str, operator: str, value: str) -> Any:
    found = _end(key, value)
    if found is None:
        raise wrong_usage(
            f"--where {key}{operator}{value}: only numbers and dates (2024-02-01, 2024-02, in a "
            f"field of dates 2024) are more or less than others; a part of a text is {key}~=PART"
        )
    return found


def _of_part(key: str, value: str, *, negated: bool) -> dict[str, Any]:
    if not value:
        raise wrong_usage(f"--where {key}~= takes a part of the text, or a pattern with *")
    name = "glob" if "*" in value else "icontains"
    return {key: {f"$not_{name}" if negated else f"${name}": value}}


def _exists(path: str) -> bool:
    with suppress(OSError, RuntimeError, ValueError):  # too long; the home folder of nobody
        return Path(path).expanduser().exists()
    return False


def _joined(operator: str, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    """One condition stands alone: Chroma refuses an operator over a single one."""
    return conditions[0] if len(conditions) == 1 else {operator: conditions}
