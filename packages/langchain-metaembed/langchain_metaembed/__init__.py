"""MetaEmbed for LangChain: the classes of :mod:`metaembed_rag.langchain`, as a partner package.

::

    from langchain_metaembed import MetaEmbedEmbeddings, MetaEmbedRetriever, MetaEmbedVectorStore
"""

from metaembed_rag.langchain import (
    MetaEmbedEmbeddings,
    MetaEmbedLoader,
    MetaEmbedReranker,
    MetaEmbedRetriever,
    MetaEmbedVectorStore,
    content_blocks,
    content_key,
    document_to_page,
    message_content,
    page_to_document,
    page_tool,
)

__all__ = [
    "MetaEmbedEmbeddings",
    "MetaEmbedLoader",
    "MetaEmbedReranker",
    "MetaEmbedRetriever",
    "MetaEmbedVectorStore",
    "content_blocks",
    "content_key",
    "document_to_page",
    "message_content",
    "page_to_document",
    "page_tool",
]
