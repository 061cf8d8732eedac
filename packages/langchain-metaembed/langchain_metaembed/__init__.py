"""MetaEmbed for LangChain: what :mod:`metaembed_rag.langchain` defines, under the name of a partner.

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
