"""The retriever of the vector store."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStoreRetriever

from metaembed_rag.langchain.searching import KEYWORDS, keywords_of, options_of


class NarrowingRetriever(VectorStoreRetriever):
    """Its filter holds for every call, and a call's budget takes the place of its own.

    LangChain's own lets a call's filter replace the retriever's, and mixes two budgets.
    """

    def _get_relevant_documents(
        self, query: Any, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return super()._get_relevant_documents(
            query, run_manager=run_manager, **self._narrowed(kwargs)
        )

    async def _aget_relevant_documents(
        self, query: Any, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await super()._aget_relevant_documents(
            query, run_manager=run_manager, **self._narrowed(kwargs)
        )

    def _narrowed(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's keywords, and None for those of the retriever that they set aside."""
        call, own = (
            options_of({name: given[name] for name in KEYWORDS if name in given})
            for given in (kwargs, self.search_kwargs)
        )
        return {**kwargs, **keywords_of(call.over(own))}
