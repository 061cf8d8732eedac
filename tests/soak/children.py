"""Functions in processes of their own: killed at a point, or given up after a time.

The server process from which they are forked has imported everything and opened nothing.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import CONTEXT


@dataclass(frozen=True)
class Outcome:
    """How a function ended.

    Attributes:
        value: What it returned; None where it did not.
        error: Its traceback; ``""`` without one.
        ours: Whether what it raised is of this package.
        killed: Whether a signal ended it.
        hung: Whether it was given up.
        seconds: What it took from when its process had begun.
    """

    value: Any = None
    error: str = ""
    ours: bool = False
    killed: bool = False
    hung: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Kill:
    """When a process is killed, counted from the beginning of what it does.

    Attributes:
        calls: By itself, at so many calls of Python functions: reproducible.
        seconds: From outside, after so long: also in the middle of what is not Python.
    """

    calls: int | None = None
    seconds: float | None = None


class Notes:
    """Lines that a process has written before it was killed; each is whole or not there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, *words: str) -> None:
        data = "".join(f"{word}\n" for word in words).encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def read(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


def start(function: Callable[..., Any], *arguments: Any, kill: Kill = Kill()) -> Running:
    """Begin to run a function in a process."""
    return Running(function, arguments, kill)


def run(
    function: Callable[..., Any], *arguments: Any, seconds: float = 60, kill: Kill = Kill()
) -> Outcome:
    """Run a function in a process, at most so long."""
    return start(function, *arguments, kill=kill).wait(seconds)


class Running:
    """A process that runs a function; use :func:`start`."""

    def __init__(self, function: Callable[..., Any], arguments: Any, kill: Kill) -> None:
        self._kill = kill
        self._ours, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(
            target=_child, args=(theirs, function, arguments, kill.calls), daemon=True
        )
        self._begun = time.monotonic()
        self._process.start()
        theirs.close()

    @property
    def process(self) -> int:
        return self._process.pid or 0

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float) -> Outcome:
        """How it ended; given up after so long."""
        if self._kill.seconds is not None:
            if self._ours.poll(seconds):
                self._ours.recv()
            time.sleep(self._kill.seconds)
            self._process.kill()
        elif self._ours.poll(seconds):
            self._receive()
        working = time.monotonic()  # what comes before is the beginning of a process
        value, hung = self._answer(seconds)
        took = time.monotonic() - working
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
            hung = hung or value is None
        killed = (self._process.exitcode or 0) < 0 and not hung
        self._process.close()
        self._ours.close()
        if value is None:
            return Outcome(killed=killed, hung=hung, seconds=took)
        return Outcome(*value, killed=killed, hung=False, seconds=took)

    def _receive(self) -> Any:
        try:
            return self._ours.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return None

    def _answer(self, seconds: float) -> tuple[Any, bool]:
        """What it sent at its end, and whether it kept silent for too long."""
        left = max(0.0, seconds - (time.monotonic() - self._begun))
        if not self._ours.poll(left):
            return None, self._process.is_alive()
        return self._receive(), False


def _child(pipe: Any, function: Callable[..., Any], arguments: Any, calls: int | None) -> None:
    from metaembed_rag.errors import MetaEmbedError

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send("begun")
    counted = count_calls(calls) if calls is not None else None
    try:
        answer = (function(*arguments), "", False)
    except MetaEmbedError as error:
        answer = (None, f"{type(error).__name__}: {error}", True)
    except BaseException:  # noqa: BLE001 (it is sent on)
        answer = (None, traceback.format_exc(), False)
    if counted is not None:
        stop_counting()
        answer = (counted[0], *answer[1:]) if calls == 0 else answer
    pipe.send(answer)
    pipe.close()


def count_calls(most: int) -> list[int]:
    """Count calls of Python functions in all threads, and die at ``most`` of them; 0 for never."""
    counted = [0]

    def profile(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            counted[0] += 1
            if counted[0] == most:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(profile)
    sys.setprofile(profile)
    return counted


def stop_counting() -> None:
    sys.setprofile(None)
    threading.setprofile(None)  # type: ignore[arg-type]
