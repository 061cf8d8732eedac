"""LangChain's own suites for embeddings, retrievers and vector stores, sync and async."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from langchain_metaembed import MetaEmbedEmbeddings, MetaEmbedRetriever, MetaEmbedVectorStore
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from metaembed_rag import Page, PageIndex
from metaembed_rag.testing import FakeEncoder


class OurEmbeddings:
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MetaEmbedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"encoder": FakeEncoder()}


class TestEmbeddingsUnit(OurEmbeddings, EmbeddingsUnitTests):
    pass


class TestEmbeddingsIntegration(OurEmbeddings, EmbeddingsIntegrationTests):
    pass


class TestRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return MetaEmbedRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        index = PageIndex.open(":memory:", FakeEncoder())
        index.add(Page(source=name, text=f"{name} apples") for name in ("red", "green", "blue"))
        return {"index": index}

    @property
    def retriever_query_example(self) -> str:
        return "red apples"


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> VectorStore:
        return MetaEmbedVectorStore(PageIndex.open(":memory:", FakeEncoder()))
