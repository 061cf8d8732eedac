"""What a search answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from metaembed_rag import html
from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import StoreError
from metaembed_rag.explanation import Explanation
from metaembed_rag.pages.page import Page, page_card

Explain = Callable[[BudgetLike | None], Explanation]
"""Explains one hit, at a budget or at that of its search."""


@dataclass(frozen=True)
class Hit:
    """A page that a search found.

    Attributes:
        rank: Counts from 1.
        score: MaxSim / r_q, in [-1, 1], so that a threshold means the same at every budget. In a
            hybrid search the fused score, in [0, 1], which compares the pages of one query only.
        page: The page, its picture as ``image_path``.
        maxsim: In a hybrid search, MaxSim / r_q; otherwise None, as that is the score.
        bm25: In a hybrid search, BM25 of the page, 0 where it has none of the words.
        confidence: The share of unrelated questions whose best page scores less than this one, in
            [0, 1]; None before the index was calibrated. Of the pages of 100 questions that have
            no answer in the index, 5 are expected to have 0.95 or more.
        snippet: The passage that matched, in one line; None where ``snippets`` were not asked for.
        found: In a hybrid search, how much of the query's words and of its pairs of words the page
            has, in [0, 3).
        shard: Of a federated search, the name of the shard that the page is in.
        explainer: Whom :meth:`explain` asks; not part of a pickle or copy.
    """

    rank: int
    score: float
    page: Page
    maxsim: float | None = None
    bm25: float | None = None
    confidence: float | None = None
    snippet: str | None = None
    found: float | None = None
    shard: str | None = None
    explainer: Explain | None = field(default=None, compare=False, repr=False)

    def explain(self, budget: BudgetLike | None = None) -> Explanation:
        """Say why the page matched: see :meth:`metaembed_rag.PageIndex.explain`.

        It is of the page as the index has it now.

        Args:
            budget: That of the search by default.

        Raises:
            StoreError: The index is gone, or the hit is a copy that never knew it.
        """
        if self.explainer is None:
            raise StoreError("this hit knows no index, as a pickled one: index.explain(query, hit)")
        return self.explainer(budget)

    def __getstate__(self) -> dict[str, Any]:
        """Its fields; an index does not travel with its hits."""
        return {**vars(self), "explainer": None}

    def _repr_html_(self) -> str:
        """Show the hit's card in a notebook."""
        return html.fragment(html.row([hit_card(self)]))


@dataclass(frozen=True)
class SearchPlan:
    """How the pages of one search were found.

    Attributes:
        way: ``"cascade"``, ``"candidates"``, ``"exhaustive"``, ``"auto"`` (a calibrated cascade),
            or ``"given"`` where the caller named the pages.
        stages: For each stage the vectors a page and the pages that were scored with them; the
            last one ranks.
        source: Where the vectors were read: ``"cache"``, ``"chroma"`` where none can be kept, or
            the device that scored all pages, as ``"cuda"``.
        recall: With ``"auto"``, the share of the full budget's exact top k that such a search found
            when it was calibrated.
        ms: With ``"auto"``, the milliseconds expected, encoding the query aside.
        note: What is doubtful about the calibration; ``""`` for nothing.
        words: How the words of the query counted, or why they did not where they were to count
            if they can (``hybrid="auto"``); ``""`` where they were not asked for.
    """

    way: str
    stages: tuple[tuple[int, int], ...]
    source: str = "cache"
    recall: float | None = None
    ms: float | None = None
    note: str = ""
    words: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "way": self.way,
            "stages": [{"r_c": r_c, "pages": pages} for r_c, pages in self.stages],
            "source": self.source,
            "recall": self.recall,
            "ms": None if self.ms is None else round(self.ms, 3),
            **({"note": self.note} if self.note else {}),
            **({"words": self.words} if self.words else {}),
        }


@dataclass(frozen=True)
class Spread:
    """Between what the scores lay that a hybrid search fused: what makes two searches comparable.

    Attributes:
        low: MaxSim / r_q of the worst page that was looked at.
        high: That of the best.
        bm25: BM25 of the page with the highest; 0 where words did not count.
        found: The highest of what :attr:`Hit.found` is, of the pages that were looked at.
        most: The same of all pages that may be found.
    """

    low: float
    high: float
    bm25: float = 0.0
    found: float = 0.0
    most: float = 0.0


@dataclass(frozen=True)
class MissingShard:
    """An index that took no part in a federated search.

    Attributes:
        shard: Its name.
        reason: Why, in a sentence.
    """

    shard: str
    reason: str


class Hits(list[Hit]):
    """Hits of one query, best first: a list that remembers how it was made.

    Attributes:
        query: Text, image or both; None for a search by vectors.
        budget: The budget of the scores.
        seconds: Wall time, the query's encoding included.
        scoring: What a score is: ``"maxsim"``, or ``"hybrid"`` where words took part.
        plan: How the pages were found; None where nothing was searched.
        note: Why there are no hits, where the filter lets no page pass or no page has the
            confidence that was asked for; else ``""``.
        spread: Between what the scores lay that were fused; None for a search by vectors.
        missing: Of a federated search, the indexes that took no part; the hits are those of the
            others.
    """

    def __init__(
        self,
        hits: Iterable[Hit],
        query: Any,
        budget: RetrievalBudget,
        seconds: float,
        scoring: str = "maxsim",
        plan: SearchPlan | None = None,
        note: str = "",
    ) -> None:
        super().__init__(hits)
        self.query = query
        self.budget = budget
        self.seconds = seconds
        self.scoring = scoring
        self.plan = plan
        self.note = note
        self.spread: Spread | None = None
        self.missing: tuple[MissingShard, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``metaembed search --json``; ``page`` counts from 1.

        A hybrid search adds ``"scoring"``, and to each hit ``"maxsim"`` and ``"bm25"``; one by
        ``hybrid="auto"``, too, ``"words"``: how they counted or why not. A search with the budget
        ``"auto"`` adds ``"plan"``, one whose filter lets no page pass ``"note"``.
        A hit whose text was read from a picture, or beside it, has ``"text_from"``; with
        ``snippets=True`` each has ``"snippet"``. Each of a federated search has ``"shard"``; where
        a shard took no part, ``"missing"`` says which and why.
        """
        chosen = self.plan if self.plan is not None and self.plan.way == "auto" else None
        words = "" if self.plan is None else self.plan.words
        return {
            "query": describe_query(self.query),
            "budget": [self.budget.r_q, self.budget.r_c],
            "seconds": round(self.seconds, 6),
            **({} if self.scoring == "maxsim" else {"scoring": self.scoring}),
            **({"words": words} if words else {}),
            **({} if chosen is None else {"plan": chosen.to_dict()}),
            **({"note": self.note} if self.note else {}),
            **({"missing": [vars(one) for one in self.missing]} if self.missing else {}),
            "hits": [_hit_dict(hit) for hit in self],
        }

    def _repr_html_(self) -> str:
        """Show pictures, scores, sources and the budget in a notebook."""
        return hits_html(self)


def _hit_dict(hit: Hit) -> dict[str, Any]:
    parts = {"maxsim": hit.maxsim, "bm25": hit.bm25, "confidence": hit.confidence}
    return {
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "id": hit.page.id,
        "source": hit.page.source,
        "page": hit.page.number,
        "text": hit.page.text,
        "image": hit.page.image_path,
        **({"text_from": hit.page.text_from} if hit.page.text_from else {}),
        **({} if hit.snippet is None else {"snippet": hit.snippet}),
        **({} if hit.shard is None else {"shard": hit.shard}),
    } | {name: round(value, 6) for name, value in parts.items() if value is not None}


def shown_confidence(value: float) -> str:
    """With two places, and never as 1, which it does not reach."""
    return f"{min(value, 0.99):.2f}" if value < 0.995 else "over 0.99"


def describe_query(query: Any) -> str | None:
    """The text of a query, or a note that it was an image."""
    if query is None or isinstance(query, str):
        return query
    if isinstance(query, dict):
        parts = [query.get("text") or "", "[image]" if query.get("image") is not None else ""]
        return " ".join(part for part in parts if part)
    return "[image]"


def hit_card(hit: Hit, *, max_side: int = 520) -> str:
    """Show a hit as a card of HTML: picture or text, rank, score, file and page number."""
    parts = "" if hit.bm25 is None else f" (vectors {hit.maxsim:.3f}, words {hit.bm25:.2f})"
    parts += "" if hit.confidence is None else f" · confidence {shown_confidence(hit.confidence)}"
    score = f"{hit.rank}. {hit.score:.3f}{parts}"
    return page_card(hit.page, score=score, snippet=hit.snippet or "", max_side=max_side)


def hits_html(results: Hits | Sequence[Hits], *, max_side: int = 520) -> str:
    """A fragment of HTML with each hit's picture (or text), score, source and the budget.

    Args:
        results: Hits of one search, or of several to be shown one below the other.
        max_side: Pictures are shrunk to this many pixels and embedded, so the fragment needs no
            other file.
    """
    several = [results] if isinstance(results, Hits) else list(results)
    return html.fragment("".join(_section(hits, max_side) for hits in several))


def hits_page(results: Hits | Sequence[Hits], *, max_side: int = 900) -> str:
    """A whole HTML document with the hits, for ``metaembed search --html``."""
    first = results if isinstance(results, Hits) else results[0]
    title = describe_query(first.query) or "Search"
    return html.document(title, hits_html(results, max_side=max_side))


def _section(hits: Hits, max_side: int) -> str:
    words = " · with BM25" if hits.scoring == "hybrid" else ""
    about = f"budget ({hits.budget}){words} · {len(hits)} hits · {hits.seconds * 1000:.0f} ms"
    about += f" · {hits.note}" if hits.note else ""
    cards = [hit_card(hit, max_side=max_side) for hit in hits]
    return html.section(describe_query(hits.query) or "", about, cards)
