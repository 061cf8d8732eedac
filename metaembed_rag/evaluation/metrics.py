"""Quality of a ranking, computed by ir-measures (MacAvaney et al., ECIR 2022).

====================  ============  ===============================================================
name                  ir-measures   what it is
====================  ============  ===============================================================
``ndcg@5, ndcg@10``   nDCG@k        Σ grade / log2(rank + 1) over the first k, against the best
                                    possible order (linear gains, as in trec_eval and BEIR)
``recall@10``         R@10          share of the relevant pages among the first 10
``mrr@10``            RR@10         1 / rank of the first relevant page; 0 where it is not in 10
``precision@1``       P@1           whether the first page is relevant
====================  ============  ===============================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import require

METRICS = {
    "ndcg@5": "nDCG@5",
    "ndcg@10": "nDCG@10",
    "recall@10": "R@10",
    "mrr@10": "RR@10",
    "precision@1": "P@1",
}
"""The project's name of each metric -> ir-measures' name."""

DEPTH = 10
"""Pages a ranking needs so that every metric here can be computed."""


def top_pages(
    scores: NDArray[np.float32], page_ids: Sequence[str], depth: int = DEPTH
) -> list[list[str]]:
    """The best pages of each query, best first; pages with equal scores in the order of their ids.

    Args:
        scores: float, shape (queries, pages); higher is better.
        page_ids: One id a page, all different.
        depth: Pages wanted; fewer come back where there are fewer.
    """
    names = np.asarray(page_ids, dtype=object)
    place = np.empty(len(names), dtype=np.int64)  # of each page in the order of ids
    place[np.argsort(names, kind="stable")] = np.arange(len(names))
    return [[str(names[i]) for i in _top(row, place, depth)] for row in scores]


def _top(scores: NDArray[np.float32], place: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
    """Positions of the ``depth`` highest scores, ties by ``place``."""
    kept = np.arange(len(scores))
    if depth < len(scores):
        # All pages that tie with the last place must be compared by id, so keep them all.
        kept = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
    return kept[np.lexsort((place[kept], -scores[kept]))][:depth]


def measure(
    qrels: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.float64]]:
    """Every metric for every judged query.

    Args:
        qrels: Query id -> page id -> grade; relevant means over 0.
        rankings: Query id -> page ids, best first. A judged query without a ranking counts 0.

    Returns:
        Metric name -> float64 of shape (queries,), in the order of ``qrels``, in [0, 1].

    Raises:
        MissingExtraError: The extra ``eval`` is not installed.
    """
    ir_measures = require("ir_measures")
    names = {ir_measures.parse_measure(theirs): ours for ours, theirs in METRICS.items()}
    # Places instead of scores: trec_eval (nDCG, R, P) rounds scores to fp32 and puts ties in
    # descending order of ids, the MS MARCO code (RR) in ascending order, so that with equal scores
    # one run would be measured in two orders. Places are whole numbers and never tie.
    run = {
        query: {page: float(len(ranking) - place) for place, page in enumerate(ranking)}
        for query, ranking in rankings.items()
        if query in qrels and ranking
    }
    row = {query: number for number, query in enumerate(qrels)}
    values = {name: np.zeros(len(qrels)) for name in METRICS}
    if run:
        grades = {query: dict(pages) for query, pages in qrels.items()}
        for found in ir_measures.iter_calc(list(names), grades, run):
            values[names[found.measure]][row[found.query_id]] = found.value
    return values


def bootstrap_interval(
    values: NDArray[np.float64], *, confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over queries.

    Of two systems on the same queries give the differences: they differ where 0 is outside.

    Args:
        values: float, shape (queries,): one metric's value for each query.
        confidence: Share of the resampled means inside the interval.
        samples: Resamplings of the queries, with replacement.
        seed: The same seed gives the same interval.

    Returns:
        The lower and the upper end.
    """
    generator = np.random.default_rng(seed)
    count = len(values)
    means = [values[generator.integers(0, count, count)].mean() for _ in range(samples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
