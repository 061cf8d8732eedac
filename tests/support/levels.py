"""Pages in levels whose neighbours a reader can see: one topic each, and queries about topics."""

from __future__ import annotations

import itertools

import numpy as np

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.search.plan import Plan, Stage
from metaembed_rag.vectors.formats import Quantized, quantize

PAGES, EDGES = 300, (0, 1, 4, 8)
FULL = RetrievalBudget(4, 8)
CASCADE = Plan(FULL, (Stage(1, 0.5), Stage(4, 0.3)))


def unit(values):
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def topics_in_levels():
    """Pages whose vectors scatter about one topic each, and queries about such topics."""
    random = np.random.default_rng(0)
    topics = unit(random.standard_normal((PAGES, 1, 32)))
    pages = quantize(unit(topics + 0.1 * random.standard_normal((PAGES, 8, 32))))
    queries = unit(topics[:40] + 0.1 * random.standard_normal((40, 4, 32)))
    levels = [
        Quantized(pages.values[:, a:b], pages.scales[:, a:b]) for a, b in itertools.pairwise(EDGES)
    ]
    return pages, levels, queries
