"""LangChain: MetaEmbed as embeddings and as a retriever with a retrieval budget.

::

    embeddings.py  MetaEmbedEmbeddings: text and images -> vectors
    retriever.py   MetaEmbedRetriever: text, image or both, at a budget -> documents
    documents.py   page_to_document: a page -> a Document that keeps its text, picture and metadata

Needs the extra ``langchain``.
"""

from metaembed_rag.errors import require

require("langchain_core")

from metaembed_rag.langchain.documents import page_to_document  # noqa: E402
from metaembed_rag.langchain.embeddings import MetaEmbedEmbeddings  # noqa: E402
from metaembed_rag.langchain.retriever import MetaEmbedRetriever  # noqa: E402

__all__ = ["MetaEmbedEmbeddings", "MetaEmbedRetriever", "page_to_document"]
