"""LangChain's own conformance suites, sync and async, without a network."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="langchain-tests is not installed")

import pytest_socket
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from metaembed_rag.index import PageIndex
from metaembed_rag.langchain import MetaEmbedEmbeddings, MetaEmbedRetriever, MetaEmbedVectorStore
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def no_network():
    """A connection raises; the event loop's own pair of Unix sockets is allowed."""
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


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


class TestVectorStoreInAFolder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path) -> VectorStore:
        return MetaEmbedVectorStore(PageIndex.open(tmp_path / "index", FakeEncoder()))
