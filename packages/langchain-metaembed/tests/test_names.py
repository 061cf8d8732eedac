"""The names of this package are those of metaembed_rag.langchain."""

from __future__ import annotations

import langchain_metaembed
import pytest
from langchain_core.documents import Document
from langchain_metaembed import MetaEmbedReranker

import metaembed_rag.langchain
from metaembed_rag import PageIndex
from metaembed_rag.testing import FakeEncoder


def test_every_name_is_the_one_of_metaembed_rag():
    assert set(langchain_metaembed.__all__) == set(metaembed_rag.langchain.__all__)
    for name in langchain_metaembed.__all__:
        assert getattr(langchain_metaembed, name) is getattr(metaembed_rag.langchain, name)


def test_a_reranker_puts_the_document_with_the_words_of_the_query_first():
    reranker = MetaEmbedReranker(index=PageIndex.open(":memory:", FakeEncoder()), top_n=1)
    documents = [Document("green pears"), Document("red apples")]
    (best,) = reranker.compress_documents(documents, "red apples")
    assert best.page_content == "red apples"
    assert best.metadata["score"] == pytest.approx(1, abs=1e-3)
