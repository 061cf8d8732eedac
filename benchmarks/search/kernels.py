"""MaxSim kernels side by side: milliseconds for one query over random int8 pages.

    python -m benchmarks.search.kernels --pages 100000 --dimension 128 \
        --json results/kernels.json

Every contender is timed in turn, several rounds, in this one process with one thread; the table has
the median CPU time (other work on the machine stretches wall time) and its ratio to the fastest.
Contenders: each instruction set of the native kernel, its portable path, torch in fp32 (blocked)
and bf16, ``torch._int_mm``, and ``numkong`` and ``maxsim_cpu`` where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import results
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.vectors import native
from metaembed_rag.vectors.formats import Encoded, Quantized, vector_format
from metaembed_rag.vectors.integers import maxsim_levels, quantize_queries

CLAIM = "MaxSim kernels side by side, in one process with one thread."
EDGES = (0, 1, 4, 8, 16, 64)


def make_levels(pages: int, dimension: int, format: str = "int8") -> list[Encoded]:
    """Random vectors in levels of 1, 3, 4, 8 and 48; the numbers do not matter for the time."""
    random, kind = np.random.default_rng(0), vector_format(format)
    low, high = (-127, 128) if format == "int8" else (0, 256)
    width = kind.width(dimension)
    return [
        Encoded(
            kind,
            dimension,
            random.integers(low, high, (pages, b - a, width), dtype=kind.dtype),
            random.random((pages, b - a)).astype(np.float16),
        )
        for a, b in itertools.pairwise(EDGES)
    ]


def torch_way(query: np.ndarray, flat: Quantized, dtype: torch.dtype) -> Callable[[], Any]:
    """Blocked torch over vectors that are stored in ``dtype``."""
    pages = torch.from_numpy(flat.values).to(dtype)
    vectors = torch.from_numpy(query).to(dtype)

    def run() -> None:
        for block in pages.split(256):
            similar = vectors @ block.flatten(0, 1).T
            similar.view(len(vectors), len(block), -1).amax(2).float().sum(0)

    return run


def int_mm_way(query: np.ndarray, flat: Quantized) -> Callable[[], Any]:
    """``torch._int_mm`` and a reduction over the scaled products, in blocks."""
    queries = quantize_queries(query)
    vectors, pages = torch.from_numpy(queries.values[0]), torch.from_numpy(flat.values)
    scales = torch.from_numpy(flat.scales.astype(np.float32))

    def run() -> None:
        for block, scale in zip(pages.split(128), scales.split(128), strict=True):
            dots = torch._int_mm(vectors, block.flatten(0, 1).T).float()
            (dots.view(len(vectors), *scale.shape) * scale).amax(2).sum(0)

    return run


def kernel_way(
    instructions: str, query: np.ndarray, levels: list[Any], budget: RetrievalBudget
) -> Callable[[], Any]:
    """This package's kernel held to one instruction set, or to its portable path."""
    queries = quantize_queries(query)
    portable = native.Kernel(None, "portable")
    kernel = native.kernel()
    chosen = portable if instructions == "portable" else native.Kernel(kernel.library, instructions)

    def run() -> None:
        original, native.kernel = native.kernel, lambda: chosen
        try:
            maxsim_levels(queries, levels, budget, threads=1)
        finally:
            native.kernel = original

    return run


def peers(query: np.ndarray, flat: Quantized) -> dict[str, Callable[[], Any]]:
    """Installed libraries that score MaxSim or int8 products."""
    found: dict[str, Callable[[], Any]] = {}
    if importlib.util.find_spec("maxsim_cpu"):
        import maxsim_cpu

        pages = flat.values.astype(np.float32)
        found["maxsim_cpu fp32"] = lambda: maxsim_cpu.maxsim_scores(query, pages)
    if importlib.util.find_spec("numkong"):
        import numkong

        queries, rows = quantize_queries(query).values[0], flat.values.reshape(-1, query.shape[1])
        found["numkong int8 products"] = lambda: numkong.cdist(queries, rows, "dot")
    return found


def contenders(pages: int, dimension: int, budget: RetrievalBudget) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    query = np.random.default_rng(1).standard_normal((budget.r_q, dimension)).astype(np.float32)
    levels = make_levels(pages, dimension)
    flat = Quantized(
        np.concatenate([level.values for level in levels], axis=1)[:, : budget.r_c],
        np.concatenate([level.scales for level in levels], axis=1)[:, : budget.r_c],
    )
    kernel = native.kernel()
    names = list(native.INSTRUCTIONS)
    have = names[: names.index(kernel.instructions) + 1] if kernel.library else []
    ways = {f"int8 {name}": kernel_way(name, query, levels, budget) for name in [*have, "portable"]}
    for format in ("int4", "bits"):
        packed = make_levels(pages, dimension, format)
        ways[f"{format} {kernel.instructions}"] = kernel_way(
            kernel.instructions, query, packed, budget
        )
    ways["torch fp32"] = torch_way(query, flat, torch.float32)
    ways["torch bf16"] = torch_way(query, flat, torch.bfloat16)
    ways["torch._int_mm"] = int_mm_way(query, flat)
    ways["read the bytes"] = flat.values.reshape(-1).view(np.int64).sum
    return ways | peers(query, flat)


def kernel_times(ways: dict[str, Callable[[], Any]], rounds: int) -> list[dict[str, Any]]:
    """Median CPU milliseconds of each, timed in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            times[name].append(1000 * (time.process_time() - start))
    found = {name: statistics.median(spent[1:]) for name, spent in times.items()}
    fastest = min(found[name] for name in found if name.startswith("int8"))
    return [
        {"kernel": name, "cpu_ms": round(ms, 3), "ratio": round(ms / max(fastest, 1e-6), 2)}
        for name, ms in found.items()
    ]


def main() -> None:
    """Time the kernels and print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--budget", type=RetrievalBudget.parse, default=RetrievalBudget(16, 64))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    kernel = native.kernel()
    print(f"kernel: {kernel.instructions} {kernel.reason}", file=sys.stderr)
    ways = contenders(given.pages, given.dimension, given.budget)
    rows = kernel_times(ways, given.rounds)
    for row in rows:
        print(f"{row['kernel']:24} {row['cpu_ms']:10.2f} ms {row['ratio']:8.2f}")
    if given.json:
        about = {"pages": given.pages, "dimension": given.dimension, "budget": str(given.budget)}
        results.write(given.json, CLAIM, {**about, "rows": rows})


if __name__ == "__main__":
    main()
