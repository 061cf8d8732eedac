"""The cascade against the exhaustive search on real texts, and what coarser first stages would do.

    OMP_NUM_THREADS=1 python -m benchmarks.search.cascade_speed [--queries 200] [--coarse]

Needs ``.data/real`` (``real_embeddings.py``). Calibrates on ``--queries`` queries and times the
chosen plan, the safe one and the exhaustive search on 60 others, each query in every way in turn,
in milliseconds of CPU time, which other work on the machine stretches less than wall time. The rows
say which share of the exhaustive time a way takes and how much of its top 10 it finds.

``--coarse`` asks for the first stage instead: at which place the true pages come if all pages are
scored by their first vector in int8, int4, sign bits, or by a prefix of its values, and how long
scoring them takes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data.real_embeddings import OUT, RealSet, read_real
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.search import cascade
from metaembed_rag.search.calibration import choose
from metaembed_rag.search.cascade import Found
from metaembed_rag.search.measuring import calibrate
from metaembed_rag.search.plan import Plan
from metaembed_rag.vectors.formats import Encoded, vector_format
from metaembed_rag.vectors.integers import maxsim_levels, quantize_queries

K, TESTED, RECALL = 10, 60, 0.99
RECALLS = (0.9, 0.95, 0.98, 0.985, 0.99, 0.995, 1.0)
EXHAUSTIVE_EVERY = 4
"""Of the tested queries, every fourth is timed exhaustively."""
PREFIXES = (0.25, 0.5)


def chosen_queries(real: RealSet, count: int) -> np.ndarray:
    """Queries from all over the set, in random order; shape (count, 16, D)."""
    rows = np.linspace(0, len(real.queries) - 1, count).astype(int)
    return real.queries[np.random.default_rng(0).permutation(rows)]


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What it answers, and its CPU milliseconds."""
    start = time.process_time()
    found = run()
    return found, 1000 * (time.process_time() - start)


def compare(real: RealSet, queries: int) -> list[dict[str, Any]]:
    """A row for the calibration, and one for each way."""
    levels = real.vectors.levels(real.vectors.header.vectors)
    asked = chosen_queries(real, queries + TESTED)
    tested = asked[queries:]
    full = RetrievalBudget(asked.shape[1], real.vectors.header.vectors)
    exact = cascade.exhaustive(tested, levels, full, K)  # the files are in memory from here on
    calibration, took = timed(lambda: calibrate(asked[:queries], levels, K, RECALLS))
    plans = {
        "calibrated": choose(calibration, min_recall=RECALL),
        "safe": cascade.safe_plan(full),
        "exhaustive": Plan(full),
    }
    spent: dict[str, list[float]] = {name: [] for name in plans}
    found: dict[str, list[Found]] = {name: [] for name in plans}
    for number, query in enumerate(tested):
        for name, plan in plans.items():
            if name != "exhaustive" or number % EXHAUSTIVE_EVERY == 0:
                answer, ms = timed(lambda p=plan, q=query: cascade.search(q, levels, p, K)[0])
                spent[name].append(ms)
                found[name].append(answer)
    found["exhaustive"] = exact
    slowest = float(np.median(spent["exhaustive"]))
    summary = {"calibration_cpu_s": round(took / 1000, 1), "plans": len(calibration.plans)}
    return [summary] + [
        {
            "way": name,
            "cpu_p50_ms": round(float(np.median(times)), 2),
            "cpu_p95_ms": round(float(np.percentile(times, 95)), 2),
            "share": round(float(np.median(times)) / slowest, 4),
            f"recall@{K}": round(_recall(found[name], exact), 4),
            "pages_read": found[name][0].read,
        }
        for name, times in spent.items()
    ]


def coarse(real: RealSet, queries: int) -> list[dict[str, Any]]:
    """Places of the true pages by first vectors in other formats, and CPU milliseconds of each."""
    levels = real.vectors.levels(real.vectors.header.vectors)
    asked = chosen_queries(real, queries)
    full = RetrievalBudget(asked.shape[1], real.vectors.header.vectors)
    truth = [found.rows for found in cascade.exhaustive(asked, levels, full, K)]
    first, dimension = levels[0], levels[0].dimension
    ways = {"int8": first}
    ways |= {name: vector_format(name).encode(first.decode()) for name in ("int4", "bits")}
    if first.format.name == "int8":
        cuts = [int(dimension * part) for part in PREFIXES]
        ways |= {f"int8, first {n} values": _prefix(first, n) for n in cuts}
    return [{"first_vector": name, **_places(way, asked, truth)} for name, way in ways.items()]


def _prefix(level: Encoded, values: int) -> Encoded:
    cut = np.ascontiguousarray(level.values[:, :, :values])
    return Encoded(level.format, values, cut, level.scales)


def _places(level: Encoded, asked: np.ndarray, truth: list[np.ndarray]) -> dict[str, Any]:
    places, spent = [], []
    for query, rows in zip(asked, truth, strict=True):
        ready = quantize_queries(query[:, : level.dimension])
        [scores], ms = timed(lambda ready=ready: maxsim_levels(ready, [level]))
        spent.append(ms)
        places += [int((scores >= scores[row]).sum()) for row in rows]
    names = {"half": 50, "95 %": 95, "99 %": 99, "99.5 %": 99.5}
    within = {name: int(np.percentile(places, share)) for name, share in names.items()}
    return {"cpu_p50_ms": round(float(np.median(spent)), 2), "places": within}


def _recall(found: list[Found], exact: list[Found]) -> float:
    pairs = zip(found, exact, strict=True)
    kept = sum(len(set(one.rows) & set(other.rows)) for one, other in pairs)
    return kept / sum(len(other.rows) for other in exact)


def main() -> None:
    """Measure and print JSON lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--real", type=Path, default=OUT, help="where real_embeddings.py wrote")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--coarse", action="store_true", help="compare first stages instead")
    given = parser.parse_args()
    real = read_real(given.real)
    for row in (coarse if given.coarse else compare)(real, given.queries):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
