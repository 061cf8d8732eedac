"""LlamaIndex: MetaEmbed as an embedding model and as a retriever with a retrieval budget.

::

    embedding.py  MetaEmbedEmbedding: text, images and nodes -> vectors
    retriever.py  MetaEmbedRetriever and MetaEmbedQueryBundle: a query at a budget -> nodes
    nodes.py      page_to_node: a page -> a node that keeps its text, picture and metadata
    filters.py    MetadataFilters -> Chroma's filter language

Needs the extra ``llama-index``.
"""

from metaembed_rag.errors import require

require("llama_index.core")

from metaembed_rag.llama_index.embedding import MetaEmbedEmbedding  # noqa: E402
from metaembed_rag.llama_index.filters import filters_to_where  # noqa: E402
from metaembed_rag.llama_index.nodes import PageNode, page_to_node  # noqa: E402
from metaembed_rag.llama_index.retriever import (  # noqa: E402
    MetaEmbedQueryBundle,
    MetaEmbedRetriever,
)

__all__ = [
    "MetaEmbedEmbedding",
    "MetaEmbedQueryBundle",
    "MetaEmbedRetriever",
    "PageNode",
    "filters_to_where",
    "page_to_node",
]
