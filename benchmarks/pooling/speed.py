"""Milliseconds that pooling one page takes, on one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.pooling.speed [--json FILE]

Tokens are drawn around random centres, as those of a page are. ``cpu`` is the process's own time,
which a busy machine disturbs least; ``wall`` is the clock's. Both are the least of ``--repeats``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pooling.references import METHODS
from metaembed_rag.model.pooling import nested_pooling

SHAPES = ((30, 128), (250, 128), (750, 128), (1000, 128), (1700, 128), (750, 2048))


def main() -> None:
    """Time each method on each shape."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--vectors", type=int, default=64)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    nested_pooling(page(80, 8), 4)  # scipy is imported here, not in the first measurement
    rows = []
    for tokens, dimension in SHAPES:
        for method in METHODS:
            cpu, wall = least(page(tokens, dimension), given.vectors, method, given.repeats)
            found = {"cpu_ms": round(1e3 * cpu, 2), "wall_ms": round(1e3 * wall, 2)}
            rows.append({"tokens": tokens, "dimension": dimension, "method": method, **found})
            print(f"{tokens:5} x {dimension:4}  {method:9}", found, flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def page(tokens: int, dimension: int) -> NDArray[np.float32]:
    """Tokens in ``tokens / 10`` groups around a common mean."""
    drawn = np.random.default_rng(0)
    centres = drawn.standard_normal((max(1, tokens // 10), dimension))
    member = drawn.integers(0, len(centres), tokens)
    mean = drawn.standard_normal(dimension)
    noise = drawn.standard_normal((tokens, dimension))
    return (noise + 1.5 * centres[member] + mean).astype(np.float32)


def least(
    tokens: NDArray[np.float32], vectors: int, method: str, repeats: int
) -> tuple[float, float]:
    """The smallest CPU time and the smallest wall time, in seconds."""
    cpu, wall = [], []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        nested_pooling(tokens, vectors, METHODS[method])
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    return min(cpu), min(wall)


if __name__ == "__main__":
    main()
