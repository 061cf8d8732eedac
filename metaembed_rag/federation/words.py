"""The exact twin of a federated search: every page of every shard, words counted over all of them.

A shard's BM25 knows how rare a word is in that shard alone. Here one index of words is made of the
texts of all, which is what one index of all pages would have; slow and obvious, to measure by.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.federation.shards import LocalShard, Question
from metaembed_rag.options import Fusion, SearchOptions, is_optional
from metaembed_rag.search.fusion import fuse, weighed
from metaembed_rag.search.lexical_cache import built_of
from metaembed_rag.search.words import LexicalIndex
from metaembed_rag.store.records import StampedText


def exact_top(
    shards: Sequence[LocalShard],
    asked: Sequence[Question],
    k: int,
    options: SearchOptions,
    budget: RetrievalBudget,
) -> list[list[str]]:
    """Ids of the best ``k`` pages of each query, as one index of all pages would find them.

    Args:
        shards: Indexes that are open here.
        asked: The queries, with vectors.
        k: At most so many.
        options: Which pages may be found, and whether words count.
        budget: The vectors that take part.
    """
    if not asked:
        return []
    vectors = np.stack([one.vectors for one in asked if one.vectors is not None])
    every = [shard.index.retrieval.raw_scores(vectors, budget, options.where) for shard in shards]
    words = _pooled_words(shards) if options.hybrid else None
    tops = []
    for place, question in enumerate(asked):
        maxsim: dict[str, float] = {}
        for one in every:
            for id, score in one[place].items():
                maxsim[id] = max(score, maxsim.get(id, score))
        scores: Mapping[str, float] = maxsim
        if words is not None and question.text.strip() and maxsim:
            scores = _fused(maxsim, words, question.text, options)
        best = heapq.nsmallest(k, scores, key=lambda id: (-scores[id], id))
        tops.append(best)
    return tops


def _pooled_words(shards: Sequence[LocalShard]) -> LexicalIndex:
    """The words of all pages; of a page in several shards those of the first."""
    pages: dict[str, StampedText] = {}
    for shard in shards:
        for one in shard.index.retrieval.texts():
            pages.setdefault(one.id, one)
    ids = sorted(pages)
    return built_of([pages[id] for id in ids], shards[0].index.retrieval.stemmer)


def _fused(
    maxsim: Mapping[str, float], words: LexicalIndex, text: str, options: SearchOptions
) -> Mapping[str, float]:
    """What one index gives every page whose words count; MaxSim where no page has a word."""
    ids = list(maxsim)
    found = words.search(text).only(ids)
    fusion, counted = Fusion.parse(options.hybrid) or Fusion(), found.of(ids)
    if is_optional(options.hybrid):
        if not found.highest():
            return maxsim
        fusion, counted = weighed(found.most_found()), found.found_on(ids)
    both: Any = fuse(fusion, np.array([maxsim[id] for id in ids]), counted)
    return dict(zip(ids, both.tolist(), strict=True))
