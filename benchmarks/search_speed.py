"""Search a stored index of random pages: milliseconds of a search beyond encoding the query.

    python benchmarks/search_speed.py --pages 10000 --dimension 128

Pages are random unit vectors, 64 a page, in a Chroma folder: nothing is near anything, which is
the hardest case for a nearest-neighbour search. The target at (16,64) with 200 candidates is a
median of at most 25 ms. ``--profile`` prints where that time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page

_WARM_UP = 5


class RandomEncoder:
    """Random unit vectors, different for every input and the same in every run.

    Args:
        dimension: D.
    """

    name = "random"
    query_vectors = 16
    document_vectors = 64
    modalities = frozenset({"text"})

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.fingerprint = f"{dimension:032x}"
        self._generator = np.random.default_rng(0)

    def encode_query(
        self, queries: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors of shape (queries, 16, D)."""
        return self._random(len(queries), self.query_vectors)

    def encode_document(
        self, documents: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors of shape (documents, 64, D)."""
        return self._random(len(documents), self.document_vectors)

    def _random(self, count: int, vectors: int) -> NDArray[np.float32]:
        shape = (count, vectors, self.dimension)
        made = self._generator.standard_normal(shape, dtype=np.float32)
        return made / np.linalg.norm(made, axis=-1, keepdims=True)


def build(where: Path, pages: int, encoder: RandomEncoder) -> tuple[PageIndex, float]:
    """A new index of random pages, and the seconds that storing them took."""
    index = PageIndex.open(where, encoder)
    start = time.perf_counter()
    numbers = tqdm(range(1, pages + 1), desc="store", disable=None)
    index.add((Page("random", number=n, text=f"page {n}") for n in numbers), batch_size=500)
    return index, time.perf_counter() - start


def search_ms(
    index: PageIndex, queries: NDArray[np.float32], budget: RetrievalBudget, **options: Any
) -> dict[str, Any]:
    """Median and 95th percentile of the milliseconds of one search, after a warm-up."""
    for query in queries[:_WARM_UP]:
        index.search_vectors(query, 10, budget=budget, **options)
    spent = []
    for query in queries:
        start = time.perf_counter()
        index.search_vectors(query, 10, budget=budget, **options)
        spent.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(spent, [50, 95])
    return {
        "budget": [budget.r_q, budget.r_c],
        **options,
        "searches": len(queries),
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
    }


def search_speed(
    index: PageIndex, encoder: RandomEncoder, *, searches: int, exhaustive_searches: int
) -> list[dict[str, Any]]:
    """Time the paper's budgets with 200 candidates, (16,64) with others, and exhaustive ones."""
    queries = encoder.encode_query(range(searches))
    few = queries[:exhaustive_searches]
    full = RetrievalBudget.parse("full")
    results = [search_ms(index, queries, b, candidates=200) for b in RetrievalBudget.paper()]
    results += [search_ms(index, queries, full, candidates=count) for count in (50, 1000)]
    results += [search_ms(index, few, b, exhaustive=True) for b in RetrievalBudget.paper()]
    return results


def _profile(index: PageIndex, queries: NDArray[np.float32]) -> None:
    profiler = cProfile.Profile()
    profiler.enable()
    search_ms(index, queries, RetrievalBudget.parse("full"), candidates=200)
    profiler.disable()
    pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Read the command line, build, search, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--exhaustive-searches", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="profile (16,64) on standard error")
    args = parser.parse_args()

    encoder = RandomEncoder(args.dimension)
    with tempfile.TemporaryDirectory() as folder:
        index, seconds = build(Path(folder) / "index", args.pages, encoder)
        found = {
            "pages": len(index),
            "dimension": args.dimension,
            "store_pages_per_second": round(args.pages / seconds, 1),
            "results": search_speed(
                index,
                encoder,
                searches=args.searches,
                exhaustive_searches=args.exhaustive_searches,
            ),
        }
        if args.profile:
            _profile(index, encoder.encode_query(range(args.searches)))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
