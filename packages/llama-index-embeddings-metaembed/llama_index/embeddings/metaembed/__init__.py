"""MetaEmbed as a multi-modal embedding model: :mod:`metaembed_rag.llama_index`."""

from metaembed_rag.llama_index import MetaEmbedEmbedding

__all__ = ["MetaEmbedEmbedding"]
