"""LlamaIndex: MetaEmbed as embedding model, retriever, vector store, reranker and reader.

::

    embedding.py     MetaEmbedEmbedding: text, images and nodes -> vectors, with a cache
    retriever.py     MetaEmbedRetriever: a query at a budget -> nodes
    vector_store.py  MetaEmbedVectorStore: nodes in a page index, for VectorStoreIndex and pipelines
    rerank.py        MetaEmbedRerank: another retriever's nodes -> the best of them
    reader.py        MetaEmbedReader: files -> documents with text and picture
    tools.py         page_tool: pages with their pictures, for agents
    chat_engines.py  page_chat_engine: conversations in which the model sees the pages
    tracing.py       MetaEmbedSearchEvent: budget, plan, milliseconds of each search
    nodes.py         page -> node or document, and any node -> page
    searching.py     what they share: the query bundle, the budget, the search
    pickling.py      components are pickled with their private parts
    filters.py       MetadataFilters -> Chroma's filter language

Needs the extra ``llama-index``.
"""

from metaembed_rag.errors import require

require("llama_index.core")

from metaembed_rag.llama_index.chat_engines import page_chat_engine  # noqa: E402
from metaembed_rag.llama_index.embedding import MetaEmbedEmbedding  # noqa: E402
from metaembed_rag.llama_index.filters import filters_to_where  # noqa: E402
from metaembed_rag.llama_index.nodes import PageNode, node_to_page, page_to_document, page_to_node  # noqa: E402
from metaembed_rag.llama_index.reader import MetaEmbedReader  # noqa: E402
from metaembed_rag.llama_index.rerank import MetaEmbedRerank  # noqa: E402
from metaembed_rag.llama_index.retriever import MetaEmbedRetriever  # noqa: E402
from metaembed_rag.llama_index.searching import MetaEmbedQueryBundle  # noqa: E402
from metaembed_rag.llama_index.tools import page_tool  # noqa: E402
from metaembed_rag.llama_index.tracing import MetaEmbedSearchEvent  # noqa: E402
from metaembed_rag.llama_index.vector_store import MetaEmbedVectorStore, StoreSideEmbedding  # noqa: E402

__all__ = [
    "MetaEmbedEmbedding",
    "MetaEmbedQueryBundle",
    "MetaEmbedReader",
    "MetaEmbedRerank",
    "MetaEmbedRetriever",
    "MetaEmbedSearchEvent",
    "MetaEmbedVectorStore",
    "PageNode",
    "StoreSideEmbedding",
    "filters_to_where",
    "node_to_page",
    "page_chat_engine",
    "page_to_document",
    "page_to_node",
    "page_tool",
]
