"""A record, a query and a budget -> an explanation; and hits that can be asked for theirs."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import MissingExtraError, PageError, StoreError
from metaembed_rag.explaining.passages import PassageFinder, passages_of
from metaembed_rag.explanation import (
    SNIPPET,
    Explanation,
    MatchedWord,
    Passage,
    VectorShare,
    snippet_of,
)
from metaembed_rag.hits import Explain, Hits, describe_query
from metaembed_rag.model.inputs import Input, query_text
from metaembed_rag.model.protocol import checked_vectors
from metaembed_rag.opening import IndexModel
from metaembed_rag.options import SearchOptions
from metaembed_rag.pages import Page
from metaembed_rag.pages.lines import TextLine, boxes_of, lines_of, located, unpacked
from metaembed_rag.pages.reading import ocr_is_installed
from metaembed_rag.search.lexical_cache import LexicalCache
from metaembed_rag.search.matched_words import matched_words
from metaembed_rag.search.plan import check_budget
from metaembed_rag.search.searcher import PageSearcher
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.records import Record

_BATCH = 32
_TRIES = 3
"""Of words and text of one version of a page, which somebody may be replacing."""


@dataclass(frozen=True)
class Asked:
    """What was searched for.

    Attributes:
        query: Text, picture or both; None for vectors.
        vectors: The query's, float32 unit vectors of shape (R_q, D); None to make them of it.
        text: Its words.
    """

    query: Input | None
    vectors: NDArray[np.float32] | None = None
    text: str = ""

    @classmethod
    def of(cls, query: Input) -> Asked:
        """A query of which vectors are made when they are needed."""
        return cls(query, None, query_text(query))


@dataclass(frozen=True)
class _Question:
    """A query at a budget.

    Attributes:
        vectors: Those that take part, shape (r_q, D).
        budget: Which these are, and which of a page's.
    """

    vectors: NDArray[np.float32]
    budget: RetrievalBudget


class Explainer:
    """Explains pages of one index.

    Args:
        store: Holds the records.
        model: Scores pieces.
        searcher: Knows the pictures' places.
        lexical: The words of the pages.
    """

    def __init__(
        self, store: ChromaStore, model: IndexModel, searcher: PageSearcher, lexical: LexicalCache
    ) -> None:
        self._store, self._model = store, model
        self._searcher, self._lexical = searcher, lexical

    def explain(
        self,
        asked: Asked,
        id: str,
        budget: BudgetLike | None,
        *,
        hybrid: bool | None = None,
        ocr: bool = True,
    ) -> Explanation:
        """See :meth:`metaembed_rag.PageIndex.explain`."""
        record, words = self._record(id, asked.text, hybrid)
        question = self._question(asked, budget)
        stored = self._store.about.unpack([record], question.budget.r_c).decode()[0]
        vectors, nearest = _shares(question, stored)
        page = self._searcher.with_pictures([record.page])[0]
        lines = _lines(page, ocr=ocr)
        passages, pieces = self._passages(question, record, page, lines, nearest)
        matched = [
            replace(word, boxes=tuple(box for span in word.spans for box in boxes_of(lines, *span)))
            for word in words
        ]
        return Explanation(
            None if asked.query is None else describe_query(asked.query),
            question.budget,
            page,
            min(1.0, max(-1.0, float(nearest.mean()))),
            vectors,
            passages,
            tuple(matched),
            pieces,
        )

    def complete(self, hits: Hits, asked: Asked, *, snippets: bool | None = None) -> None:
        """Let each hit know whom to ask, and which passage matched where that is wanted.

        A hit keeps no index alive.
        """
        this = weakref.ref(self)
        for place, hit in enumerate(hits):
            ask = _asker(this, asked, hit.page.id, hits.budget, hybrid=hit.bm25 is not None)
            hits[place] = replace(hit, explainer=ask)
        if snippets and hits:
            question = self._question(asked, hits.budget)
            stored = self._store.get([hit.page.id for hit in hits], vectors=False)
            for place, hit in enumerate(hits):
                if hit.page.id in stored:
                    snippet = self._snippet(question, stored[hit.page.id])
                    hits[place] = replace(hit, snippet=snippet)

    def _snippet(self, question: _Question, record: Record) -> str:
        text = record.page.text
        if len(text) <= SNIPPET:
            return " ".join(text.split())
        nearest = np.zeros(question.budget.r_q, dtype=np.float32)
        page = self._searcher.with_pictures([record.page])[0]
        lines = unpacked(page.lines, len(text))
        return snippet_of(text, self._passages(question, record, page, lines, nearest)[0])

    def _question(self, asked: Asked, budget: BudgetLike | None) -> _Question:
        vectors = asked.vectors
        if vectors is None:
            assert asked.query is not None
            vectors = self._model.query_vectors([asked.query])[0]
        most = RetrievalBudget(len(vectors), self._store.about.vectors)
        chosen = SearchOptions(budget=budget).unchosen(most)
        check_budget(chosen, most)
        return _Question(vectors[: chosen.r_q], chosen)

    def _record(
        self, id: str, query: str, hybrid: bool | None
    ) -> tuple[Record, tuple[MatchedWord, ...]]:
        """A page, and the words of the query in the same version of it."""
        counted = bool(self._store.about.hybrid) if hybrid is None else hybrid
        for _ in range(_TRIES):
            record = self._there(id)
            words = self._words(record, query) if counted and query.strip() else ()
            if words is not None:
                return record, words
        return record, ()

    def _there(self, id: str) -> Record:
        record = self._store.get([id]).get(id)
        if record is None:
            raise StoreError(f"no page with the id {id!r}: it was deleted, or never was here")
        return record

    def _words(self, record: Record, query: str) -> tuple[MatchedWord, ...] | None:
        """The words of a query on a page; None where the page is of another version by now."""
        try:
            index = self._lexical.current()
        except MissingExtraError:
            return ()
        if record.stamp and record.stamp not in index.stamps:
            return None
        found = matched_words(index, query, record.page.id, record.page.text)
        return tuple(MatchedWord(one.word, one.weight, one.spans) for one in found)

    def _passages(
        self,
        question: _Question,
        record: Record,
        page: Page,
        lines: Sequence[TextLine],
        nearest: NDArray[np.float32],
    ) -> tuple[tuple[Passage, ...], int]:
        """The passages of a page, and how many pieces were encoded to find them.

        A page whose picture the model has read is cut as a picture, any other as a text; so is one
        that has both, where it is not known which text stands in a part of the picture.
        """
        finder = PassageFinder(question.vectors, question.budget, self._encoded)
        reads = self._model.encoder().modalities
        says = page.text.strip() != "" and "text" in reads
        image = None
        if record.mode != "text" and "image" in reads and (lines or not says):
            with suppress(PageError):  # it was deleted, or is damaged
                image = page.load_image()
        if image is not None:
            found = finder.in_picture(image, page.text, lines)
        elif "text" in reads:
            found = finder.in_text(page.text, lines)
        else:
            found = []
        return passages_of(page, found, nearest), finder.encoded

    def _encoded(self, inputs: Sequence[Input]) -> NDArray[np.float32]:
        encoder = self._model.encoder()
        made = encoder.encode_document(inputs, batch_size=_BATCH)
        vectors = checked_vectors(encoder, "document", made, len(inputs))
        return self._store.about.cut(vectors)


def _asker(
    of: weakref.ref[Explainer], asked: Asked, id: str, budget: RetrievalBudget, *, hybrid: bool
) -> Explain:
    """What a hit asks. A function: copies of a hit share it, and copy no index."""

    def explain(other: BudgetLike | None) -> Explanation:
        explainer = of()
        if explainer is None:
            raise StoreError(
                "the index of this hit is gone; keep it open as long as its hits are asked, or "
                "open it and ask index.explain(query, hit)"
            )
        return explainer.explain(asked, id, budget if other is None else other, hybrid=hybrid)

    return explain


def _shares(
    question: _Question, stored: NDArray[np.float32]
) -> tuple[tuple[VectorShare, ...], NDArray[np.float32]]:
    """What each query vector finds, and how near it is, shape (r_q,).

    Args:
        question: The query.
        stored: The page's vectors, float32 of shape (r_c, D).
    """
    similarities = question.vectors @ stored.T  # (r_q, r_c)
    chosen = similarities.argmax(axis=1)
    nearest = similarities.max(axis=1)
    shares = [
        VectorShare(number, int(page), float(near), float(near) / len(nearest))
        for number, (page, near) in enumerate(zip(chosen, nearest, strict=True))
    ]
    return tuple(shares), nearest


def _lines(page: Page, *, ocr: bool) -> tuple[TextLine, ...]:
    """Where the page's lines stand: as it was indexed, or by OCR of its kept picture."""
    kept = unpacked(page.lines, len(page.text))
    if kept or not ocr or page.image_path is None or not page.text or not ocr_is_installed():
        return kept
    from metaembed_rag.pages.ocr import read_text

    with suppress(PageError):  # the picture is gone, or takes too much
        image = page.load_image()
        if image is not None:
            return tuple(located(page.text, lines_of(read_text(image)), in_order=False))
    return ()
