"""A retriever over a page index, at a retrieval budget: :mod:`metaembed_rag.llama_index`."""

from metaembed_rag.llama_index import (
    MetaEmbedQueryBundle,
    MetaEmbedReader,
    MetaEmbedRetriever,
    MetaEmbedSearchEvent,
    PageNode,
    page_chat_engine,
    page_tool,
)

__all__ = [
    "MetaEmbedQueryBundle",
    "MetaEmbedReader",
    "MetaEmbedRetriever",
    "MetaEmbedSearchEvent",
    "PageNode",
    "page_chat_engine",
    "page_tool",
]
