"""How good an index is as it stands, on questions of its user: every budget, and BM25 beside it."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation.curves import BudgetResult
from metaembed_rag.evaluation.metrics import DEPTH, METRICS, measure
from metaembed_rag.evaluation.questions import Questions, of_index, read_rows
from metaembed_rag.evaluation.reading import encode_queries
from metaembed_rag.hits import Hit, Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.options import HybridLike, check_k
from metaembed_rag.pages import Page
from metaembed_rag.progress import tqdm
from metaembed_rag.search.words import LexicalIndex

_AT_ONCE = 1_000
"""Pages that are read of the index at a time."""
_INSTEAD = 3
"""Pages that are shown of those that came before the right one."""


@dataclass(frozen=True)
class Failure:
    """A question without a right page among the first k.

    Attributes:
        question: Its text.
        wanted: Its right pages.
        rank: Where the first of them came among the pages that were looked at; None further down.
        instead: The best hits that are no right page, at most three.
    """

    question: str
    wanted: tuple[Page, ...]
    rank: int | None
    instead: tuple[Hit, ...]

    def to_dict(self) -> dict[str, Any]:
        """One entry of the report's "failures"."""
        return {
            "question": self.question,
            "wanted": [{"source": page.source, "page": page.number} for page in self.wanted],
            "rank": self.rank,
            "instead": [
                {
                    "rank": hit.rank,
                    "score": round(hit.score, 6),
                    "source": hit.page.source,
                    "page": hit.page.number,
                }
                for hit in self.instead
            ],
        }


@dataclass(frozen=True)
class SystemResult:
    """How one way of searching did.

    Attributes:
        ranks: Of each question, the rank of its first right page; None where it is not among the
            pages that were looked at (ten, or k).
        figures: Metrics, and of a budget also its time and bytes.
    """

    ranks: tuple[int | None, ...]
    figures: BudgetResult | dict[str, float]

    @property
    def at_all_budgets(self) -> bool:
        """Whether no budget was asked for, as of BM25."""
        return not isinstance(self.figures, BudgetResult)

    def failed(self, k: int) -> int:
        """How many questions have no right page among the first k."""
        return sum(rank is None or rank > k for rank in self.ranks)

    def to_dict(self, k: int) -> dict[str, Any]:
        """Its metrics, and how many questions failed."""
        figures = self.figures
        known = figures.to_dict() if isinstance(figures, BudgetResult) else dict(figures)
        return {**known, "failed": self.failed(k)}


@dataclass(frozen=True)
class IndexReport:
    """An index on questions of its user.

    Attributes:
        index: Where it is.
        model: The encoder's name.
        questions: How many were asked.
        pages: How many pages the index holds.
        k: A question has failed without a right page among so many.
        results: One a budget, as a search without further options finds pages.
        vectors_alone: The same without words, where words counted; else empty.
        bm25: The words alone; None where no page has any.
        failures: The questions that failed at :attr:`best`.
    """

    index: str
    model: str
    questions: int
    pages: int
    k: int
    results: tuple[SystemResult, ...]
    vectors_alone: tuple[SystemResult, ...]
    bm25: SystemResult | None
    failures: tuple[Failure, ...]

    @property
    def best(self) -> RetrievalBudget:
        """The largest budget that was asked for, the last one of :attr:`results`."""
        figures = self.results[-1].figures
        assert isinstance(figures, BudgetResult)
        return figures.budget

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``metaembed evaluate --index --json``."""
        alone = [one.to_dict(self.k) for one in self.vectors_alone]
        return {
            "index": self.index,
            "model": self.model,
            "questions": self.questions,
            "pages": self.pages,
            "k": self.k,
            "scoring": "hybrid" if alone else "maxsim",
            "results": [one.to_dict(self.k) for one in self.results],
            **({"vectors_alone": alone} if alone else {}),
            "bm25": None if self.bm25 is None else self.bm25.to_dict(self.k),
            "failures": [failure.to_dict() for failure in self.failures],
        }


def evaluate_index(
    index: PageIndex,
    questions: str | PathLike[str],
    *,
    budgets: Sequence[BudgetLike] | None = None,
    k: int = 5,
    hybrid: HybridLike = None,
    batch_size: int = 32,
    show_progress: bool = False,
) -> IndexReport:
    """Ask an index the questions of a file, and look where the right pages come.

    Searches are those that its users make: with the cascade, and with words where they count.

    Args:
        index: As it stands; nothing is encoded but the questions.
        questions: A CSV file with the columns question, file and page; see
            :mod:`metaembed_rag.evaluation.questions`.
        budgets: The paper's five without them, as far as the index holds so many vectors.
        k: A question fails without a right page among so many.
        hybrid: As for :meth:`metaembed_rag.PageIndex.search`.
        batch_size: Questions encoded at a time.
        show_progress: A progress bar on standard error, or in the notebook.

    Raises:
        DatasetError: The file is malformed, or names what the index does not hold.
        BudgetError: A budget makes no sense or asks for more vectors than there are.
        MissingExtraError: The extra ``eval`` is missing.
        StoreError: ``k`` is no whole number of at least 1.
    """
    check_k(k)
    rows = read_rows(questions)
    held = _Held.read(index)
    asked = of_index(rows, held.places, questions)
    chosen = _budgets(budgets, index)
    run = _Run(index, asked, max(DEPTH, k), encode_queries(index.encoder, asked.texts, batch_size))
    bar = functools.partial(tqdm, disable=not show_progress, desc="budgets")
    found = {budget: run.search(budget, hybrid) for budget in bar(chosen)}
    with_words = any(hits.scoring == "hybrid" for each in found.values() for hits in each)
    alone = {b: run.search(b, False) for b in bar(chosen)} if with_words else {}
    info = index.info()
    return IndexReport(
        index=str(info["index"]),
        model=index.encoder.name,
        questions=len(asked),
        pages=len(held.ids),
        k=k,
        results=tuple(run.result(budget, hits) for budget, hits in found.items()),
        vectors_alone=tuple(run.result(budget, hits) for budget, hits in alone.items()),
        bm25=run.words(held),
        failures=tuple(run.failures(found[chosen[-1]], k)),
    )


def _budgets(budgets: Sequence[BudgetLike] | None, index: PageIndex) -> list[RetrievalBudget]:
    """The budgets that are measured, the cheapest first."""
    most = {"query_vectors": index.encoder.query_vectors, "page_vectors": index.vectors_per_page}
    if budgets is None:
        r_q, r_c = most.values()
        return [one for one in RetrievalBudget.paper() if one.r_q <= r_q and one.r_c <= r_c]
    chosen = sorted(
        {RetrievalBudget.parse(budget) for budget in budgets}, key=lambda one: (one.r_c, one.r_q)
    )
    for budget in chosen:
        budget.check(**most)
    return chosen


@dataclass(frozen=True)
class _Held:
    """What an index holds.

    Attributes:
        ids: Of all pages.
        texts: Theirs, in the same order.
        places: Source and number -> id.
    """

    ids: list[str]
    texts: list[str]
    places: dict[tuple[str, int], str]

    @classmethod
    def read(cls, index: PageIndex) -> _Held:
        """Read it, a thousand pages at a time.

        Raises:
            DatasetError: There are no pages.
        """
        held = cls([], [], {})
        every = index.ids()
        for first in range(0, len(every), _AT_ONCE):
            for page in index.get(every[first : first + _AT_ONCE], pictures=False):
                held.ids.append(page.id)
                held.texts.append(page.text)
                held.places.setdefault((page.source, page.number), page.id)
        if not held.ids:
            raise DatasetError("the index holds no pages; fill it with `metaembed index`")
        return held


@dataclass(frozen=True)
class _Run:
    """Asks the questions.

    Args:
        index: That is asked.
        asked: The questions and the right pages.
        depth: Pages that are looked at.
        vectors: Of the questions, float32 of shape (questions, R_q, D).
    """

    index: PageIndex
    asked: Questions
    depth: int
    vectors: NDArray[np.float32]

    def search(self, budget: RetrievalBudget, hybrid: HybridLike) -> list[Hits]:
        """The hits of each question."""
        return [
            self.index.search_vectors(one, self.depth, text=text, budget=budget, hybrid=hybrid)
            for one, text in zip(self.vectors, self.asked.texts, strict=True)
        ]

    def result(self, budget: RetrievalBudget, found: Sequence[Hits]) -> SystemResult:
        """How these hits do."""
        stored = self.index.info()["bytes_per_page"]
        return self._result(
            [[hit.page.id for hit in hits] for hits in found],
            lambda per_query: BudgetResult(
                budget=budget,
                per_query=per_query,
                query_ms=statistics.median(1000 * hits.seconds for hits in found),
                bytes_per_page=round(stored * budget.r_c / self.index.vectors_per_page),
            ),
        )

    def words(self, held: _Held) -> SystemResult | None:
        """How BM25 does alone; None where no page has a word."""
        if not any(text.strip() for text in held.texts):
            return None
        stemmer = self.index.retrieval.stemmer
        lexical = LexicalIndex.build(held.ids, held.texts, stemmer=stemmer)
        rankings = []
        for text in self.asked.texts:
            scores = lexical.scores(text)
            order = np.argsort(-scores, kind="stable")[: self.depth]
            rankings.append([held.ids[place] for place in order if scores[place] > 0])
        return self._result(
            rankings,
            lambda per_query: {name: round(float(per_query[name].mean()), 4) for name in METRICS},
        )

    def _result(
        self,
        rankings: Sequence[Sequence[str]],
        figures: Callable[[dict[str, NDArray[np.float64]]], BudgetResult | dict[str, float]],
    ) -> SystemResult:
        numbers = [str(number) for number in range(len(self.asked))]
        answers = dict(zip(numbers, self.asked.answers, strict=True))
        qrels = {number: dict.fromkeys(right, 1) for number, right in answers.items()}
        per_query = measure(qrels, dict(zip(numbers, rankings, strict=True)))
        ranks = map(_rank, rankings, self.asked.answers)
        return SystemResult(tuple(ranks), figures(per_query))

    def failures(self, found: Sequence[Hits], k: int) -> Iterator[Failure]:
        """The questions without a right page among the first k."""
        for text, right, hits in zip(self.asked.texts, self.asked.answers, found, strict=True):
            rank = _rank([hit.page.id for hit in hits], right)
            if rank is None or rank > k:
                instead = [hit for hit in hits if hit.page.id not in right][:_INSTEAD]
                yield Failure(text, tuple(self.index.get(right)), rank, tuple(instead))


def _rank(ranking: Sequence[str], right: Sequence[str]) -> int | None:
    """Where the first right page is, from 1."""
    return next((rank for rank, id in enumerate(ranking, start=1) if id in right), None)
