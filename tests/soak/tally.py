"""What is counted of a kind of cases."""

from __future__ import annotations

import random
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

ZERO = ("lost", "wrong", "tracebacks", "hangs")
"""What has to be nothing."""


@dataclass
class Tally:
    """What happened in the cases of one kind.

    Attributes:
        kind: Its name.
        cases: How many there were.
        asked: How many there were to be; fewer were made where the time was over.
        faults: What was injected into them: kills, failures, changed bytes, concurrent writes.
        lost: Pages that were acknowledged and were not there.
        wrong: Results that were not those of any version, and values that changed.
        tracebacks: Errors that are none of this package's.
        hangs: What took longer than it may.
        failures: The first of these in words, each with the name of its case.
        notes: Other numbers.
        seconds: What it took.
    """

    kind: str
    cases: int = 0
    asked: int = 0
    faults: int = 0
    lost: int = 0
    wrong: int = 0
    tracebacks: int = 0
    hangs: int = 0
    failures: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def fail(self, what: str, case: str, why: object, count: int = 1) -> None:
        """Count ``what`` of :data:`ZERO`, and keep the words of the first twenty."""
        setattr(self, what, getattr(self, what) + count)
        if len(self.failures) < 20:
            self.failures.append(f"{case}: {what}: {why}"[:600])

    @property
    def is_good(self) -> bool:
        return not any(getattr(self, name) for name in ZERO)

    @property
    def is_whole(self) -> bool:
        return self.cases >= self.asked

    def merge(self, other: Tally) -> None:
        """Count what another one has counted, too."""
        for name in ("cases", "faults", *ZERO):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures += other.failures[: 20 - len(self.failures)]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": round(self.seconds, 1)}


@dataclass(frozen=True)
class Share:
    """How much of a kind is run.

    Attributes:
        seed: Of every case.
        cases: At most so many.
        seconds: No case begins after so many.
        only: The number of the one case that is run; None for all.
        workers: Processes that run cases at once, where a kind can.
        tells: Seconds between two lines of progress; 0 for none.
    """

    seed: int
    cases: int
    seconds: float
    only: int | None = None
    workers: int = 1
    tells: float = 0.0

    def numbers(self) -> Iterator[int]:
        """The numbers of the cases, while there is time."""
        end = time.monotonic() + self.seconds
        for number in range(self.cases) if self.only is None else (self.only,):
            if time.monotonic() > end:
                return
            yield number

    def draw(self, kind: str, number: int) -> random.Random:
        """The randomness of one case."""
        return random.Random(f"{self.seed} {kind} {number}")

    def name(self, kind: str, number: int) -> str:
        """What runs a case again."""
        return again(kind, self.seed, number)

    @contextmanager
    def telling(self, kind: str, count: Callable[[], int]) -> Iterator[None]:
        """Say from time to time how many cases were made."""
        done, begun = threading.Event(), time.monotonic()

        def tell() -> None:
            while not done.wait(self.tells):
                tell_line(f"{kind}: {count():,} of {self.cases:,}", time.monotonic() - begun)

        thread = threading.Thread(target=tell, daemon=True)
        if self.tells:
            thread.start()
        try:
            yield
        finally:
            done.set()
            if self.tells:
                thread.join()


def again(kind: str, seed: int, case: int) -> str:
    """What to type to run a case again."""
    return f"python -m tests.soak --kind {shlex.quote(kind)} --seed {seed} --case {case}"


def tell_line(what: str, seconds: float) -> None:
    """A line of progress, at once."""
    print(f"{time.strftime('%H:%M:%S')} {what}, {seconds:.0f} s", file=sys.stderr, flush=True)


def table(tallies: list[Tally]) -> str:
    """One line a kind."""
    names = ("cases", "asked", "faults", *ZERO)
    heads = ("cases", "of", "faults injected", "pages lost", "wrong results", "tracebacks", "hangs")
    lines = ["| kind | " + " | ".join(heads) + " | seconds |", "|---" * (len(heads) + 2) + "|"]
    for one in tallies:
        cells = [f"{getattr(one, name):,}" for name in names]
        lines.append(f"| {one.kind} | " + " | ".join(cells) + f" | {one.seconds:.0f} |")
    return "\n".join(lines)
