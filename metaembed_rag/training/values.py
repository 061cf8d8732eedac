"""Values of a training run's keys: what a TOML file or a flag gives, read as the key's type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field
from functools import partial
from typing import Any

from metaembed_rag.budget import RetrievalBudget

Groups = tuple[tuple[int, int], ...] | None
Numbers = tuple[float, ...] | None
Sizes = tuple[int, ...] | None
Temperatures = float | tuple[float, ...]
Names = str | tuple[str, ...]
Template = Mapping[str, str] | None

_PLAIN: dict[type, tuple[Any, str]] = {
    str: (str, "text"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    bool: (bool, "true or false"),
}
"""Type of a key -> types of the values that it takes, and what they are called."""


def _plain(kind: type, value: Any) -> Any:
    """The value as that type; Python's truth values are whole numbers, TOML's are not."""
    taken, called = _PLAIN[kind]
    truth = isinstance(value, bool) and kind is not bool
    if not isinstance(value, taken) or truth or value == "":
        raise TypeError(called)
    return kind(value)


def _list(read: Callable[[Any], Any], called: str, value: Any) -> tuple[Any, ...]:
    """The values of a list that is not empty."""
    if not isinstance(value, list | tuple) or not value:
        raise TypeError(called)
    try:
        return tuple(read(one) for one in value)
    except TypeError:
        raise TypeError(called) from None


_numbers = partial(_list, partial(_plain, float), "a list of numbers")


def _size(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise TypeError
    return value


def _sizes(value: Any) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else value
    return tuple(sorted(set(_list(_size, "a list of whole numbers of at least 1", values))))


def _temperatures(value: Any) -> Temperatures:
    if isinstance(value, list | tuple):
        return _numbers(value)
    try:
        return float(_plain(float, value))
    except TypeError:
        raise TypeError("a number, or a list of numbers") from None


def _group(value: Any) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise TypeError
    budget = RetrievalBudget(*value)  # a BudgetError is a ValueError and says what is wrong
    return budget.r_q, budget.r_c


def _names(value: Any) -> Names:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value):
        return tuple(value)
    raise TypeError("text, or a list of texts")


def _template(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not {"text"} <= set(value) <= {"text", "image", "fused"}:
        raise TypeError('a table with "text" and, for images, "image" and "fused"')
    return {key: _plain(str, one) for key, one in value.items()}


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


READERS: dict[Any, Callable[[Any], Any]] = {
    **{kind: partial(_plain, kind) for kind in _PLAIN},
    **{kind | None: _or_none(partial(_plain, kind)) for kind in (str, int, float)},
    Groups: _or_none(partial(_list, _group, "a list of budgets such as [[1, 1], [4, 8]]")),
    Numbers: _or_none(_numbers),
    Sizes: _or_none(_sizes),
    Temperatures: _temperatures,
    Names: _names,
    Template: _or_none(_template),
}
"""Type of a key -> what reads its value; a TypeError or ValueError says what it must be."""


def check_range(value: Any, key: Field[Any]) -> None:
    """Refuse a value, or one of a list, outside what the key's metadata allows.

    Raises:
        ValueError: It says what the value must be.
    """
    least, above, choices = (key.metadata[name] for name in ("least", "above", "choices"))
    if choices and value not in choices:
        raise ValueError(f"one of {', '.join(choices)}")
    for number in value if isinstance(value, tuple) else (value,):
        if least is not None and number is not None and not least <= number < float("inf"):
            raise ValueError(f"at least {least:g}")
        if above is not None and number is not None and not above < number < float("inf"):
            raise ValueError(f"above {above:g}")
