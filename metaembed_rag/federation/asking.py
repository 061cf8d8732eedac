"""Asking several at once, and going on without those that do not answer in time."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from metaembed_rag.errors import BudgetError, MetaEmbedError, MissingExtraError, StoreError

_Answer = TypeVar("_Answer")

MOST_LATE = 4
"""Questions that one shard may leave unanswered beyond their deadlines before it is asked no more:
each holds a thread."""


@dataclass
class _Call(Generic[_Answer]):
    """One question to one shard, in a thread of its own."""

    shard: str
    ask: Callable[[], _Answer]
    answer: _Answer | None = None
    error: BaseException | None = None
    late: bool = False
    done: bool = False


@dataclass(frozen=True)
class Answers(Generic[_Answer]):
    """What came in time.

    Attributes:
        answers: By the name of the shard, in the order in which they were asked.
        missing: Why there is none, by the name of the shard.
    """

    answers: Mapping[str, _Answer]
    missing: Mapping[str, str] = field(default_factory=dict)

    def whole(self) -> Mapping[str, _Answer]:
        """The answers, where nobody is missing.

        Raises:
            StoreError: Somebody is.
        """
        if self.missing:
            raise StoreError(in_words(self.missing))
        return self.answers


def in_words(missing: Mapping[str, str]) -> str:
    """Who is missing and why, as a sentence."""
    return "; ".join(f"{shard} is missing: {reason}" for shard, reason in missing.items())


class Asking:
    """Asks shards at once, each in a thread that no process waits for when it ends.

    Threads of a pool would be waited for: a shard that hangs would keep the process from ending.
    """

    def __init__(self) -> None:
        self._late: Counter[str] = Counter()
        self._lock = threading.Lock()

    def all(
        self, calls: Mapping[str, Callable[[], _Answer]], seconds: float | None
    ) -> Answers[_Answer]:
        """The answers of all that answer in time.

        Args:
            calls: What asks each shard, by its name.
            seconds: How long they are waited for; None for as long as each takes.

        Raises:
            BudgetError: The question itself makes no sense to a shard.
            MissingExtraError: Or needs what is not installed.
        """
        end = None if seconds is None else time.monotonic() + seconds
        missing = {name: self._hanging() for name in calls if self._late[name] >= MOST_LATE}
        asked = [_Call(name, ask) for name, ask in calls.items() if name not in missing]
        came: queue.SimpleQueue[_Call[_Answer]] = queue.SimpleQueue()
        for call in asked:
            run = contextvars.copy_context().run
            threading.Thread(
                target=run, args=(self._ask, call, came), name=f"shard {call.shard}", daemon=True
            ).start()
        _wait(came, len(asked), end)
        for call in asked:
            if reason := self._reason(call, seconds):
                missing[call.shard] = reason
        found = {one.shard: one.answer for one in asked if one.shard not in missing}
        return Answers(found, missing)  # type: ignore[arg-type]  # who answered has an answer

    def _ask(self, call: _Call[_Answer], came: queue.SimpleQueue[_Call[_Answer]]) -> None:
        try:
            call.answer = call.ask()
        except BaseException as error:  # noqa: BLE001  # it is raised where the question was asked
            call.error = error
        with self._lock:
            call.done = True
            self._late[call.shard] -= call.late
        came.put(call)

    def _reason(self, call: _Call[_Answer], seconds: float | None) -> str:
        """Why there is no answer; ``""`` where there is one."""
        with self._lock:
            if not call.done:
                call.late = True
                self._late[call.shard] += 1
                return f"it did not answer within {seconds:g} seconds; see whether it is overloaded"
        error = call.error
        if error is None:
            return ""
        if isinstance(error, BudgetError | MissingExtraError) or not isinstance(
            error, MetaEmbedError
        ):
            raise error
        return str(error)

    def _hanging(self) -> str:
        return f"it has left {MOST_LATE} questions unanswered, and is asked again once it answers"


def _wait(came: queue.SimpleQueue[_Call[_Answer]], count: int, end: float | None) -> None:
    """Wait for so many answers, until the end at most."""
    for _ in range(count):
        try:
            came.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
        except queue.Empty:
            return
