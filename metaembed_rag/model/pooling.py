"""Unordered token vectors of late interaction into few vectors whose every prefix works alone.

ColBERT and ColPali-like models give one vector a token: 30 to 1,700 a page, in no useful order. The
methods here answer with ``vectors`` ordered unit vectors; those that are *nested* make any prefix
a coarser representation of the same page, so that a retrieval budget is a slice.

- ``coverage``: greedy. Each step adds the vector, of a Ward tree's clusters and tokens, that most
  raises Σ over tokens of their best cosine: MaxSim of the page with itself. That sum is monotone
  and submodular, so greedy selection reaches at least 1 − 1/e of the best set (Nemhauser, Wolsey
  and Fisher, 1978). Tokens far from the page's mean count more, as rare words do. What was added
  is then moved to the mean of the tokens that it serves best.
- ``kmeans``: spherical k-means of 1, 2, 4, … clusters, in which the earlier centres stay.
- ``ward``: Ward's clusters at exactly this size (Clavié et al., "Token Pooling", 2024; ColPali's
  hierarchical pooling). Better than a nested order at its own size, but a prefix means little.
- ``windows``: means over a binary tree of windows, :func:`window_means`: what dense models are
  pooled by (:mod:`metaembed_rag.model.dense`). For tokens in the order of their text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import ModelError, require

Vectors = NDArray[np.float32]
Method = Callable[[Vectors, int], Vectors]
"""Unit vectors of a page's tokens (n, D) and a number -> unit vectors, at most so many."""

_LEAVES_PER_VECTOR = 4
"""Coverage is computed on this many Ward clusters a vector: 64 of 1,000 tokens in a third of the
time that all tokens take, for 0.002 less of mean cosine."""
_LEAST_WEIGHT = np.float32(0.02)
_POLISHING = 2
_ROUNDS_OF_KMEANS = 5
_BLOCK = 16
_SAME = 1e-5


def nested_pooling(
    tokens: NDArray[np.floating], vectors: int = 64, method: str | Method = "coverage"
) -> Vectors:
    """Ordered unit vectors that stand for a page's or a query's tokens.

    Args:
        tokens: Shape (n, D), n at least 1, without padding; normalised here.
        vectors: How many to make.
        method: One of :data:`METHODS`, or a function to compare with them.

    Returns:
        float32 (vectors, D), each of length 1. Where the method finds fewer, as with few tokens,
        they are repeated from the first on, which changes no maximum. With ``coverage`` and
        ``ward`` each token itself is among them where there are fewer tokens than vectors.

    Raises:
        ModelError: No tokens, a shape or numbers that are none, or an unknown method.
    """
    if isinstance(method, str):
        if method not in _METHODS:
            raise ModelError(f"pooling {method!r} is unknown; use one of {', '.join(METHODS)}")
        method = _METHODS[method]
    found = method(_checked(tokens, vectors), vectors)
    return found[np.arange(vectors) % len(found)]


def nested_pooling_batch(
    pages: Sequence[NDArray[np.floating]], vectors: int = 64, method: str | Method = "coverage"
) -> Vectors:
    """:func:`nested_pooling` of each page: float32 (pages, vectors, D).

    Raises:
        ModelError: There are no pages, or one of them cannot be pooled.
    """
    if not len(pages):
        raise ModelError("there are no pages to pool")
    return np.stack([nested_pooling(tokens, vectors, method) for tokens in pages])


def ward(tokens: NDArray[np.floating], k: int) -> Vectors:
    """Unit means of Ward's clusters at size ``k``, largest first: float32 (k, D). Not nested.

    With fewer tokens than ``k`` they are the tokens, repeated from the first on.
    """
    return nested_pooling(tokens, k, "ward")


@dataclass(frozen=True)
class WardTree:
    """Ward's tree of n tokens: nodes 0 to n-1 are tokens, n + i is the i-th merge, the root last.

    Attributes:
        children: int (n-1, 2), the two nodes of each merge.
        sizes: int (2n-1,), tokens of each node.
        sums: float32 (2n-1, D), the sums of their tokens.
        means: float32 (2n-1, D), their unit means.
    """

    children: NDArray[np.intp]
    sizes: NDArray[np.intp]
    sums: Vectors
    means: Vectors

    @property
    def tokens(self) -> int:
        """The number of tokens, the leaves of the tree."""
        return len(self.children) + 1

    def cut(self, clusters: int) -> NDArray[np.intp]:
        """The nodes of this many clusters, at most as many as there are tokens."""
        merges = min(clusters, self.tokens) - 1
        if merges == 0:
            return np.array([len(self.sizes) - 1])
        last = self.children[len(self.children) - merges :].ravel()
        return np.sort(last[last < len(self.sizes) - merges])

    def inner(self, clusters: int) -> NDArray[np.intp]:
        """The nodes above a cut."""
        merges = min(clusters, self.tokens) - 1
        return np.arange(len(self.sizes) - merges, len(self.sizes))


def ward_tree(tokens: Vectors) -> WardTree:
    """Ward's tree of unit vectors (n, D)."""
    if len(tokens) == 1:
        return WardTree(np.empty((0, 2), np.intp), np.ones(1, np.intp), tokens, tokens)
    require("scipy")
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    # By one matrix product: scipy's own distances of 1,000 x 128 take 45 ms, this 3.
    cosines = squareform(tokens @ tokens.T, checks=False)  # (n (n - 1) / 2,)
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
    merges = linkage(distances, "ward")
    children = merges[:, :2].astype(np.intp)
    sizes = np.concatenate([np.ones(len(tokens), np.intp), merges[:, 3].astype(np.intp)])
    return WardTree(children, sizes, *_sums_and_means(tokens, children, sizes))


def _sums_and_means(
    tokens: Vectors, children: NDArray[np.intp], sizes: NDArray[np.intp]
) -> tuple[Vectors, Vectors]:
    """Of all nodes: in the tree's own order each node is a run of tokens."""
    n, starts, counts = len(tokens), [0] * len(sizes), sizes.tolist()
    for merge in range(n - 2, -1, -1):
        left, right = children[merge].tolist()
        starts[left] = starts[n + merge]
        starts[right] = starts[n + merge] + counts[left]
    start = np.array(starts)
    order = np.argsort(start[:n])
    totals = np.zeros((n + 1, tokens.shape[1]))
    np.cumsum(tokens[order], axis=0, dtype=np.float64, out=totals[1:])
    sums = (totals[start + sizes] - totals[start]).astype(np.float32)
    return sums, _unit(sums, otherwise=tokens[order][start])


def _coverage(tokens: Vectors, vectors: int) -> Vectors:
    tree = ward_tree(tokens)
    leaves = tree.cut(_LEAVES_PER_VECTOR * vectors)
    candidates = np.concatenate([leaves, tree.inner(_LEAVES_PER_VECTOR * vectors)])
    # What all tokens of a page share tells it from no other page.
    weights = np.maximum(1 - tree.means[leaves] @ tree.means[-1], _LEAST_WEIGHT)
    greedy = _Greedy(weights[:, None] * tree.sums[leaves], tree.means[candidates])
    for left in range(vectors, 0, -1):
        missed = greedy.missed
        if not missed and left < vectors:
            break
        # Fewer tokens than vectors: as soon as the room is just enough, each gets its own.
        greedy.add(only_leaves=tree.tokens < vectors and missed >= left)
    return np.array(greedy.chosen)


class _Greedy:
    """Greedy maximisation of Σ over clusters of their best match, with lazily renewed gains.

    A cluster of tokens matches a vector by the sum of its tokens' cosines. A gain only falls as
    vectors are added, so an old gain bounds the new one (Minoux, 1978).
    """

    def __init__(self, sums: Vectors, candidates: Vectors) -> None:
        self.sums = sums  # (m, D)
        self.candidates = candidates  # (c, D), the clusters' own means first
        self.matches = candidates @ sums.T  # (c, m)
        lengths = np.linalg.norm(sums, axis=1)
        self.perfect = lengths * (1 - _SAME)
        self.best = -lengths  # no match is worse
        self.gains = (self.matches - self.best).sum(1)
        self.chosen: list[Vectors] = []

    @property
    def missed(self) -> int:
        """Clusters whose own mean is not among the chosen."""
        return int((self.best < self.perfect).sum())

    def add(self, *, only_leaves: bool) -> None:
        """Choose one more; of the leaves themselves, unmoved, where that is asked."""
        limit = len(self.sums) if only_leaves else len(self.candidates)
        place = self._largest_gain(limit)
        vector, matches = self.candidates[place], self.matches[place]
        for _ in range(0 if only_leaves else _POLISHING):
            served = (matches > self.best).astype(np.float32)
            vector = _unit(served @ self.sums, otherwise=vector)
            matches = self.sums @ vector
        self.chosen.append(vector)
        np.maximum(self.best, matches, out=self.best)

    def _largest_gain(self, limit: int) -> int:
        gains = self.gains[:limit]
        if not self.chosen:
            return int(gains.argmax())
        old = np.ones(limit, bool)
        while True:
            block = gains.argpartition(-_BLOCK)[-_BLOCK:] if limit > _BLOCK else np.arange(limit)
            block = block[old[block]]
            if not len(block):
                return int(gains.argmax())
            gains[block] = np.maximum(self.matches[block] - self.best, 0).sum(1)
            old[block] = False


def _ward(tokens: Vectors, vectors: int) -> Vectors:
    if len(tokens) <= vectors:
        return tokens
    tree = ward_tree(tokens)
    nodes = tree.cut(vectors)
    return tree.means[nodes[np.argsort(-tree.sizes[nodes], kind="stable")]]


def _kmeans(tokens: Vectors, vectors: int) -> Vectors:
    chosen = _unit(tokens.sum(0, keepdims=True), otherwise=tokens[:1])
    while len(chosen) < vectors:
        best = (tokens @ chosen.T).max(1)
        centres = _farthest(tokens, best, min(len(chosen), vectors - len(chosen)))
        if not len(centres):
            break
        for _ in range(_ROUNDS_OF_KMEANS):
            centres = _recentred(tokens, centres, best)
        gains = np.maximum(centres @ tokens.T - best, 0).sum(1)
        chosen = np.concatenate([chosen, centres[np.argsort(-gains, kind="stable")]])
    return chosen


def _farthest(tokens: Vectors, best: Vectors, count: int) -> Vectors:
    """Tokens that are served worst, one after the other; fewer when all are served."""
    best = best.copy()
    found: list[Vectors] = []
    while len(found) < count and best.min() < 1 - _SAME:
        found.append(tokens[best.argmin()])
        np.maximum(best, tokens @ found[-1], out=best)
    return np.array(found)


def _recentred(tokens: Vectors, centres: Vectors, best: Vectors) -> Vectors:
    """Each centre moved to the mean of the tokens that it serves better than all others."""
    cosines = tokens @ centres.T  # (n, centres)
    served = cosines.max(1) > best
    member = np.zeros_like(cosines)
    member[served, cosines.argmax(1)[served]] = 1
    return _unit(member.T @ tokens, otherwise=centres)


def window_means(tokens: NDArray[np.floating], vectors: int) -> Vectors:
    """Means of a page's tokens over a binary tree of windows: the page, its halves, its quarters, …

    The tree is read level by level, each from the left: 1, 3, 7, 15, 31 and 63 vectors are whole
    coverings of the page. What goes beyond, as the 64th, are the first windows of the next level:
    the beginning of the page, where headings stand.

    Args:
        tokens: float (n, D) of any lengths, n at least 1, in the order of the text.
        vectors: How many to make.

    Returns:
        float32 (vectors, D), not normalised. Where a level has more windows than there are tokens,
        neighbouring windows are the same token.
    """
    node = np.arange(1, vectors + 1)
    on_level = 2 ** np.floor(np.log2(node)).astype(np.intp)
    place, n = node - on_level, len(tokens)
    starts, ends = place * n // on_level, -(-(place + 1) * n // on_level)
    totals = np.zeros((n + 1, tokens.shape[1]))
    np.cumsum(tokens, axis=0, dtype=np.float64, out=totals[1:])
    sums = totals[ends] - totals[starts]
    means: Vectors = (sums / (ends - starts)[:, None]).astype(np.float32)
    return means


def _windows(tokens: Vectors, vectors: int) -> Vectors:
    return _unit(window_means(tokens, vectors), otherwise=tokens[:1])


_METHODS: dict[str, Method] = {
    "coverage": _coverage,
    "kmeans": _kmeans,
    "ward": _ward,
    "windows": _windows,
}
METHODS = tuple(_METHODS)
"""The names of the methods, the default first: what an index may be made with."""

NESTED = ("coverage", "kmeans", "windows")
"""Those whose prefixes are the answer for fewer vectors."""


def _checked(tokens: NDArray[np.floating], vectors: int) -> Vectors:
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or not all(tokens.shape):
        raise ModelError(f"pooling takes token vectors of shape (n, D), not {tokens.shape}")
    if vectors < 1:
        raise ModelError(f"pooling makes 1 vector or more, not {vectors}")
    tokens = tokens.astype(np.float32)
    if not np.isfinite(tokens).all():
        raise ModelError("there are token vectors that are not finite numbers")
    lengths = np.linalg.norm(tokens, axis=1, keepdims=True)
    if not lengths.all():
        raise ModelError("there are token vectors of length 0; leave out padding")
    unit: Vectors = tokens / lengths
    return unit


def _unit(vectors: NDArray[np.floating], *, otherwise: Vectors) -> Vectors:
    """Normalised; where vectors cancelled each other out, ``otherwise``."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = vectors / np.maximum(lengths, _SAME)
    return np.where(lengths > _SAME, unit, otherwise).astype(np.float32)


@dataclass(frozen=True)
class Pooling:
    """How an encoder of unordered token vectors makes ordered ones.

    Args:
        method: One of :data:`METHODS`.
        query_vectors: R_q, how many it makes of a query.
        document_vectors: R_c, how many of a page.
        dimensions: Numbers of leading values with which the checkpoint's vectors were trained to
            work too, where its files do not say so themselves.

    Raises:
        ModelError: An unknown method, or a number that is not a whole number of at least 1.
    """

    method: str = METHODS[0]
    query_vectors: int = 16
    document_vectors: int = 64
    dimensions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ModelError(
                f"pooling {self.method!r} is no choice; use one of {', '.join(METHODS)}"
            )
        for value in (self.query_vectors, self.document_vectors, *self.dimensions):
            if type(value) is not int or value < 1:
                raise ModelError(f"pooling takes whole numbers of at least 1, not {value!r}")

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Pooling:
        """Read what stands after ``?`` in a model's name: ``?pooling=kmeans&query_vectors=32``.

        Raises:
            ModelError: An unknown option, or a value that makes no sense.
        """
        if unknown := sorted(set(options) - set(_OPTIONS)):
            raise ModelError(
                f"the option {unknown[0]!r} is unknown; there are {', '.join(_OPTIONS)}"
            )
        try:
            given = {name: _OPTIONS[name][1](text) for name, text in options.items()}
        except ValueError as error:
            raise ModelError(f"pooling takes whole numbers: {error}") from error
        return cls(**{_OPTIONS[name][0]: value for name, value in given.items()})

    @classmethod
    def chosen(cls, asked: Pooling | str | None, options: Mapping[str, str]) -> Pooling:
        """What an argument asks for, a method or all settings, or else a name's options.

        Raises:
            ModelError: Both say something, or one makes no sense.
        """
        if asked is None:
            return cls.from_options(options)
        if options:
            raise ModelError("give the pooling as an argument or in the model's name, not both")
        return cls(asked) if isinstance(asked, str) else asked

    def options(self) -> dict[str, str]:
        """The inverse of :meth:`from_options`; what is as by default is left out."""
        values = {name: getattr(self, field) for name, (field, _) in _OPTIONS.items()}
        return {
            name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
            if value != getattr(Pooling, _OPTIONS[name][0])
        }

    def __str__(self) -> str:
        return f"{self.method}, {self.query_vectors} a query and {self.document_vectors} a page"


_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "pooling": ("method", str),
    "query_vectors": ("query_vectors", int),
    "document_vectors": ("document_vectors", int),
    "dimensions": ("dimensions", lambda text: tuple(map(int, text.split(",")))),
}
"""The options of a model's name: which field each of them is, and what reads it."""
