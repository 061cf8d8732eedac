"""A LangChain retriever over a page index, at a retrieval budget."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import ConfigDict

from metaembed_rag.adapters import both_filters, open_image
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.index import Input, PageIndex
from metaembed_rag.langchain.documents import page_to_document


class MetaEmbedRetriever(BaseRetriever):
    """Pages of a :class:`metaembed_rag.PageIndex` as documents, best first.

    Candidates by the first vector, then MaxSim at the budget ``(r_q, r_c)``; the score in a
    document's metadata is MaxSim / r_q in [-1, 1]. A query is a text, a PIL image, or
    ``{"text": …, "image": …}`` (the image a path, bytes or a PIL image) for both in one query.

    Every field can be given to the constructor, by ``ConfigurableField`` and ``with_config``; and
    ``k``, ``r_q``, ``r_c`` and ``filter`` also to ``invoke``, ``batch`` and ``bind``, where any
    other keyword raises a ``TypeError``. Async retrieval runs in a thread, so it does not block
    the event loop.

    Attributes:
        index: The pages.
        k: At most so many documents.
        r_q: Query vectors that take part; all that the model makes by default.
        r_c: Page vectors that take part; all that are stored by default.
        filter: Only pages whose metadata match, in Chroma's filter language; ``source`` and
            ``page`` are fields too. A filter given to ``invoke`` narrows this one: a page must
            pass both.
        candidates: Pages that are reranked; see :meth:`metaembed_rag.PageIndex.search`.
        exhaustive: Score every page instead of candidates.

    Raises:
        BudgetError: On retrieval, when the budget asks for more vectors than there are.
    """

    # A misspelt field would otherwise be dropped without a word.
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: PageIndex
    k: int = 5
    r_q: int | None = None
    r_c: int | None = None
    filter: dict[str, Any] | None = None
    candidates: int | None = None
    exhaustive: bool = False

    def _get_relevant_documents(
        self,
        query: Input,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        r_q: int | None = None,
        r_c: int | None = None,
        filter: dict[str, Any] | None = None,
    ) -> list[Document]:
        return self._search(query, k, r_q, r_c, filter)

    async def _aget_relevant_documents(
        self,
        query: Input,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        r_q: int | None = None,
        r_c: int | None = None,
        filter: dict[str, Any] | None = None,
    ) -> list[Document]:
        return await asyncio.to_thread(self._search, query, k, r_q, r_c, filter)

    def _search(
        self,
        query: Input,
        k: int | None,
        r_q: int | None,
        r_c: int | None,
        filter: dict[str, Any] | None,
    ) -> list[Document]:
        hits = self.index.search(
            _query(query),
            self.k if k is None else k,
            budget=self._budget(r_q, r_c),
            candidates=self.candidates,
            where=both_filters(self.filter, filter),
            exhaustive=self.exhaustive,
        )
        return [page_to_document(hit.page, hit.score) for hit in hits]

    def _budget(self, r_q: int | None, r_c: int | None) -> RetrievalBudget:
        """The call's numbers over the field's over all that is stored."""
        asked_q = self.r_q if r_q is None else r_q
        asked_c = self.r_c if r_c is None else r_c
        return RetrievalBudget(
            self.index.encoder.query_vectors if asked_q is None else asked_q,
            self.index.vectors_per_page if asked_c is None else asked_c,
        )

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """What LangSmith shows of the retriever."""
        return LangSmithRetrieverParams(
            ls_retriever_name="metaembed",
            ls_vector_store_provider="chroma",
            ls_embedding_provider="metaembed",
            ls_embedding_model=self.index.encoder.name,
        )


def _query(query: Input) -> Input:
    """The query with an image given as a path or bytes opened."""
    if isinstance(query, dict) and query.get("image") is not None:
        return {**query, "image": open_image(query["image"])}
    return query
