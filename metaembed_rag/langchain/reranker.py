"""A LangChain document compressor that ranks documents by MaxSim at a retrieval budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from numpy.typing import NDArray
from pydantic import ConfigDict

from metaembed_rag.adapters import in_search_thread
from metaembed_rag.budget import BudgetLike
from metaembed_rag.errors import PageError
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain.documents import document_to_page, page_to_document
from metaembed_rag.langchain.searching import SearchOptions, open_query
from metaembed_rag.model.inputs import Input, Mode, page_input, query_input
from metaembed_rag.vectors.formats import quantize
from metaembed_rag.vectors.maxsim import maxsim


class MetaEmbedReranker(BaseDocumentCompressor):
    """Ranks any retriever's documents anew, with the vectors that an index holds of them.

    A document that the index holds (the same id, the same text and, where both have one, the same
    ``content_hash``) is not encoded again. The others are encoded for the occasion, their picture
    included, and are not stored.

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
            documents: From any retriever; they are left as they are.
            query: Text, a PIL image, or ``{"text": …, "image": …}``.
            callbacks: Unused, as the reranker runs nothing that reports.
        """
        budget = SearchOptions(self.budget, self.r_q, self.r_c).fixed_budget(self.index)
        budget.check(
            query_vectors=self.index.encoder.query_vectors,
            page_vectors=self.index.vectors_per_page,
        )
        if not documents:
            return []
        vectors = self._stored(documents)
        vectors |= self._encoded({i: d for i, d in enumerate(documents) if i not in vectors})
        order = sorted(vectors)
        scores = np.full(len(documents), -np.inf)
        if order:
            pages = np.stack([vectors[i] for i in order])
            scores[order] = maxsim(self._query(query), pages, budget) / budget.r_q
        ranked = np.argsort(-scores, kind="stable")[: self.top_n]
        return [_scored(documents[i], float(scores[i])) for i in ranked]

    async def acompress_documents(
        self, documents: Sequence[Document], query: Input, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """:meth:`compress_documents` in a thread."""
        return await in_search_thread(self.compress_documents, documents, query, callbacks)

    def _query(self, query: Input) -> NDArray[np.float32]:
        encoder = self.index.encoder
        return encoder.encode_query([query_input(open_query(query), encoder.modalities)])[0]

    def _stored(self, documents: Sequence[Document]) -> dict[int, NDArray[np.float32]]:
        """Vectors of the documents that the index holds, by place; each of shape (R, D)."""
        ids = {document.id for document in documents if document.id}
        pages = {page.id: page_to_document(page) for page in self.index.get(sorted(ids))}
        same = [
            i
            for i, document in enumerate(documents)
            if document.id in pages and _is_same(document, pages[document.id])
        ]
        if not same:
            return {}
        vectors = self.index.vectors([str(documents[i].id) for i in same])
        return dict(zip(same, vectors, strict=True))

    def _encoded(self, documents: dict[int, Document]) -> dict[int, NDArray[np.float32]]:
        """Vectors of documents as they would be stored, by place; each of shape (R, D)."""
        encoder = self.index.encoder
        inputs: dict[int, Input] = {}
        for place, document in documents.items():
            try:
                page = document_to_page(document, document.id or f"document {place + 1}")
                inputs[place] = page_input(page, self.mode, encoder.modalities)[1]
            except PageError as error:
                if self.on_skip is None:
                    raise
                self.on_skip(error)
        if not inputs:
            return {}
        vectors = encoder.encode_document(list(inputs.values()))[:, : self.index.vectors_per_page]
        # Rounded as stored ones are, so that a score does not tell the two apart.
        return dict(zip(inputs, quantize(vectors).dequantize(), strict=True))


def _is_same(document: Document, stored: Document) -> bool:
    hashes: list[Any] = [one.metadata.get("content_hash") for one in (document, stored)]
    return document.page_content == stored.page_content and (
        None in hashes or hashes[0] == hashes[1]
    )


def _scored(document: Document, score: float) -> Document:
    metadata = dict(document.metadata)
    for name in ("score", "relevance_score"):
        metadata.pop(name, None)
    if np.isfinite(score):
        shown = min(1.0, max(-1.0, score))
        metadata |= {"score": shown, "relevance_score": (shown + 1) / 2}
    return document.model_copy(update={"metadata": metadata})
