"""Open files and threads of this process, counted when those that are ending have ended.

What Chroma has open closes in threads of its own, some milliseconds after its client was closed,
or seconds on a busy machine. So a count is looked at until it is low enough, and what stays open
fails however long one looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

FILES, TASKS = Path("/proc/self/fd"), Path("/proc/self/task")
_SECONDS, _PAUSE = 30.0, 0.01


def open_files() -> int:
    return len(list(FILES.iterdir()))


def threads() -> int:
    return len(list(TASKS.iterdir()))


def settled(count: Callable[[], int]) -> int:
    """The lowest count of a quarter of a second: what was ended before is not in it."""
    counts = [count()]
    while len(counts) < 25:
        time.sleep(_PAUSE)
        counts.append(count())
    return min(counts)


def falls_to(most: int, count: Callable[[], int]) -> bool:
    """Whether the count comes to be at most so high."""
    end = time.monotonic() + _SECONDS
    while count() > most and time.monotonic() < end:
        time.sleep(_PAUSE)
    return count() <= most
