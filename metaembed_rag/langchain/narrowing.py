"""The retriever of the vector store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import LangSmithRetrieverParams
from langchain_core.vectorstores import VectorStoreRetriever

from metaembed_rag.langchain.searching import KEYWORDS, keywords_of, options_of
from metaembed_rag.langchain.tracing import asked_for, traced
from metaembed_rag.options import SearchOptions


class NarrowingRetriever(VectorStoreRetriever):
    """Its filter holds for every call, and a call's budget takes the place of its own.

    LangChain's own lets a call's filter replace the retriever's, and mixes two budgets.
    """

    def _get_relevant_documents(
        self, query: Any, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        with traced(run_manager.metadata):
            return super()._get_relevant_documents(
                query, run_manager=run_manager, **self._narrowed(kwargs)
            )

    async def _aget_relevant_documents(
        self, query: Any, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        with traced(run_manager.metadata):
            return await super()._aget_relevant_documents(
                query, run_manager=run_manager, **self._narrowed(kwargs)
            )

    def _narrowed(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's keywords, and None for those of the retriever that they set aside."""
        return {**kwargs, **keywords_of(self._options(kwargs))}

    def _options(self, kwargs: Mapping[str, Any]) -> SearchOptions:
        """What holds for a call with these keywords."""
        call, own = (
            options_of({name: given[name] for name in KEYWORDS if name in given})
            for given in (kwargs, self.search_kwargs)
        )
        return call.over(own)

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """What LangSmith shows of the retriever: LangChain's own, and what was asked for."""
        k = {**self.search_kwargs, **kwargs}.get("k")
        store: Any = self.vectorstore  # always ours, which imports this module
        asked = asked_for(lambda: self._options(kwargs).over(store.options), k, store.index)
        return cast(LangSmithRetrieverParams, {**super()._get_ls_params(**kwargs), **asked})
