"""A LangChain retriever over a page index, at a retrieval budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import ConfigDict

from metaembed_rag.adapters import SearchedIndex, SearchFields, in_search_thread, model_name
from metaembed_rag.langchain.searching import KEYWORDS, hit_document, options_of, search
from metaembed_rag.langchain.tracing import asked_for, retriever_params, traced
from metaembed_rag.model.inputs import Input
from metaembed_rag.options import SearchOptions, check_keywords


class MetaEmbedRetriever(BaseRetriever, SearchFields):
    """Pages of a :class:`metaembed_rag.PageIndex` as documents, best first.

    Few vectors choose pages, MaxSim at the budget ``(r_q, r_c)`` ranks them; the score in a
    document's metadata is MaxSim / r_q in [-1, 1], and the fused score in [0, 1] in a hybrid
    search, which it is by default where words can count; beside it stand ``maxsim_score`` and
    ``bm25_score`` then. A query is a text, a PIL image, or
    ``{"text": …, "image": …}`` (the image a path, bytes or a PIL image) for both in one query.

    Every field can be given to the constructor, by ``ConfigurableField`` and ``with_config``; and
    all but ``index`` also to ``invoke``, ``batch`` and ``bind``, where any other keyword raises a
    ``TypeError``. The budget is what the call says, over the fields, over the environment variable
    ``METAEMBED_BUDGET``, over all vectors that are stored. Async retrieval runs in a thread, so it
    does not block the event loop.

    Attributes:
        index: The pages; a :class:`metaembed_rag.FederatedIndex` searches several indexes as one:
            documents have their ``shard`` in the metadata then, and ``missing_shards`` where some
            took no part.
        k: At most so many documents.
        filter: Only pages whose metadata match, in Chroma's filter language; ``source`` and
            ``page`` are fields too. A filter given to ``invoke`` narrows this one: a page must
            pass both.
        where_document: Only pages whose text meets this condition, such as
            ``{"$contains": "net revenue"}``; it has ``$not_contains``, ``$regex``, ``$not_regex``,
            ``$and`` and ``$or``, too.
        budget: As :class:`metaembed_rag.options.SearchOptions` explains it, and so are the fields
            ``r_q``, ``r_c``, ``candidates``, ``exhaustive``, ``hybrid``, ``max_ms``,
            ``min_recall`` and ``snippets``, which puts the passage that matched into the metadata
            as ``snippet``.

    A trace (LangSmith, or any other handler) shows what was asked for as ``ls_k`` and
    ``ls_budget``, and what was done as ``metaembed``: budget, plan, milliseconds.

    With ``"auto"``, the plan that was chosen is in the documents' metadata as JSON:
    ``retrieval_plan``. A call's limit goes over a budget of the fields, and a call's budget over
    their limits.

    Raises:
        BudgetError: On retrieval, when the budget asks for more vectors than there are, or the
            calibration has no plan within the limits.
    """

    # A misspelt field would otherwise be dropped without a word.
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: SearchedIndex
    k: int = 5
    filter: dict[str, Any] | None = None
    where_document: dict[str, Any] | None = None

    def _get_relevant_documents(
        self,
        query: Input,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        **keywords: Any,
    ) -> list[Document]:
        return self._search(query, k, keywords, run_manager.metadata)

    async def _aget_relevant_documents(
        self,
        query: Input,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        **keywords: Any,
    ) -> list[Document]:
        return await in_search_thread(self._search, query, k, keywords, run_manager.metadata)

    def _search(
        self, query: Input, k: int | None, keywords: dict[str, Any], trace: dict[str, Any]
    ) -> list[Document]:
        check_keywords(keywords, ("k", *KEYWORDS))
        options = self._options(keywords)
        with traced(trace):
            hits = search(self.index, query, self.k if k is None else k, options)
        return [hit_document(hits, hit, hit.score) for hit in hits]

    def _options(self, keywords: Mapping[str, Any]) -> SearchOptions:
        """What holds for a call with these keywords."""
        fields = options_of({name: getattr(self, name) for name in KEYWORDS})
        return options_of(keywords).over(fields)

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """What LangSmith shows of the retriever: the model, and what was asked for."""
        given = {name: one for name, one in kwargs.items() if name in KEYWORDS}
        k = self.k if kwargs.get("k") is None else kwargs["k"]
        asked = asked_for(lambda: self._options(given), k, self.index)
        return retriever_params(model_name(self.index), asked)
