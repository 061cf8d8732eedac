"""How long pages take into an index: two versions of the package, by turns, on the same pages.

    python -m benchmarks.search.way_in --package ../before --package . --pages 2000 --runs 5

Each run is a process of its own, which fills a new folder with pages of an encoder without weights
(64 vectors of 128 values): what is measured is comparing, packing, storing and the copy of the
vectors, not a model. The ratio is that of the medians, last package over first; under 1 is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

WORDS = ["revenue", "region", "quarter", "growth", "table", "figure", "north", "south", "cost"]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--package", action="append", type=Path, help="a tree with metaembed_rag")
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.once:
        print(json.dumps(fill(given.pages)))
        return
    packages = given.package or [Path(__file__).resolve().parent.parent]
    found: list[list[dict[str, float]]] = [[] for _ in packages]
    for _ in range(given.runs):
        for package, runs in zip(packages, found, strict=True):
            runs.append(run(package, given.pages))
    medians = [summary(runs) for runs in found]
    keys = ("seconds", "without_encoding")
    ratio = {key: round(medians[-1][key] / medians[0][key], 3) for key in keys}
    if given.json:
        names = [str(package) for package in packages]
        answer = {"pages": given.pages, "packages": names, "runs": found, "medians": medians}
        print(json.dumps({**answer, "ratio": ratio}))
        return
    for package, row in zip(packages, medians, strict=True):
        seconds, aside = row["seconds"], row["without_encoding"]
        print(f"{seconds:7.2f} s, {aside:.2f} s aside from the encoder: {package}")
    print(f"ratio {ratio['seconds']}, {ratio['without_encoding']} aside from the encoder")


def run(package: Path, pages: int) -> dict[str, float]:
    """One filling by the package of a tree, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(package.resolve())}
    command = [sys.executable, __file__, "--once", "--pages", str(pages)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(done.stdout)
    if not Path(measured.pop("package")).is_relative_to(package.resolve()):
        raise SystemExit(f"{package} holds no metaembed_rag")
    return dict(measured)


def fill(count: int) -> dict[str, float | str]:
    """Seconds of one ``add`` of new pages to a new folder."""
    import metaembed_rag
    from metaembed_rag import Page, PageIndex
    from metaembed_rag.testing import FakeEncoder

    pages = [
        Page(source="book", number=n + 1, text=f"{WORDS[n % 9]} {WORDS[n % 7]} word{n}")
        for n in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        index = PageIndex.open(folder, FakeEncoder(dimension=128))
        index.add([Page(source="warm", text="up")])
        index.search("warm", k=1)
        start, cpu = time.perf_counter(), time.process_time()
        report = index.add(pages)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        assert len(index) == count + 1
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "without_encoding": seconds - report.seconds["encode"],
        "package": str(Path(metaembed_rag.__file__).resolve()),
    }


def summary(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each measure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


if __name__ == "__main__":
    main()
