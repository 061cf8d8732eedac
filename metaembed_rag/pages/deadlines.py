"""Deadlines of this process: what happens when something that is waited for does not come in time.

One thread looks after all of them. `threading.Timer` would start a thread for each, and wait until
it runs; a worker is waited for three times a picture.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class _Deadline(NamedTuple):
    at: float  # by the monotonic clock
    expire: Callable[[], object]


class Deadlines:
    """Calls those whose time is over, from a thread that is there while there is one to wait for.

    The thread is not told of deadlines that come later than the one it sleeps for: most are
    over long before they expire, and wake nobody.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: dict[int, _Deadline] = {}
        self._thread: threading.Thread | None = None
        self._wakes = 0.0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    @contextmanager
    def within(self, seconds: float, expire: Callable[[], object]) -> Iterator[None]:
        """Do what is inside, and call ``expire`` where it is not over in time.

        Args:
            seconds: From now, by the clock.
            expire: Called once, from another thread, and never after what is inside is over. It
                must return soon, and must not raise.
        """
        deadline = _Deadline(time.monotonic() + seconds, expire)
        key = id(deadline)
        with self._changed:
            self._pending[key] = deadline
            self._see_to(deadline.at)
        try:
            yield
        finally:
            with self._changed:
                self._pending.pop(key, None)

    def _see_to(self, at: float) -> None:
        """Have a thread that wakes at this time or before."""
        if self._thread is None:
            self._wakes = at
            self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
            self._thread.start()
        elif at < self._wakes:
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while self._pending:
                self._call_the_late()
                self._wakes = min((one.at for one in self._pending.values()), default=0.0)
                if self._pending:
                    self._changed.wait(max(0.0, self._wakes - time.monotonic()))
            self._thread = None

    def _call_the_late(self) -> None:
        now = time.monotonic()
        for key, deadline in list(self._pending.items()):
            if deadline.at <= now:
                del self._pending[key]
                deadline.expire()

    def _forget(self) -> None:
        """As at first; in a forked child, which has neither the thread nor who waits."""
        self._changed = threading.Condition()
        self._pending = {}
        self._thread = None
