"""Score all pages on a GPU: milliseconds, and the share of its copy bandwidth that this reads.

    python -m benchmarks.search.gpu --device cuda --pages 100000 --dimension 128

To be run where a GPU is; ``--device cpu`` tries the script anywhere (with fewer ``--pages``).
Random int8 pages, 64 vectors each. A row a budget and number of queries: median milliseconds a
batch, gigabytes of pages that were read a second, and their share of what copying a tensor on the
same device reads and writes a second. Some pages are also scored by the CPU's kernel, and have to
give the same bits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.search.kernels import make_levels
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.vectors.formats import Encoded
from metaembed_rag.vectors.integers import maxsim_levels
from metaembed_rag.vectors.tensors import TensorPages

COMPARED = 1000
"""Pages whose scores are compared with the CPU's."""


def seconds(run: Callable[[], Any], device: str, rounds: int) -> float:
    """Median of a call, until the device has finished; the first one does not count."""
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    spent = []
    for _ in range(rounds + 1):
        wait()
        start = time.perf_counter()
        run()
        wait()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent[1:])


def copy_bandwidth(device: str, bytes_: int, rounds: int) -> float:
    """Bytes a second that a copy on the device reads and writes."""
    source = torch.zeros(bytes_, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    return 2 * bytes_ / seconds(lambda: target.copy_(source), device, rounds)


def compare(pages: TensorPages, levels: list[Encoded], queries: np.ndarray) -> None:
    """Refuse to time what scores otherwise than the CPU."""
    rows = np.arange(min(COMPARED, len(levels[0])))
    for budget in RetrievalBudget.paper():
        of_cpu = maxsim_levels(queries, levels, budget, rows=rows)
        if not np.array_equal(pages.scores(queries[:, : budget.r_q], budget, rows), of_cpu):
            raise SystemExit(f"the device scores otherwise than the CPU at {budget}")


def measure(
    device: str, pages: int, dimension: int, queries: list[int], rounds: int
) -> list[dict[str, Any]]:
    """A row for each budget and number of queries."""
    levels = make_levels(pages, dimension)
    held = TensorPages(levels, device)
    shape = (max(queries), 16, dimension)
    asked = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    compare(held, levels, asked)
    bandwidth = copy_bandwidth(device, min(pages * 64 * dimension, 2**30), rounds)
    rows = []
    for budget in RetrievalBudget.paper():
        for count in queries:
            some = asked[:count, : budget.r_q]
            took = seconds(lambda some=some, b=budget: held.scores(some, b), device, rounds)
            read = pages * budget.r_c * (dimension + 2) / took
            rows.append(
                {
                    "budget": str((budget.r_q, budget.r_c)),
                    "queries": count,
                    "ms": round(1000 * took, 3),
                    "gb_per_s": round(read / 1e9, 1),
                    "share_of_copy": round(read / bandwidth, 3),
                }
            )
    return rows


def main() -> None:
    """Measure and print JSON lines, what was measured on first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    on_gpu = torch.device(given.device).type == "cuda"
    name = torch.cuda.get_device_name(given.device) if on_gpu else given.device
    print(json.dumps({"device": name, "pages": given.pages, "dimension": given.dimension}))
    for row in measure(given.device, given.pages, given.dimension, given.queries, given.rounds):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
