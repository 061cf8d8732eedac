"""Another retriever's nodes, ranked by late interaction: :mod:`metaembed_rag.llama_index`."""

from metaembed_rag.llama_index import MetaEmbedRerank

__all__ = ["MetaEmbedRerank"]
