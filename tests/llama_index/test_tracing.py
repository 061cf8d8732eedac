"""Each search sends an event with its budget, plan and milliseconds."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.vector_stores.types import VectorStoreQuery

from metaembed_rag.llama_index import (
    MetaEmbedQueryBundle,
    MetaEmbedRerank,
    MetaEmbedRetriever,
    MetaEmbedSearchEvent,
    MetaEmbedVectorStore,
)


def ours(events: list[Any]) -> list[MetaEmbedSearchEvent]:
    return [event for event in events if isinstance(event, MetaEmbedSearchEvent)]


def test_a_retrieval_sends_budget_plan_and_milliseconds(index, events):
    MetaEmbedRetriever(index, budget="4,8").retrieve("red apples")
    (event,) = ours(events)
    assert event.budget == (4, 8)
    assert event.plan["way"] == "cascade"
    assert event.ms > 0
    assert event.scoring == "hybrid"
    assert event.pages[0] == "fruit.pdf#1"
    assert event.class_name() == "MetaEmbedSearchEvent"
    assert event.model_dump(mode="json")["budget"] == [4, 8]


def test_it_is_of_the_span_of_its_retrieval_sync_and_async(index, events):
    retriever = MetaEmbedRetriever(index)
    retriever.retrieve(MetaEmbedQueryBundle("apples", budget="fast"))
    asyncio.run(retriever.aretrieve("whales"))
    assert [event.budget for event in ours(events)] == [(1, 1), (16, 64)]
    spans = [(event.span_id or "").partition("-")[0] for event in ours(events)]
    assert spans == ["MetaEmbedRetriever._retrieve", "MetaEmbedRetriever._retrieve"]


def test_named_nodes_and_an_empty_list_have_a_plan_too(index, events):
    MetaEmbedRetriever(index, node_ids=["sea.pdf#1"]).retrieve("apples")
    MetaEmbedRetriever(index, node_ids=[]).retrieve("apples")
    assert [event.plan.get("way") for event in ours(events)] == ["given"]


def test_the_vector_store_and_the_reranker_send_it_too(index, events):
    store = MetaEmbedVectorStore(index=index, budget="2,4")
    pages = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
    found = pages.as_retriever(similarity_top_k=2).retrieve("red apples")
    store.query(VectorStoreQuery(query_embedding=[1.0] * 64, similarity_top_k=1))
    MetaEmbedRerank(index, budget="8,16").postprocess_nodes(found, query_str="apples")
    assert [event.budget for event in ours(events)] == [(2, 4), (1, 64), (8, 16)]
