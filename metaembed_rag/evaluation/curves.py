"""Quality, time and bytes of a model at each retrieval budget."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import DatasetError, PageError
from metaembed_rag.evaluation.datasets import Dataset, Query, read_dataset
from metaembed_rag.evaluation.metrics import METRICS, bootstrap_interval, measure, top_pages
from metaembed_rag.evaluation.reading import PageReader, ReadingOptions, chunks, encode_queries
from metaembed_rag.model.inputs import Input
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.options import HYBRID_AUTO, Fusion, HybridLike, is_optional
from metaembed_rag.progress import tqdm
from metaembed_rag.search.fusion import fuse, weighed
from metaembed_rag.search.words import LexicalIndex
from metaembed_rag.vectors.formats import Quantized, quantize
from metaembed_rag.vectors.maxsim import maxsim_batch, maxsim_quantized

_QUERIES_AT_ONCE = 32
_BLOCK_BYTES = 64_000_000
"""Dequantised page vectors that exist at one time."""
_TIMED_QUERIES = 16


@dataclass(frozen=True)
class BudgetResult:
    """What a model achieves at one budget.

    Attributes:
        budget: The budget.
        per_query: Metric name -> float64 of shape (queries,), in the order of the set's queries.
        query_ms: Median milliseconds to score and rank all stored pages for one encoded query.
        bytes_per_page: Bytes of a stored page that the budget reads: r_c int8 vectors and their
            fp16 scales.
    """

    budget: RetrievalBudget
    per_query: Mapping[str, NDArray[np.float64]]
    query_ms: float
    bytes_per_page: int

    def mean(self, metric: str) -> float:
        """The mean of a metric over the queries, in [0, 1]."""
        return float(self.per_query[metric].mean())

    def interval(self, metric: str, *, confidence: float = 0.95) -> tuple[float, float]:
        """The bootstrap interval of that mean; see :func:`bootstrap_interval`."""
        return bootstrap_interval(self.per_query[metric], confidence=confidence)

    def to_dict(self) -> dict[str, Any]:
        """One entry of the report's "results"."""
        return (
            {"budget": [self.budget.r_q, self.budget.r_c]}
            | {metric: round(self.mean(metric), 4) for metric in METRICS}
            | {"query_ms": round(self.query_ms, 3), "bytes_per_page": self.bytes_per_page}
        )


@dataclass(frozen=True)
class EvaluationReport:
    """A model on an evaluation set.

    Attributes:
        dataset: The set's name.
        model: The encoder's name.
        mode: What of a page was encoded.
        queries: How many queries were asked.
        pages: How many pages the set has, those in ``skipped`` among them.
        results: One a budget, in the order asked for.
        skipped: Pages that were not encoded, with the reason; no query can find them.
        hybrid: How MaxSim was fused with BM25: ``minmax``, ``rrf`` or ``auto``; None where it was
            not.
    """

    dataset: str
    model: str
    mode: str
    queries: int
    pages: int
    results: tuple[BudgetResult, ...]
    skipped: tuple[PageError, ...] = ()
    hybrid: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``metaembed evaluate --json``; "hybrid" only where words counted."""
        return {
            "dataset": self.dataset,
            "model": self.model,
            "mode": self.mode,
            "queries": self.queries,
            "pages": self.pages,
            **({} if self.hybrid is None else {"hybrid": self.hybrid}),
            "results": [result.to_dict() for result in self.results],
        }


def evaluate(
    dataset: Dataset | str | PathLike[str],
    encoder: Encoder,
    *,
    budgets: Sequence[BudgetLike] | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    show_progress: bool = False,
    hybrid: HybridLike = False,
    **reading: Unpack[ReadingOptions],
) -> EvaluationReport:
    """Measure a model at retrieval budgets, as its users would meet it.

    Every page is encoded once, stored in int8 as an index stores it, and scored for every query
    without candidates, so that the ranking shows the model and not a nearest-neighbour search.

    Args:
        dataset: An evaluation set, or its folder in BEIR layout.
        encoder: The model.
        budgets: The paper's five without them, as far as the model makes so many vectors.
        limit: Ask only the first so many queries. All pages stay, so a figure is comparable with
            that of the whole set up to the choice of queries.
        batch_size: Inputs that the encoder takes at once.
        show_progress: Progress bars on standard error, or in the notebook.
        hybrid: Fuse MaxSim with BM25 of the queries' texts, as a hybrid search does. Without it
            vectors alone are measured; ``"auto"`` measures what an index does without options.
        **reading: ``mode``, ``ocr`` and ``cache_dir``: see :class:`.ReadingOptions`.

    Raises:
        DatasetError: The set is malformed, or none of its pages can be read.
        BudgetError: A budget makes no sense or asks for more vectors than the model makes.
        ModalityError: The model does not read what the mode or a query gives it.
        ModelError: There is no such mode.
        MissingExtraError: The extra ``eval``, or where needed ``ocr`` or ``hybrid``, is missing.
    """
    if not isinstance(dataset, Dataset):
        dataset = read_dataset(dataset)
    if limit is not None:
        dataset = dataset.first(limit)
    chosen = _choose_budgets(budgets, encoder)
    fusion = Fusion.parse(hybrid)
    reader = PageReader(encoder, **reading)
    bar = functools.partial(tqdm, disable=not show_progress)
    inputs = reader.read(bar(dataset.pages, desc="pages"))
    parts = list(_stored_parts(encoder, inputs, batch_size))
    if not parts:
        raise DatasetError(f"{dataset.name}: no page can be read; the first: {reader.skipped[0]}")
    pages = Quantized(*map(np.concatenate, zip(*parts, strict=True)))
    asked = (query.as_input() for query in bar(dataset.queries, desc="queries"))
    queries = encode_queries(encoder, asked, batch_size)
    words = None if fusion is None else LexicalIndex.build(reader.read_ids, reader.read_texts)
    by_query = is_optional(hybrid)
    rank = _Ranker(dataset, queries, pages, tuple(reader.read_ids), fusion, words, by_query)
    return EvaluationReport(
        dataset=dataset.name,
        model=encoder.name,
        mode=reader.mode,
        queries=len(dataset.queries),
        pages=len(dataset.pages),
        results=tuple(rank.at(budget) for budget in bar(chosen, desc="budgets")),
        skipped=tuple(reader.skipped),
        hybrid=HYBRID_AUTO if by_query else None if fusion is None else fusion.name,
    )


def _stored_parts(
    encoder: Encoder, inputs: Iterable[Input], batch_size: int
) -> Iterator[tuple[NDArray[np.int8], NDArray[np.float16]]]:
    """Values and scales of a few batches of pages at a time."""
    for some in chunks(inputs, batch_size):
        part = quantize(encoder.encode_document(some, batch_size=batch_size))
        yield part.values, part.scales


@dataclass(frozen=True)
class _Ranker:
    """Ranks all stored pages for every query of a set."""

    dataset: Dataset
    queries: NDArray[np.float32]
    pages: Quantized
    ids: tuple[str, ...]
    fusion: Fusion | None
    words: LexicalIndex | None
    by_query: bool = False
    """Whether each query has a weight of its own for its words, as with ``hybrid="auto"``."""

    def at(self, budget: RetrievalBudget) -> BudgetResult:
        scores = exhaustive_scores(self.queries, self.pages, budget)  # (queries, pages)
        for row, query in zip(scores, self.dataset.queries, strict=True):
            row[:] = self._fused(row, query)
        ranked = top_pages(scores, self.ids)
        rankings = {q.id: best for q, best in zip(self.dataset.queries, ranked, strict=True)}
        return BudgetResult(
            budget=budget,
            per_query=measure(self.dataset.qrels, rankings),
            query_ms=self._query_ms(budget),
            bytes_per_page=budget.r_c * (self.pages.values.shape[-1] + 2),
        )

    def _fused(self, maxsim: NDArray[np.float32], query: Query) -> NDArray[np.float32]:
        """One query's scores, with its words where they count; shape (pages,)."""
        if self.fusion is None or self.words is None or not query.text.strip():
            return maxsim
        fusion, counted = self.fusion, self.words.scores(query.text)
        if self.by_query:
            found = self.words.search(query.text)
            if not found.most_found():
                return maxsim
            fusion, counted = weighed(found.most_found()), found.found_on(self.ids)
        return fuse(fusion, maxsim, counted).astype(np.float32)

    def _query_ms(self, budget: RetrievalBudget) -> float:
        """Median over some queries, each scored alone from the stored form, as a search does."""
        spent = []
        timed = slice(_TIMED_QUERIES + 1)
        for vectors, query in zip(self.queries[timed], self.dataset.queries[timed], strict=True):
            start = time.perf_counter()
            scores = self._fused(maxsim_quantized(vectors, self.pages, budget), query)
            top_pages(scores[None], self.ids)
            spent.append(1000 * (time.perf_counter() - start))
        # The first one also warms caches and threads.
        return statistics.median(spent[1:] or spent)


def exhaustive_scores(
    queries: NDArray[np.float32], pages: Quantized, budget: RetrievalBudget
) -> NDArray[np.float32]:
    """MaxSim of every query and every stored page.

    Args:
        queries: float32 unit vectors, shape (queries, R_q, D).
        pages: int8 vectors of shape (pages, R_c, D) with their scales.
        budget: The vectors that take part.

    Returns:
        Raw sums, float32, shape (queries, pages). About 80 MB are held beside it at a time.
    """
    scores = np.empty((len(queries), len(pages)), dtype=np.float32)
    block = max(1, _BLOCK_BYTES // (4 * budget.r_c * pages.values.shape[-1]))
    for start in range(0, len(pages), block):
        part = slice(start, start + block)
        cut = Quantized(pages.values[part, : budget.r_c], pages.scales[part, : budget.r_c])
        vectors = cut.dequantize()  # (pages of the block, r_c, D)
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            some = slice(first, first + _QUERIES_AT_ONCE)
            scores[some, part] = maxsim_batch(queries[some], vectors, budget)
    return scores


def _choose_budgets(
    budgets: Sequence[BudgetLike] | None, encoder: Encoder
) -> list[RetrievalBudget]:
    r_q, r_c = encoder.query_vectors, encoder.document_vectors
    if budgets is None:
        return [one for one in RetrievalBudget.paper() if one.r_q <= r_q and one.r_c <= r_c]
    chosen = [RetrievalBudget.parse(budget) for budget in budgets]
    for budget in chosen:
        budget.check(query_vectors=r_q, page_vectors=r_c)
    return chosen
