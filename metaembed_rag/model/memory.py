"""What is too much for the memory at once is computed in halves."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_log = logging.getLogger(__name__)

_Input = TypeVar("_Input")

_ON_CPU = ("can't allocate memory", "not enough memory")
"""What torch says on a CPU, in a plain ``RuntimeError``."""


def in_halves(compute: Callable[[Sequence[_Input]], Any], inputs: Sequence[_Input]) -> list[Any]:
    """What ``compute`` makes of each input, in order; in halves where memory does not suffice.

    Raises:
        MemoryError: It does not suffice for a single input.
    """
    try:
        return list(compute(inputs))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(inputs) < 2:
            raise MemoryError(f"memory does not suffice for a single input: {error}") from error
    # Outside of the handler, so that the failed call lets go of what it holds.
    _log.info("%d inputs at once are too much for the memory: in halves", len(inputs))
    middle = len(inputs) // 2
    return in_halves(compute, inputs[:middle]) + in_halves(compute, inputs[middle:])


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice, of the machine or of what computes beside it."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # where it is not loaded, it has not raised anything
    if torch is None or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.OutOfMemoryError) or any(say in str(error) for say in _ON_CPU)
