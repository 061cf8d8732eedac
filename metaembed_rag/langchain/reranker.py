"""A LangChain document compressor that ranks documents by MaxSim at a retrieval budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict

from metaembed_rag.adapters import in_search_thread
from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import PageError
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain.documents import PageMetadata, document_to_page, page_to_document
from metaembed_rag.langchain.searching import open_query
from metaembed_rag.model.inputs import Input, Mode
from metaembed_rag.options import SearchOptions
from metaembed_rag.pages import Page
from metaembed_rag.search.plan import check_budget


class MetaEmbedReranker(BaseDocumentCompressor):
    """Ranks any retriever's documents anew, with the vectors that an index holds of them.

    A document that the index holds (the same id, the same text and, where both have one, the same
    ``content_hash``) is not encoded again. The others are encoded for the occasion, their picture
    included, and are not stored. Words do not count (BM25), also where they do in a search.

    Documents come back as copies, best first, with ``score`` (MaxSim / r_q, in [-1, 1]) and
    ``relevance_score`` (the same in [0, 1]) in their metadata.

    Attributes:
        index: Where vectors are looked up; its model encodes the query and what is not stored.
        top_n: At most so many documents; None keeps all.
        budget: Both sides of the budget: ``"fast"``, ``"4,8"``, ``(4, 8)``.
        r_q: Query vectors that take part, instead of the budget's.
        r_c: Document vectors that take part, instead of the budget's.
        mode: What of a document is encoded that is not stored.
        on_skip: Called with the error of each document that cannot be encoded, which then comes
            last and without a score; without it the error is raised.

    Raises:
        BudgetError: On use, when the budget asks for more vectors than there are.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: PageIndex
    top_n: int | None = 5
    budget: BudgetLike | None = None
    r_q: int | None = None
    r_c: int | None = None
    mode: Mode = "fused"
    on_skip: Callable[[PageError], None] | None = None

    def compress_documents(
        self, documents: Sequence[Document], query: Input, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best ``top_n`` documents for a query.

        Args:
            documents: From any retriever, in any iterable; they are left as they are.
            query: Text, a PIL image, or ``{"text": …, "image": …}``.
            callbacks: Unused, as the reranker runs nothing that reports.
        """
        budget = self._budget()
        documents = list(documents)
        if not documents:
            return []
        given, names = self._given(documents)
        hits = self.index.score(
            open_query(query), given, budget=budget, mode=self.mode, on_skip=self.on_skip
        )
        scores = {hit.page.id: hit.score for hit in hits}
        found = [None if name is None else scores.get(name) for name in names]
        ranked = sorted(range(len(found)), key=lambda i: (found[i] is None, -(found[i] or 0.0)))
        return [_scored(documents[i], found[i]) for i in ranked[: self.top_n]]

    async def acompress_documents(
        self, documents: Sequence[Document], query: Input, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """:meth:`compress_documents` in a thread."""
        return await in_search_thread(self.compress_documents, documents, query, callbacks)

    def _budget(self) -> RetrievalBudget:
        """These fields' budget, over ``METAEMBED_BUDGET``, over all that is stored."""
        if self.budget is not None:
            RetrievalBudget.parse(self.budget)  # refuses "auto", which chooses for searches only
        most = RetrievalBudget(self.index.encoder.query_vectors, self.index.vectors_per_page)
        options = SearchOptions(budget=self.budget, r_q=self.r_q, r_c=self.r_c)
        budget = options.unchosen(most)
        check_budget(budget, most)
        return budget

    def _given(self, documents: Sequence[Document]) -> tuple[list[str | Page], list[str | None]]:
        """What the index is to score, and under which id it finds each document; None for none.

        A document that the index holds is scored by its id; of any other a page is made.
        """
        ids = {document.id for document in documents if document.id}
        stored = {page.id: page_to_document(page) for page in self.index.get(sorted(ids))}
        given: dict[str, str | Page] = {}
        names: list[str | None] = []
        for place, document in enumerate(documents, start=1):
            id = document.id or f"document {place}"
            if id in stored and _is_same(document, stored[id]):
                given[id] = id
                names.append(id)
                continue
            name = id
            while name in given or name in (stored if name == id else ids):
                name = f"{name} ({place})"
            page = self._page(document, name)
            names.append(None if page is None else name)
            if page is not None:
                given[name] = page
        return list(given.values()), names

    def _page(self, document: Document, id: str) -> Page | None:
        of_page = {key: document.metadata[key] for key in _OF_PAGE if key in document.metadata}
        try:
            return document_to_page(document.model_copy(update={"metadata": of_page}), id)
        except PageError as error:
            if self.on_skip is None:
                raise
            self.on_skip(error)
            return None


_OF_PAGE = ("image_path", "mime_type", "text_from_ocr", "text_from", "source", "page")
"""Metadata that make a page what it is; the rest is not scored, and need not be storable."""


def _is_same(document: Document, stored: Document) -> bool:
    hashes: list[Any] = [one.metadata.get("content_hash") for one in (document, stored)]
    return document.page_content == stored.page_content and (
        None in hashes or hashes[0] == hashes[1]
    )


def _scored(document: Document, score: float | None) -> Document:
    metadata = PageMetadata(document.metadata)
    for name in ("score", "relevance_score"):
        metadata.pop(name, None)
    if score is not None:
        metadata |= {"score": score, "relevance_score": (score + 1) / 2}
    return document.model_copy(update={"metadata": metadata})
