from __future__ import annotations

import asyncio

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore
from llama_index.retrievers.metaembed import MetaEmbedQueryBundle, MetaEmbedRetriever

import metaembed_rag.llama_index
from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import BudgetError
from metaembed_rag.testing import FakeEncoder


@pytest.fixture
def index() -> PageIndex:
    index = PageIndex.open(":memory:", FakeEncoder())
    fruits = ("red apples", "green pears", "blue plums")
    index.add(Page(source=fruit.split()[1], text=fruit) for fruit in fruits)
    return index


def texts(nodes: list[NodeWithScore]) -> list[str]:
    return [one.node.get_content() for one in nodes]


def test_class():
    assert BaseRetriever.__name__ in [base.__name__ for base in MetaEmbedRetriever.__mro__]
    assert MetaEmbedRetriever is metaembed_rag.llama_index.MetaEmbedRetriever


def test_the_best_nodes_come_first_and_no_more_than_asked_for(index):
    nodes = MetaEmbedRetriever(index, similarity_top_k=2).retrieve("green pears")
    assert texts(nodes)[0] == "green pears"
    assert len(nodes) == 2
    assert nodes[0].score > nodes[1].score


def test_async_gives_the_same(index):
    retriever = MetaEmbedRetriever(index, similarity_top_k=1)
    assert texts(asyncio.run(retriever.aretrieve("blue plums"))) == ["blue plums"]


def test_a_query_carries_its_budget(index):
    retriever = MetaEmbedRetriever(index, similarity_top_k=1)
    assert texts(retriever.retrieve(MetaEmbedQueryBundle("red apples", budget="1,1"))) == [
        "red apples"
    ]
    with pytest.raises(BudgetError):
        retriever.retrieve(MetaEmbedQueryBundle("red apples", budget="1,1000"))
