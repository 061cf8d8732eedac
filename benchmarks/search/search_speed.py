"""Search a stored index of random pages: milliseconds of a search beyond encoding the query.

    python -m benchmarks.search.search_speed --pages 10000 --dimension 128 [--json FILE]

Pages are random unit vectors, 64 a page, in a Chroma folder: nothing is near anything, which is
the hardest case for a nearest-neighbour search, and recall says nothing. ``--vectors FILE.npz``
takes encoded pages and queries instead: ``values`` (int8, (pages, 64, D)), ``scales`` (pages, 64),
``queries`` (float32, (queries, 16, D)) and ``fingerprint`` of the checkpoint that made them
(``data.tex_vectors`` and ``data.debian_vectors`` write such files).

Under ``ways``, each query is asked in every way in turn, so that all ways meet the same machine.
The target at (16,64) with 200 candidates is a median of at most 4 ms. ``--profile`` prints where
that time goes.
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

from benchmarks import results
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.vectors.formats import Quantized

CLAIM = "Ways to search an index, each query asked in every way in turn: time and recall."
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
    made_by: str | None = None
    """Fingerprint of the checkpoint that made the vectors; None of random ones."""

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
        made: NDArray[np.float32] = self._generator.standard_normal(shape, dtype=np.float32)
        return made / np.linalg.norm(made, axis=-1, keepdims=True)


class GivenEncoder(RandomEncoder):
    """Vectors from a file: page number n has row n - 1, query n row n.

    Args:
        path: An npz file with ``values``, ``scales``, ``queries`` and the ``fingerprint`` of the
            checkpoint that made them.
    """

    name = "given"

    def __init__(self, path: Path) -> None:
        arrays = np.load(path)
        self._pages = Quantized(arrays["values"], arrays["scales"])
        self.queries = arrays["queries"].astype(np.float32)
        self.made_by = str(arrays["fingerprint"])
        super().__init__(self.queries.shape[-1])

    def __len__(self) -> int:
        return len(self._pages.values)

    def encode_query(
        self, queries: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors of shape (queries, 16, D)."""
        rows = [int(query) % len(self.queries) for query in queries]
        found: NDArray[np.float32] = self.queries[rows]
        return found

    def encode_document(
        self, documents: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 vectors of shape (documents, 64, D)."""
        rows = [int(text.removeprefix("page ")) - 1 for text in documents]
        return Quantized(self._pages.values[rows], self._pages.scales[rows]).dequantize()


def build(where: Path, pages: int, encoder: RandomEncoder) -> tuple[PageIndex, float]:
    """A new index of pages, and the seconds that storing them took."""
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


WAYS: dict[str, dict[str, Any]] = {
    "cascade": {},
    "candidates": {"candidates": 200},
    "auto": {"budget": "auto"},
    "exhaustive": {"exhaustive": True},
    "exhaustive (4,8)": {"exhaustive": True, "budget": "4,8"},
}
"""Ways to search an index."""


def search_ways(index: PageIndex, queries: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Ask each query in every way in turn: milliseconds, and recall of the exact top 10."""
    asked = [str(n) for n in range(200)]
    index.calibrate(asked, unrelated=asked)  # of vectors from a file there are no others
    spent: dict[str, list[float]] = {name: [] for name in WAYS}
    found: dict[str, list[set[str]]] = {name: [] for name in WAYS}
    for query in queries:
        for name, way in WAYS.items():
            start = time.perf_counter()
            hits = index.search_vectors(query, 10, **way)
            spent[name].append(time.perf_counter() - start)
            found[name].append({hit.page.id for hit in hits})
    return [
        {
            "way": name,
            "source": "cache",
            "searches": len(times),
            "p50_ms": round(1000 * float(np.median(times)), 2),
            "p95_ms": round(1000 * float(np.percentile(times, 95)), 2),
            "recall@10": round(_recall(found[name], found["exhaustive"]), 4),
        }
        for name, times in spent.items()
    ]


def _recall(found: Sequence[set[str]], exact: Sequence[set[str]]) -> float:
    pairs = list(zip(found, exact, strict=False))
    return sum(len(one & other) for one, other in pairs) / sum(len(e) for _, e in pairs)


def _opening(index: PageIndex, query: NDArray[np.float32]) -> dict[str, float]:
    """Seconds to make the cache, then to open the index again and to search it the first time."""
    start = time.perf_counter()
    index.search_vectors(query, 10)
    made = time.perf_counter()
    again = PageIndex.open(index.info()["index"], index.encoder)
    opened = time.perf_counter()
    again.search_vectors(query, 10)
    searched = time.perf_counter()
    return {
        "making_the_cache_s": round(made - start, 3),
        "opening_s": round(opened - made, 3),
        "first_search_s": round(searched - opened, 3),
    }


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
    parser.add_argument("--vectors", type=Path, metavar="FILE.npz", help="encoded pages, queries")
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--exhaustive-searches", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--profile", action="store_true", help="profile (16,64) on standard error")
    args = parser.parse_args()

    encoder = GivenEncoder(args.vectors) if args.vectors else RandomEncoder(args.dimension)
    if isinstance(encoder, GivenEncoder):
        args.pages = min(args.pages, len(encoder))
    with tempfile.TemporaryDirectory() as folder:
        index, seconds = build(Path(folder) / "index", args.pages, encoder)
        found = {
            "pages": len(index),
            "dimension": encoder.dimension,
            "store_pages_per_second": round(args.pages / seconds, 1),
            **_opening(index, encoder.encode_query(range(1))[0]),
            "ways": search_ways(index, encoder.encode_query(range(200, 200 + args.searches))),
            "results": search_speed(
                index, encoder, searches=args.searches, exhaustive_searches=args.exhaustive_searches
            ),
        }
        if args.profile:
            _profile(index, encoder.encode_query(range(args.searches)))
    print(json.dumps(found, indent=2))
    if args.json:
        results.write(args.json, CLAIM, found, fingerprint=encoder.made_by)


if __name__ == "__main__":
    main()
