"""The exact best pages of ``scaling``, read from the vectors themselves and from no engine.

    python -m benchmarks.search.scaling_truth --vectors .data/tex10k.npz --work .data/scaling \\
        --run 100000x16 --run 300000x16

One reading of the pages gives the truth of every size with as many vectors a page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.scaling_pages import CHUNK, ScalingPages

ROUND = 50_000
"""Pages of which an index holds a multiple where its time ran out: sizes whose truth is known."""
CALIBRATED, TIMED = 100, 60
"""Queries to calibrate with, and others to time: of the latter the best pages are looked for."""
K = 10


def truth_of(work: Path, pages: int, vectors: int) -> Path:
    """The file with the best rows of each timed query, for the first so many pages."""
    return work / f"truth_{pages}x{vectors}.json"


def best(pages: ScalingPages, sizes: Iterable[int]) -> Iterator[tuple[int, list[list[int]]]]:
    """Of each size, from small to large: the best :data:`K` rows of each timed query.

    The score is MaxSim: the sum over a query's vectors of the best cosine with a page's vector.
    """
    queries = pages.queries[CALIBRATED : CALIBRATED + TIMED]
    count, vectors, dimension = queries.shape
    flat = queries.reshape(-1, dimension)
    scores: NDArray[np.float32] = np.empty((count, 0), np.float32)
    rows: NDArray[np.int64] = np.empty((count, 0), np.int64)
    start = 0
    for size in sorted(set(sizes)):
        while start < size:
            stop = min(start + CHUNK, size)
            block = pages.block(start, stop)
            products = flat @ block.reshape(-1, dimension).T
            nearest = products.reshape(count, vectors, stop - start, -1).max(-1).sum(1)
            scores = np.concatenate([scores, nearest], axis=1)
            here = np.broadcast_to(np.arange(start, stop), (count, stop - start))
            rows = np.concatenate([rows, here], axis=1)
            kept = np.argsort(-scores, axis=1, kind="stable")[:, :K]
            scores = np.take_along_axis(scores, kept, axis=1)
            rows = np.take_along_axis(rows, kept, axis=1)
            start = stop
        yield size, rows.tolist()


def missing(work: Path, vectors: Path, runs: Sequence[tuple[int, int]]) -> None:
    """Find the truth of each (pages, vectors) that has none yet, and of round sizes on the way."""
    for count in sorted({one for _, one in runs}):
        sizes = {n for n, one in runs if one == count and not truth_of(work, n, count).exists()}
        sizes |= {*range(ROUND, max(sizes, default=0), ROUND)}
        for size, rows in best(ScalingPages(vectors, count), sizes) if sizes else ():
            truth_of(work, size, count).write_text(json.dumps(rows))


def sizes_of(run: Sequence[str]) -> list[tuple[int, int]]:
    """``PAGESxVECTORS``, read."""
    pairs = [one.split("x") for one in run]
    return [(int(pages), int(vectors)) for pages, vectors in pairs]


def main() -> None:
    """Read the command line, read the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vectors", type=Path, required=True, help="npz of tex_vectors")
    parser.add_argument("--work", type=Path, required=True, help="that of scaling")
    parser.add_argument("--run", action="append", required=True, metavar="PAGESxVECTORS")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    missing(given.work, given.vectors, sizes_of(given.run))


if __name__ == "__main__":
    main()
