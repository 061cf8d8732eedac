"""What the package's pooling methods must beat: one Ward tree, the first tokens, random tokens.

An index cannot be made with these; :func:`metaembed_rag.model.pooling.nested_pooling` takes them in
place of a name. ``tree`` was behind ``coverage`` and ``ward`` nearly everywhere
(docs/checkpoints.md).
"""

from __future__ import annotations

import numpy as np

from metaembed_rag.model import pooling
from metaembed_rag.model.pooling import Method, Vectors, ward_tree


def tree(tokens: Vectors, vectors: int) -> Vectors:
    """One Ward tree from the root down; each split adds the child less like its parent."""
    grown = ward_tree(tokens)
    order = [len(grown.sizes) - 1]
    for merge in range(grown.tokens - 2, max(grown.tokens - 1 - vectors, -1), -1):
        children = grown.children[merge]
        alike = grown.means[children] @ grown.means[grown.tokens + merge]
        order.append(children[alike.argmin()])
    return grown.means[order]


def first(tokens: Vectors, vectors: int) -> Vectors:
    """The first tokens."""
    return tokens[:vectors]


def random(tokens: Vectors, vectors: int) -> Vectors:
    """Tokens in an order that depends on their number only."""
    return tokens[np.random.default_rng(0).permutation(len(tokens))[:vectors]]


METHODS: dict[str, str | Method] = {
    "coverage": "coverage",
    "tree": tree,
    "kmeans": "kmeans",
    "ward": "ward",
    "first": first,
    "random": random,
}
"""Name in tables -> what to pool with, the package's default first."""

NESTED = (*(name for name in pooling.NESTED if name in METHODS), "tree", "first", "random")
"""Those whose prefixes are the answer for fewer vectors; ``windows`` has ``benchmarks.dense``."""
