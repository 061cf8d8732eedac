"""Hits of several indexes as those of one.

::

    Hits of each shard -> one score for every hit -> the best k, each page once
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from metaembed_rag.federation.shards import public_id
from metaembed_rag.hits import Hit, Hits, SearchPlan, Spread
from metaembed_rag.options import Fusion, SearchOptions, is_optional
from metaembed_rag.search.fusion import described, fuse, weighed
from metaembed_rag.search.searcher import NO_WORD

_POOL, _TIMES = 50, 4
"""Hits that each shard gives where words count, at least, and for each one wanted: a shard fuses
with its own best and worst, so that its best k need not hold those of all."""
_ROUNDED = 1e-6
"""By which a server rounds scores: the same page is no better for that."""


def wanted(k: int, options: SearchOptions) -> int:
    """How many hits each shard gives, for the best k of all."""
    return max(_POOL, _TIMES * k) if options.hybrid else k


def uncounted(answers: Mapping[str, Hits]) -> str:
    """Why words cannot count in all of the shards; ``""`` where they can.

    A shard without the words of the query is no reason: its pages have nothing of them.
    """
    for shard, hits in answers.items():
        words = "" if hits.plan is None else hits.plan.words
        if hits.scoring != "hybrid" and words != NO_WORD:
            why = words.removeprefix("vectors alone: ") or "it has counted no words"
            return f"vectors alone: {shard}: {why}"
    return ""


def merged(
    answers: Mapping[str, Hits], k: int, options: SearchOptions, served: Collection[str] = ()
) -> list[Hit]:
    """The best ``k`` hits of all shards, each page once, ties by page id.

    Of a page that several shards hold, the one counts that has the better score, of equal ones
    that of the shard which was named first.

    Args:
        answers: Of one query, by the names of the shards.
        k: At most so many.
        options: How they were asked.
        served: Shards whose pages have the ids that a server gives them.
    """
    counted = any(hits.scoring == "hybrid" for hits in answers.values())
    every = _fused(answers, options) if counted else _by_vectors(answers)
    best: dict[str, Hit] = {}
    for hit in every:
        page = hit.page.id if hit.shard in served else public_id(hit.page.id)
        if page not in best or hit.score > best[page].score + _ROUNDED:
            best[page] = hit
    order = sorted(best.values(), key=lambda hit: (-hit.score, hit.page.id))[:k]
    return [replace(hit, rank=rank) for rank, hit in enumerate(order, start=1)]


def merged_plan(answers: Mapping[str, Hits], words: str = "") -> SearchPlan | None:
    """How the pages of all shards were found: the pages of each stage are added up."""
    plans = [hits.plan for hits in answers.values() if hits.plan is not None]
    if not plans:
        return None
    stages: dict[int, int] = {}
    for r_c, pages in chain.from_iterable(plan.stages for plan in plans):
        stages[r_c] = stages.get(r_c, 0) + pages
    sources = ", ".join(dict.fromkeys(plan.source for plan in plans))
    ways = ", ".join(dict.fromkeys(plan.way for plan in plans))
    return SearchPlan(ways, tuple(sorted(stages.items())), sources, words=words)


def fusion_of(options: SearchOptions, spreads: Iterable[Spread]) -> Fusion:
    """How words count over all shards: what each by itself would say of all of its pages."""
    if is_optional(options.hybrid):
        return weighed(max(one.most for one in spreads))
    return Fusion.parse(options.hybrid) or Fusion()


def words_of(answers: Mapping[str, Hits], options: SearchOptions) -> str:
    """What the plan says of the words."""
    spreads = [hits.spread for hits in answers.values() if hits.spread is not None]
    if spreads:
        return described(fusion_of(options, spreads))
    said = [hits.plan.words for hits in answers.values() if hits.plan is not None]
    return next((words for words in said if words), "")


def _by_vectors(answers: Mapping[str, Hits]) -> list[Hit]:
    return [
        replace(hit, score=_maxsim(hit), shard=shard, maxsim=None, bm25=None, confidence=None)
        for shard, hits in answers.items()
        for hit in hits
    ]


def _fused(answers: Mapping[str, Hits], options: SearchOptions) -> list[Hit]:
    """Every hit with MaxSim and words fused among all of them."""
    every = [
        replace(
            hit,
            shard=shard,
            maxsim=_maxsim(hit),
            bm25=hit.bm25 or 0.0,
            found=hit.found or 0.0,
            confidence=None,
        )
        for shard, hits in answers.items()
        for hit in hits
    ]
    if not every:
        return []
    spreads = [hits.spread or _of_vectors(hits) for hits in answers.values() if hits]
    scores = _scores(every, spreads, options)
    return [replace(hit, score=float(one)) for hit, one in zip(every, scores, strict=True)]


def _scores(hits: Sequence[Hit], spreads: Sequence[Spread], options: SearchOptions) -> list[float]:
    """The fused score of each, between the extremes of all shards."""
    fusion, shares = fusion_of(options, spreads), is_optional(options.hybrid)
    maxsim = [_maxsim(hit) for hit in hits]
    words = [hit.found if shares else hit.bm25 for hit in hits]
    if fusion.name == "minmax":  # the extremes stand beside the hits, and are left out again
        maxsim += [min(one.low for one in spreads), max(one.high for one in spreads)]
        words += [0.0, max(one.found if shares else one.bm25 for one in spreads)]
    both = fuse(fusion, np.array(maxsim), np.array(words, dtype=np.float64))
    return [float(score) for score in both[: len(hits)]]


def _of_vectors(hits: Hits) -> Spread:
    """Of a shard that has none of the words: as far as its hits go."""
    scores = [_maxsim(hit) for hit in hits]
    return Spread(min(scores), max(scores))


def _maxsim(hit: Hit) -> float:
    return hit.score if hit.maxsim is None else hit.maxsim
