"""The same work in an older checkout and in this one, by turns: what has become slower.

    git worktree add ../before COMMIT
    python -m benchmarks.search.before_after pdfs ../shared/data/opencqa_train/images \
        --before ../before --json results/before_after.json

Each piece of work is done in a process of its own (see `before_after_work`), now of one checkout,
now of the other, so that both meet the same machine; a run's ratio is of two that follow each
other, and the median of these ratios is told. What counts is the time of the processor, all workers
included, since on a busy machine the clock measures the others too.

PDFs and pictures are indexed with a real checkpoint, pictures with OCR and without; pages of random
vectors are stored, searched and opened, in an index that the same checkout has made; and many more
are written, opened and read as the mapped copy of an index, without Chroma.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import results

CLAIM = "The same work before and after checksums, checks and worker processes: the ratios."
WORK = Path(__file__).with_name("before_after_work.py")
TREES = ("before", "after")

Row = dict[str, Any]
Taken = Mapping[str, float]
"""Seconds or milliseconds of a piece of work: ``wall`` and ``cpu``."""
Ways = dict[str, dict[str, list[Taken]]]
"""By the way, then by the checkout: what each run took."""
_WARM_UP = 10


@dataclass(frozen=True)
class Runner:
    """Does work in both checkouts by turns.

    Args:
        folders: The checkouts, by `TREES`.
        runs: How often each does it.
        scratch: For the indexes that they make.
    """

    folders: Mapping[str, Path]
    runs: int
    scratch: Path

    def compare(self, name: str, work: str, place: Path | None = None, **options: Any) -> list[Row]:
        """Rows of what a piece of work takes, one or one a way.

        Args:
            name: What the rows are called.
            work: One of `before_after_work.WORKS`.
            place: What is read; None for an index that each checkout has made here.
            **options: Of the work.
        """
        taken: Ways = {}
        for run in tqdm(range(self.runs), desc=name, disable=None):
            for tree in TREES if run % 2 == 0 else reversed(TREES):
                found = self.once(tree, work, place or self.index_of(tree), **options)
                _take(taken, tree, found)
        return _rows(name, found["pages"], taken)

    def alternate(self, searches: int) -> list[Row]:
        """Rows of searches, each query now in one checkout and now in the other."""
        taken: Ways = {}
        with ExitStack() as both:
            asked = {
                tree: both.enter_context(
                    self._started(tree, "search", self.index_of(tree), searches=searches)
                )
                for tree in TREES
            }
            for number in tqdm(range(-_WARM_UP, self.runs * searches), desc="search", disable=None):
                for tree in TREES if number % 2 == 0 else reversed(TREES):
                    found = _answer(asked[tree], number % searches)
                    if number >= 0:
                        _take(taken, tree, found)
        return _rows("search:", found["pages"], taken)

    def index_of(self, tree: str) -> Path:
        """The index that a checkout has made."""
        return self.scratch / tree

    def once(self, tree: str, work: str, place: Path, **options: Any) -> dict[str, Any]:
        """Do a piece of work in one checkout; its seconds are those of the only way ``""``."""
        before = _cpu_of_children()
        with self._started(tree, work, place, **options) as process:
            told, _ = process.communicate()
        cpu = _cpu_of_children() - before
        if process.returncode:
            raise RuntimeError(f"{work} of {self.folders[tree]} ended with {process.returncode}")
        found: dict[str, Any] = json.loads(told.splitlines()[-1])
        if "ways" not in found:
            found["ways"] = {"": {"wall": found["wall"], "cpu": cpu - found["cpu_before"]}}
        return found

    def _started(self, tree: str, work: str, place: Path, **options: Any) -> subprocess.Popen[str]:
        told = [f"--{name}={value}" for name, value in options.items()]
        return subprocess.Popen(
            [sys.executable, "-P", str(WORK), work, str(place.absolute()), *told],
            env={**os.environ, "PYTHONPATH": str(self.folders[tree])},
            cwd=self.scratch,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _answer(process: subprocess.Popen[str], query: int) -> dict[str, Any]:
    """What a process that searches tells of a query."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process has no pipes")
    process.stdin.write(f"{query}\n")
    process.stdin.flush()
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def _take(taken: Ways, tree: str, found: Mapping[str, Any]) -> None:
    for way, one in found["ways"].items():
        taken.setdefault(way, {}).setdefault(tree, []).append(one)


def _rows(name: str, pages: int, taken: Ways) -> list[Row]:
    """Rows in seconds; those of single ways in milliseconds, and they say so."""
    return [
        {
            "work": f"{name} {way}".strip(),
            "pages": pages,
            **({"unit": "ms"} if way else {}),
            **compared(by_tree),
        }
        for way, by_tree in taken.items()
    ]


def _commit(folder: Path) -> str:
    command = ["git", "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.strip()


def _cpu_of_children() -> float:
    """Seconds of the processor of the processes that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compared(taken: Mapping[str, list[Taken]]) -> dict[str, Any]:
    """Medians of both checkouts and of the runs' ratios, with the quartiles of these."""
    row: dict[str, Any] = {}
    for clock in ("cpu", "wall"):
        of = {tree: np.array([one[clock] for one in taken[tree]]) for tree in TREES}
        ratios = of["after"] / of["before"]
        row[clock] = {tree: round(float(np.median(of[tree])), 3) for tree in TREES}
        row[clock]["ratio"] = round(float(np.median(ratios)), 3)
        row[clock]["quartiles"] = [round(float(end), 3) for end in np.percentile(ratios, (25, 75))]
    return row


def works(runner: Runner, args: argparse.Namespace) -> Iterator[list[Row]]:
    """Do every piece of work that is asked for."""
    models = args.models.split(",")
    for model in models if "pdfs" in args.works else ():
        name = f"index PDFs, `{model}`"
        yield runner.compare(name, "index_pdfs", args.pdfs, pages=args.pages, model=model)
    for ocr, pages in {"never": args.pictures, "always": args.ocr_pictures}.items():
        for model in models if "pictures" in args.works else ():
            name = f"index pictures, OCR {ocr}, `{model}`"
            options = {"pages": pages, "model": model, "ocr": ocr}
            yield runner.compare(name, "index_pictures", args.pictures_of, **options)
    if "search" in args.works:
        yield stored(runner, args.stored)
        yield runner.alternate(args.searches)
        yield runner.compare("", "reopen")
    if "mapped" in args.works:
        yield runner.compare("mapped copy:", "map_vectors", pages=args.mapped)


def stored(runner: Runner, pages: int) -> list[Row]:
    """Store pages in a new index of each checkout, once."""
    for tree in TREES:
        shutil.rmtree(runner.index_of(tree), ignore_errors=True)
    return replace(runner, runs=1).compare("store", "store", pages=pages)


def main() -> None:
    """Read the command line, do the work, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pdfs", type=Path, help="a folder of PDFs")
    parser.add_argument("pictures_of", type=Path, metavar="pictures", help="a folder of pictures")
    parser.add_argument("--before", type=Path, required=True, help="the older checkout")
    parser.add_argument("--works", default="pdfs,pictures,search,mapped", help="some of these")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--models", default="mini", help="checkpoints, with commas")
    parser.add_argument("--pages", type=int, default=400, help="of PDFs")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--ocr-pictures", type=int, default=20)
    parser.add_argument("--stored", type=int, default=10_000, help="pages that are searched")
    parser.add_argument("--mapped", type=int, default=100_000, help="pages of the mapped copy")
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    folders = {"before": args.before.absolute(), "after": results.CHECKOUT}
    found: dict[str, Any] = {"before": _commit(folders["before"]), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(folders, args.runs, Path(folder))
        for rows in works(runner, args):
            found["rows"] += rows
            if args.json:  # what is measured stays, whatever comes later
                results.write(args.json, CLAIM, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
