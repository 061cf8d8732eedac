"""``python -m tests.soak``: all kinds, a table, and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.soak import crowds, faults, fuzz, kills  # noqa: E402
from tests.soak.tally import Share, Tally, table  # noqa: E402

KINDS: dict[str, tuple[Callable[[Share], Tally], int, float]] = {
    kills.KIND: (kills.kill_all, 240, 15),
    faults.KIND: (faults.fail_all, len(faults.SCENARIOS), 5),
    crowds.READERS: (crowds.read_beside_a_writer, 45_000, 16),
    crowds.THREADS: (crowds.share_one_index, 35_000, 5),
    crowds.LEAKS: (crowds.open_and_close, 20_500, 6),
    **{name: (one, cases, minutes) for name, (one, cases, minutes) in fuzz.KINDS.items()},
}
"""What runs a kind, how many cases it has, and for how many minutes at most."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run kinds; the exit code is 1 where one of the last four columns is not zero."""
    given = _parsed(arguments)
    tallies = []
    for kind in given.only or KINDS:
        run, cases, minutes = KINDS[kind]
        cases = max(1, int(cases * given.share)) if given.cases is None else given.cases
        seconds = 60 * (minutes if given.minutes is None else given.minutes)
        begun = time.monotonic()
        tally = run(Share(given.seed, cases, seconds, given.case))
        tally.seconds = time.monotonic() - begun
        tallies.append(tally)
        print(f"{kind}: {tally.cases:,} cases in {tally.seconds:.0f} s", file=sys.stderr)
        for failure in tally.failures:
            print(f"  {failure}", file=sys.stderr)
    print(table(tallies))
    if given.out is not None:
        given.out.write_text(json.dumps(_record(given.seed, tallies), indent=1) + "\n")
    return 0 if all(tally.is_good for tally in tallies) else 1


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="at most so many for each kind")
    parser.add_argument("--only", action="append", choices=list(KINDS), help="may be repeated")
    parser.add_argument("--case", type=int, help="this one case of a kind")
    parser.add_argument("--cases", type=int, help="so many of each kind")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases (default: all)")
    parser.add_argument("--out", type=Path, help="write JSON there: results/soak.json")
    return parser.parse_args(arguments)


def _record(seed: int, tallies: Sequence[Tally]) -> dict[str, object]:
    return {
        "command": "python -m tests.soak",
        "seed": seed,
        "cores": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "seconds": round(sum(tally.seconds for tally in tallies)),
        "kinds": [tally.as_dict() for tally in tallies],
    }


if __name__ == "__main__":
    sys.exit(main())
