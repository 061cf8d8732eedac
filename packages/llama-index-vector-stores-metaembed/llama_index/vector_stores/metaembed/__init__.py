"""Nodes with all their vectors in a page index: :mod:`metaembed_rag.llama_index`."""

from metaembed_rag.llama_index import (
    MetaEmbedReader,
    MetaEmbedVectorStore,
    StoreSideEmbedding,
    filters_to_where,
)

__all__ = ["MetaEmbedReader", "MetaEmbedVectorStore", "StoreSideEmbedding", "filters_to_where"]
