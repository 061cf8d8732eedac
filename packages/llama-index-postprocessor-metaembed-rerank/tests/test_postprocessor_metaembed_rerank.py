from __future__ import annotations

import asyncio

import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.metaembed_rerank import MetaEmbedRerank

import metaembed_rag.llama_index
from metaembed_rag.errors import ModelError
from metaembed_rag.testing import FakeEncoder


def given() -> list[NodeWithScore]:
    """Nodes of another retriever, the first being its best."""
    texts = ("green pears", "blue plums", "red apples")
    return [NodeWithScore(node=TextNode(text=text), score=3.0 - i) for i, text in enumerate(texts)]


def test_class():
    names = [base.__name__ for base in MetaEmbedRerank.__mro__]
    assert BaseNodePostprocessor.__name__ in names
    assert MetaEmbedRerank is metaembed_rag.llama_index.MetaEmbedRerank


def test_the_best_come_first_and_the_rest_is_cut_off():
    rerank = MetaEmbedRerank(encoder=FakeEncoder(), top_n=2)
    best = rerank.postprocess_nodes(given(), query_bundle=QueryBundle("red apples"))
    assert len(best) == 2
    assert best[0].node.get_content() == "red apples"
    assert best[0].score == pytest.approx(1, abs=1e-3)


def test_async_gives_the_same():
    rerank = MetaEmbedRerank(encoder=FakeEncoder(), top_n=1)
    (best,) = asyncio.run(rerank.apostprocess_nodes(given(), query_str="blue plums"))
    assert best.node.get_content() == "blue plums"


def test_no_nodes_give_none_and_no_query_is_an_error():
    rerank = MetaEmbedRerank(encoder=FakeEncoder())
    assert rerank.postprocess_nodes([], query_str="anything") == []
    with pytest.raises(ModelError, match="needs the query"):
        rerank.postprocess_nodes(given())
