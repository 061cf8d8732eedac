from __future__ import annotations

import asyncio

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode
from PIL import Image

from metaembed_rag.errors import BudgetError, ModelError
from metaembed_rag.index import PageIndex
from metaembed_rag.llama_index import (
    MetaEmbedQueryBundle,
    MetaEmbedRerank,
    MetaEmbedRetriever,
    MetaEmbedVectorStore,
)
from metaembed_rag.pages import Page
from tests.support.indexes import index_of

RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")


@pytest.fixture
def index(encoder) -> PageIndex:
    pages = [
        Page(source="a", text="red apples"),
        Page(source="b", text="green pears"),
        Page(source="c", text="blue whales swim", image=BLUE),
    ]
    return index_of(pages, encoder)


def given(*texts: str) -> list[NodeWithScore]:
    """Nodes of another retriever, the first being its best."""
    return [
        NodeWithScore(node=TextNode(id_=text, text=text), score=10.0 - place)
        for place, text in enumerate(texts)
    ]


def texts(nodes: list[NodeWithScore]) -> list[str]:
    return [one.node.get_content() for one in nodes]


def test_the_best_come_first_and_the_rest_is_cut_off(encoder):
    rerank = MetaEmbedRerank(encoder=encoder, top_n=2)
    assert isinstance(rerank, BaseNodePostprocessor)
    nodes = given("green pears", "blue whales", "red apples")
    best = rerank.postprocess_nodes(nodes, query_str="red apples")
    assert texts(best)[0] == "red apples"
    assert len(best) == 2
    assert best[0].score == pytest.approx(1, abs=1e-4)  # rounded to half precision
    assert [one.score for one in nodes] == [10.0, 9.0, 8.0]  # what was given is left as it was


def test_stored_vectors_are_used_and_only_others_are_encoded(index, encoder):
    nodes = MetaEmbedRetriever(index).retrieve("anything") + given("yellow lemons")
    encoder.encoded.clear()
    rerank = MetaEmbedRerank(index, top_n=4)
    for _ in range(2):
        best = rerank.postprocess_nodes(nodes, query_str="red apples")
    assert encoder.encoded == ["yellow lemons"] * 2
    hits = {hit.page.id: hit.score for hit in index.search("red apples", hybrid=False)}
    scores = {one.node.node_id: one.score for one in best}
    assert {id: scores[id] for id in hits} == pytest.approx(hits)


def test_nodes_of_a_vector_store_are_not_encoded_again(encoder):
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder))
    store.add([TextNode(id_="n", text="red apples", metadata={"title": "fruit"})])
    node = NodeWithScore(node=TextNode(id_="n", text="red apples"))
    encoder.encoded.clear()
    best = MetaEmbedRerank(store.index).postprocess_nodes([node], query_str="apples")
    assert encoder.encoded == []
    assert best[0].score == pytest.approx(store.index.search("apples", hybrid=False)[0].score)


def test_a_page_that_changed_since_is_encoded(index, encoder):
    nodes = MetaEmbedRetriever(index, similarity_top_k=1).retrieve("red apples")
    index.add([Page(source="a", text="something else")])
    encoder.encoded.clear()
    best = MetaEmbedRerank(index).postprocess_nodes(nodes, query_str="red apples")
    assert encoder.encoded == ["red apples"]
    assert best[0].score == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "query", "variable", "expected"),
    [
        ({}, {}, None, (16, 64)),
        ({}, {}, "2,4", (2, 4)),
        ({"budget": "4,8"}, {}, "2,4", (4, 8)),
        ({"budget": "4,8", "r_q": 1}, {}, None, (1, 8)),
        ({"r_q": 1, "r_c": 1}, {"budget": "8,16"}, None, (8, 16)),
        ({}, {"budget": "8,16"}, "no budget at all", (8, 16)),  # which nobody reads
        ({"budget": "4,8"}, {"r_q": 2}, "no budget at all", (2, 8)),
        ({"budget": "4,8"}, {"max_ms": 5}, None, (4, 8)),  # a limit chooses for searches only
        ({"budget": "4,8"}, {"budget": "auto"}, None, (4, 8)),
    ],
)
def test_the_budget_from_every_direction(
    index, shapes, monkeypatch, options, query, variable, expected
):
    if variable is not None:
        monkeypatch.setenv("METAEMBED_BUDGET", variable)
    nodes = MetaEmbedRetriever(index, budget="fast").retrieve("apples")
    shapes.clear()
    bundle = MetaEmbedQueryBundle("apples", **query)
    rerank = MetaEmbedRerank(index, **options)
    rerank.postprocess_nodes(nodes, bundle)
    asyncio.run(rerank.apostprocess_nodes([*nodes, *given("new")], bundle))
    assert shapes == [expected] * 3  # stored nodes twice, and the new one


def test_more_vectors_than_there_are_are_refused(index, encoder):
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        MetaEmbedRerank(index, r_c=65).postprocess_nodes(given("x"), query_str="x")
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        MetaEmbedRerank(encoder=encoder, r_q=17).postprocess_nodes(given("x"), query_str="x")


def test_pictures_take_part_on_both_sides(encoder, tmp_path):
    RED.save(tmp_path / "red.png")
    BLUE.save(tmp_path / "blue.png")
    nodes = [
        NodeWithScore(node=ImageNode(id_=name, image_path=str(tmp_path / f"{name}.png")))
        for name in ("red", "blue")
    ]
    bundle = QueryBundle("", image_path=str(tmp_path / "blue.png"))
    best = MetaEmbedRerank(encoder=encoder).postprocess_nodes(nodes, bundle)
    assert [one.node.node_id for one in best] == ["blue", "red"]


def test_async_equals_sync(index):
    rerank = MetaEmbedRerank(index)
    nodes = MetaEmbedRetriever(index).retrieve("swim")
    later = asyncio.run(rerank.apostprocess_nodes(nodes, query_str="red apples"))
    assert later == rerank.postprocess_nodes(nodes, query_str="red apples")


def test_a_node_with_nothing_to_read_comes_last_and_is_named(encoder, caplog):
    nodes = given(" ", "green pears", "red apples")
    best = MetaEmbedRerank(encoder=encoder).postprocess_nodes(nodes, query_str="red apples")
    assert texts(best) == ["red apples", "green pears", " "]
    assert best[-1].score == -1
    assert "this node comes last" in caplog.text


def test_the_score_before_can_be_kept(encoder):
    nodes = given("red apples")
    rerank = MetaEmbedRerank(encoder=encoder, keep_retrieval_score=True)
    best = rerank.postprocess_nodes(nodes, query_str="red apples")
    assert best[0].metadata["retrieval_score"] == 10.0
    assert "retrieval_score" not in nodes[0].metadata


def test_no_nodes_and_no_query(index):
    rerank = MetaEmbedRerank(index)
    assert rerank.postprocess_nodes([], query_str="x") == []
    with pytest.raises(ModelError, match="reranking needs the query"):
        rerank.postprocess_nodes(given("x"))


def test_reranking_sends_events_to_handlers_and_callbacks(index, events):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    rerank = MetaEmbedRerank(index, top_n=1, callback_manager=CallbackManager([debug]))
    best = rerank.postprocess_nodes(given("pears", "apples"), query_str="apples")
    start, search, end = events
    assert (search.class_name(), search.budget) == ("MetaEmbedSearchEvent", (16, 64))
    assert (start.class_name(), start.top_n, start.model_name) == ("ReRankStartEvent", 1, "fake")
    assert (end.class_name(), texts(end.nodes)) == ("ReRankEndEvent", ["apples"])
    ((_, ended),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert ended.payload[EventPayload.NODES] == best


def test_it_is_serialised_by_the_name_of_its_model(index):
    data = MetaEmbedRerank(index, top_n=3, budget="fast").to_dict()
    back = MetaEmbedRerank.from_dict(data)
    assert (back.model_name, back.top_n, back.budget) == ("fake", 3, "1,1")
    assert MetaEmbedRerank().model_name == "mini"
