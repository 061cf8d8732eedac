"""A LangChain retriever over a page index, at a retrieval budget."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import ConfigDict

from metaembed_rag.adapters import in_search_thread
from metaembed_rag.budget import BudgetLike
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain.searching import (
    SEARCH_KEYWORDS,
    SearchOptions,
    check_keywords,
    hit_document,
)
from metaembed_rag.model.inputs import Input
from metaembed_rag.search.fusion import HybridLike


class MetaEmbedRetriever(BaseRetriever):
    """Pages of a :class:`metaembed_rag.PageIndex` as documents, best first.

    Few vectors choose pages, MaxSim at the budget ``(r_q, r_c)`` ranks them; the score in a
    document's metadata is MaxSim / r_q in [-1, 1]. A query is a text, a PIL image, or
    ``{"text": …, "image": …}`` (the image a path, bytes or a PIL image) for both in one query.

    Every field can be given to the constructor, by ``ConfigurableField`` and ``with_config``; and
    all but ``index`` also to ``invoke``, ``batch`` and ``bind``, where any other keyword raises a
    ``TypeError``. The budget is what the call says, over the fields, over the environment variable
    ``METAEMBED_BUDGET``, over all vectors that are stored. Async retrieval runs in a thread, so it
    does not block the event loop.

    Attributes:
        index: The pages.
        k: At most so many documents.
        budget: Both sides of the budget: ``"fast"``, ``"4,8"``, ``(4, 8)``; ``"auto"`` for what
            :meth:`metaembed_rag.PageIndex.calibrate` found.
        r_q: Query vectors that take part, instead of the budget's.
        r_c: Page vectors that take part, instead of the budget's.
        filter: Only pages whose metadata match, in Chroma's filter language; ``source`` and
            ``page`` are fields too. A filter given to ``invoke`` narrows this one: a page must
            pass both.
        candidates: Pages that are reranked; see :meth:`metaembed_rag.PageIndex.search`.
        exhaustive: Score every page instead of candidates.
        hybrid: Words count too: True, their weight, ``"minmax"`` or ``"rrf"``; a score is then the
            fused one, in [0, 1]. See :meth:`metaembed_rag.PageIndex.search`.
        max_ms: Milliseconds that a search may take beyond encoding the query; asks for ``"auto"``.
        min_recall: The share of the exact top k to be found; asks for ``"auto"``.

    With ``"auto"``, the plan that was chosen is in the documents' metadata as JSON:
    ``retrieval_plan``. A call's limit goes over a budget of the fields, and a call's budget over
    their limits.

    Raises:
        BudgetError: On retrieval, when the budget asks for more vectors than there are, or the
            calibration has no plan within the limits.
    """

    # A misspelt field would otherwise be dropped without a word.
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: PageIndex
    k: int = 5
    budget: BudgetLike | None = None
    r_q: int | None = None
    r_c: int | None = None
    filter: dict[str, Any] | None = None
    candidates: int | None = None
    exhaustive: bool = False
    hybrid: HybridLike = None
    max_ms: float | None = None
    min_recall: float | None = None

    def _get_relevant_documents(
        self,
        query: Input,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        **options: Any,
    ) -> list[Document]:
        return self._search(query, k, options)

    async def _aget_relevant_documents(
        self,
        query: Input,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        **options: Any,
    ) -> list[Document]:
        return await in_search_thread(self._search, query, k, options)

    def _search(self, query: Input, k: int | None, options: dict[str, Any]) -> list[Document]:
        check_keywords(options, ("k", *SEARCH_KEYWORDS))
        fields = SearchOptions(**{name: getattr(self, name) for name in SEARCH_KEYWORDS})
        chosen = SearchOptions.of(options).over(fields)
        hits = chosen.search(self.index, query, self.k if k is None else k)
        return [hit_document(hits, hit, hit.score) for hit in hits]

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """What LangSmith shows of the retriever."""
        return LangSmithRetrieverParams(
            ls_retriever_name="metaembed",
            ls_vector_store_provider="chroma",
            ls_embedding_provider="metaembed",
            ls_embedding_model=self.index.encoder.name,
        )
