"""Values that options take: numbers, budgets, headers, who describes pictures."""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from metaembed_rag.budget import AUTO, RetrievalBudget, is_auto
from metaembed_rag.errors import BudgetError, ModelError

if TYPE_CHECKING:
    from metaembed_rag.model.describing import Describer


def describer(text: str) -> Describer:
    """Who describes pictures: the address of a model."""
    from metaembed_rag.model.describing import Describer

    try:
        found = Describer.of(text)
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    assert found is not None
    return found


def header(text: str) -> tuple[str, str]:
    """An HTTP header, written ``Name: value``; the value stands in no message."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError("a header is written 'Name: value'")
    return name.strip(), value.strip()


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def number_or_text(text: str) -> Any:
    """A whole number or a float where ``text`` is one, else ``text`` itself."""
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return text


def limit(text: str) -> float:
    """A finite number over 0."""
    with suppress(ValueError):
        if math.isinf(float(text)):
            raise argparse.ArgumentTypeError(f"{text!r} is too large; it must be a finite number")
    return _over_0(text, sys.float_info.max, "a number over 0")


def seconds(text: str) -> float:
    """A finite number of at least 0."""
    return 0.0 if text.strip() in ("0", "0.0") else limit(text)


def share(text: str) -> float:
    """A number over 0 and at most 1."""
    return _over_0(text, 1, "a number over 0 and at most 1")


def budget(text: str) -> RetrievalBudget:
    """A budget: two numbers or the name of a preset."""
    try:
        return RetrievalBudget.parse(text)
    except BudgetError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def budget_or_auto(text: str) -> RetrievalBudget | str:
    """A budget, or ``auto`` for the one that the calibration chooses."""
    return AUTO if is_auto(text) else budget(text)


def _over_0(text: str, most: float, what: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) <= most:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
