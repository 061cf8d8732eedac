"""``python -m tests.soak``: all kinds, a table, and JSON."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks import results  # noqa: E402
from tests.soak import crowds, faults, fuzz, kills  # noqa: E402
from tests.soak.tally import Share, Tally, table, tell_line  # noqa: E402


class Kind(NamedTuple):
    """What runs a kind, how many cases it has, and its share of the time.

    A kind may also take the minutes that those before it have left.
    """

    run: Callable[[Share], Tally]
    cases: int
    minutes: float


KINDS: dict[str, Kind] = {
    faults.KIND: Kind(faults.fail_all, len(faults.SCENARIOS), 4),
    **{name: Kind(*one) for name, one in fuzz.KINDS.items()},
    crowds.LEAKS: Kind(crowds.open_and_close, 20_500, 4),
    crowds.THREADS: Kind(crowds.share_one_index, 60_000, 4),
    crowds.READERS: Kind(crowds.read_beside_a_writer, 50_000, 8),
    kills.KIND: Kind(kills.kill_all, 250, 13),
}
ASKED = {
    "kills": ("faults", 200, (kills.KIND,)),
    "searches, each checked": ("cases", 100_000, (crowds.READERS, crowds.THREADS)),
    "cases of hostile input": ("cases", 100_000, tuple(fuzz.KINDS)),
}
"""What a whole run has at least, of which column and kinds."""
SHORT = 3
"""Exit code where nothing failed, and the time was over before all cases were made."""
CLAIM = "Nothing lost, nothing wrong, no traceback, no hang: kills, faults, crowds, hostile input"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run kinds.

    Returns:
        1 where one of the last four columns is not zero, 3 where only cases are missing, 130 after
        Ctrl-C or SIGTERM, which leave what was found.
    """
    given = _parsed(arguments)
    tallies: list[Tally] = []
    stopped = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(given, tallies)
    except KeyboardInterrupt:
        stopped = True
    print(table(tallies))
    missing = _missing(given, tallies)
    for line in missing:
        print(line)
    if stopped:
        print("stopped before the end")
        return 130
    if not all(tally.is_good for tally in tallies):
        return 1
    return SHORT if missing else 0


def _run(given: argparse.Namespace, tallies: list[Tally]) -> None:
    """Run the kinds in turn, and write the record after each."""
    saved = 0.0
    for kind in given.only or KINDS:
        own = 60 * (KINDS[kind].minutes if given.minutes is None else given.minutes)
        seconds = max(own / 2, own + saved) if given.minutes is None else own
        begun = time.monotonic()
        tally = _one(given, kind, seconds)
        tally.seconds = time.monotonic() - begun
        saved += own - tally.seconds
        tallies.append(tally)
        tell_line(f"{kind}: {tally.cases:,} cases, {_bad(tally)} bad; done", tally.seconds)
        for failure in tally.failures:
            print(f"  {failure}", file=sys.stderr, flush=True)
        if given.out is not None:
            results.write(given.out, CLAIM, _numbers(given, tallies))


def _one(given: argparse.Namespace, kind: str, seconds: float) -> Tally:
    cases = max(1, int(KINDS[kind].cases * given.share)) if given.cases is None else given.cases
    tell_line(f"{kind}: {cases:,} cases are asked, at most", seconds)
    tally = KINDS[kind].run(Share(given.seed, cases, seconds, given.case, given.workers, 15))
    tally.asked = cases if given.case is None else tally.cases
    return tally


def _bad(tally: Tally) -> int:
    return tally.lost + tally.wrong + tally.tracebacks + tally.hangs


def _missing(given: argparse.Namespace, tallies: Sequence[Tally]) -> list[str]:
    """What was asked and not made, in words."""
    found = [
        f"not whole: {one.kind} made {one.cases:,} of {one.asked:,} cases, the time was over"
        for one in tallies
        if not one.is_whole
    ]
    if _is_whole_run(given):
        made = _counted(tallies)
        found += [
            f"not whole: {made[name]:,} {name}, at least {least:,} are asked"
            for name, (_, least, _) in ASKED.items()
            if made[name] < least
        ]
    return found


def _is_whole_run(given: argparse.Namespace) -> bool:
    told = (given.only, given.minutes, given.case, given.cases)
    return all(one is None for one in told) and given.share >= 1


def _counted(tallies: Sequence[Tally]) -> dict[str, int]:
    return {
        name: sum(getattr(one, column) for one in tallies if one.kind in kinds)
        for name, (column, _, kinds) in ASKED.items()
    }


def _numbers(given: argparse.Namespace, tallies: Sequence[Tally]) -> dict[str, Any]:
    missing = [kind for kind in KINDS if kind not in {one.kind for one in tallies}]
    return {
        "seed": given.seed,
        "seconds": round(sum(tally.seconds for tally in tallies)),
        "counts": _counted(tallies),
        "not run": missing,
        "kinds": [tally.as_dict() for tally in tallies],
    }


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="at most so many for each kind")
    parser.add_argument(
        "--kind", "--only", dest="only", action="append", choices=list(KINDS), help="repeatable"
    )
    parser.add_argument("--case", type=int, help="this one case of a kind")
    parser.add_argument("--cases", type=int, help="so many of each kind")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (default: 2)")
    parser.add_argument("--out", type=Path, help="write JSON there: results/soak.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
