"""LangChain: MetaEmbed as embeddings, retriever, vector store, reranker and loader.

::

    embeddings.py   MetaEmbedEmbeddings: text and images -> vectors
    retriever.py    MetaEmbedRetriever: text, image or both, at a budget -> documents
    vectorstore.py  MetaEmbedVectorStore: documents in, documents out; the indexing API's target
    reranker.py     MetaEmbedReranker: any retriever's documents, ranked by MaxSim at a budget
    loader.py       MetaEmbedLoader: PDFs, pictures, texts -> documents
    chat.py         content_blocks: documents -> what a chat model that reads pictures is given
    tools.py        page_tool: pages with their pictures, for agents
    documents.py    page <-> document, with nothing lost; content_key for the indexing API
    searching.py    the keywords of a search, and which of several choices holds
    tracing.py      what traces show of a search: budget, plan, milliseconds
    given.py        texts, pictures, ids and vectors as callers of the store give them
    narrowing.py    the vector store's retriever
    filters.py      filters on documents as filters on pages

Needs the extra ``langchain``.
"""

from metaembed_rag.errors import require

require("langchain_core")

from metaembed_rag.langchain.chat import content_blocks, message_content  # noqa: E402
from metaembed_rag.langchain.documents import content_key, document_to_page, page_to_document  # noqa: E402
from metaembed_rag.langchain.embeddings import MetaEmbedEmbeddings  # noqa: E402
from metaembed_rag.langchain.loader import MetaEmbedLoader  # noqa: E402
from metaembed_rag.langchain.reranker import MetaEmbedReranker  # noqa: E402
from metaembed_rag.langchain.retriever import MetaEmbedRetriever  # noqa: E402
from metaembed_rag.langchain.tools import page_tool  # noqa: E402
from metaembed_rag.langchain.vectorstore import MetaEmbedVectorStore  # noqa: E402

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
