"""Metadata in the form in which they are stored: text, numbers, true/false, lists of these.

A value of another type that can mean one thing only is converted: a date becomes ISO 8601 text, a
path, a UUID or an enum what it stands for, a number of numpy or ``decimal`` a plain one. Anything
else is refused by name, so that nothing is stored as something that nobody meant.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np

from metaembed_rag.errors import kind_of_value

LONGEST_LIST = 1_000
"""Chroma 1.5.9 accepts lists of 6,000 and more values and then cannot read its collection."""
_INT64 = 2**63
_NUMPY: tuple[tuple[type, type], ...] = ((np.bool_, bool), (np.integer, int), (np.floating, float))
_ISO = datetime.date | datetime.time  # a datetime is a date
_ALL_ELSE = "convert it to text, a number, true/false or a list of these, or leave it out"


def plain(value: Any) -> Any:
    """A value as JSON knows it: None, bool, int, float, str, and lists and dictionaries of these.

    Args:
        value: Of these types, or of one that stands for one of them: tuples and arrays become
            lists; dates and times ISO 8601 text; paths, UUIDs, enums and numpy's and ``decimal``'s
            numbers what they mean.

    Raises:
        ValueError: It is of another type, or loses digits; the message goes on after the name of
            its key.
    """
    try:
        return _plain(value)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):  # before text and numbers, which an enum can be as well
        return _plain(value.value)
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)  # also of a subclass, such as numpy's own text and float
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return _plain_list(value)
    return _plain_scalar(value)


def storable(value: Any) -> Any:
    """A value as Chroma can hold it: text, a number, true/false, or a list of one of these kinds.

    Raises:
        ValueError: It has no such form; the message goes on after the name of its key.
    """
    found = plain(value)
    if not isinstance(found, list):
        return scalar(found)
    if not found or len(found) > LONGEST_LIST:
        raise ValueError(f"holds {len(found)} values; a list must hold 1 to {LONGEST_LIST}")
    items = [scalar(item) for item in found]
    kinds = {type(item) for item in items}
    if kinds == {int, float}:
        return [float(item) for item in items]
    if len(kinds) > 1:
        raise ValueError("is a list of several types; use one type")
    return items


def scalar(value: Any) -> Any:
    """A single value as Chroma can hold it: text, a number or true/false.

    Raises:
        ValueError: It has no such form; the message goes on after the name of its key.
    """
    value = plain(value)
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise ValueError("is a whole number beyond 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"is {value}; only finite numbers can be stored")
    elif isinstance(value, str):
        if not is_unicode(value):
            raise ValueError("is text that is not valid Unicode (a lone surrogate)")
    else:
        raise ValueError(f"is {kind_of_value(value)}; {_ALL_ELSE}")
    return value


def is_unicode(text: str) -> bool:
    """Whether a text can be written: half a character (a lone surrogate) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain_list(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray) and not value.ndim:
        raise ValueError("is an array without a dimension; use its one number")
    return [_plain(one) for one in value]


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, np.datetime64 | _ISO):
        text = str(value) if isinstance(value, np.datetime64) else value.isoformat()
        if text == "NaT":
            raise ValueError("is no date (NaT); leave it out")
        return text
    for kinds, own in _NUMPY:
        if isinstance(value, kinds):
            return own(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return _plain_decimal(value)
    raise ValueError(f"is {kind_of_value(value)}; {_ALL_ELSE}")


def _plain_decimal(value: Decimal) -> float:
    number = float(value)
    if value.is_finite() and Decimal(repr(number)) != value:
        raise ValueError(f"is {value}, which has more digits than a number here; make it text")
    return number
