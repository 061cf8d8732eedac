from __future__ import annotations

import asyncio
import importlib
import io
import json
import sys
from typing import Any

import numpy as np
import pytest
from llama_index.core import StorageContext
from llama_index.core.base.base_multi_modal_retriever import MultiModalRetriever
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, TextBlock
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.embeddings import BaseEmbedding, MultiModalEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import CustomLLM, LLMMetadata
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    ImageNode,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from PIL import Image
from pydantic import PrivateAttr

from metaembed_rag import errors
from metaembed_rag.errors import BudgetError, ModelError, StoreError, UnreadableFileError
from metaembed_rag.index import PageIndex
from metaembed_rag.llama_index import (
    MetaEmbedEmbedding,
    MetaEmbedQueryBundle,
    MetaEmbedRetriever,
    PageNode,
    filters_to_where,
    page_to_node,
)
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder

RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [node.node.node_id for node in nodes]


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


# -- the retriever -------------------------------------------------------------------------


def test_the_passage_that_matched_is_in_the_metadata_only_where_it_is_asked_for(index):
    plain = MetaEmbedRetriever(index).retrieve("green pears")
    assert all("snippet" not in one.node.metadata for one in plain)
    found = MetaEmbedRetriever(index, snippets=True).retrieve("green pears")
    assert found[0].node.metadata["snippet"] == "green pears"
    assert "snippet" in found[0].node.excluded_llm_metadata_keys
    assert [one.node.hash for one in found] == [one.node.hash for one in plain]
    bundle = MetaEmbedQueryBundle("green pears", snippets=True)
    only = MetaEmbedRetriever(index, node_ids=["fruit.pdf#2", "sea.pdf#1"], similarity_top_k=1)
    assert [one.node.metadata["snippet"] for one in only.retrieve(bundle)] == ["green pears"]


def test_the_page_with_the_words_comes_first_with_its_score(index):
    nodes = MetaEmbedRetriever(index, similarity_top_k=2).retrieve("red apples")
    hits = index.search("red apples", k=2)
    assert isinstance(MetaEmbedRetriever(index), BaseRetriever)
    assert ids(nodes)[0] == "fruit.pdf#1"
    assert [node.score for node in nodes] == [hit.score for hit in hits]


def test_async_retrieval_equals_sync(index):
    retriever = MetaEmbedRetriever(index, budget="4,8")
    assert run(retriever.aretrieve("blue whales")) == retriever.retrieve("blue whales")


def test_async_retrieval_leaves_the_event_loop_free(index, loop_went_on):
    async def search():
        task = asyncio.create_task(MetaEmbedRetriever(index).aretrieve("whales"))
        await asyncio.sleep(0.001)
        loop_went_on.set()
        return await task

    assert len(run(search())) == 3


def test_an_empty_index_gives_no_nodes(encoder):
    assert MetaEmbedRetriever(PageIndex.open(":memory:", encoder)).retrieve("anything") == []


# -- the budget ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "query", "expected"),
    [
        ({}, {}, (16, 64)),
        ({"budget": "fast"}, {}, (1, 1)),
        ({"budget": (4, 8)}, {}, (4, 8)),
        ({"r_q": 2, "r_c": 4}, {}, (2, 4)),
        ({"r_c": 4}, {}, (16, 4)),
        ({"budget": "full", "r_q": 8}, {}, (8, 64)),
        ({"budget": "fast"}, {"budget": "8,16"}, (8, 16)),
        ({"r_q": 1, "r_c": 1}, {"budget": "8,16"}, (8, 16)),
        ({"budget": "4,8"}, {"r_c": 16}, (4, 16)),
    ],
)
def test_the_budget_is_what_reaches_maxsim(index, shapes, options, query, expected):
    MetaEmbedRetriever(index, **options).retrieve(MetaEmbedQueryBundle("apples", **query))
    assert shapes == [expected]


def test_the_budget_changes_the_ranking(encoder):
    """One vector is the mixture of all words, so the page of one right word wins; more vectors
    find both words on the longer page."""
    index = PageIndex.open(":memory:", encoder)
    index.add(
        [
            Page(source="long", text="red apples grow beside an old stone bridge"),
            Page(source="short", text="red"),
        ]
    )
    for budget, first in (("1,1", "short#1"), ("16,64", "long#1")):
        retriever = MetaEmbedRetriever(index, budget=budget, hybrid=False)
        assert ids(retriever.retrieve("red apples"))[0] == first


def test_the_environment_gives_the_default_budget(index, shapes, monkeypatch):
    monkeypatch.setenv("METAEMBED_BUDGET", "2,4")
    MetaEmbedRetriever(index).retrieve("apples")
    MetaEmbedRetriever(index, budget="4,8").retrieve("apples")
    MetaEmbedRetriever(index, r_c=1).retrieve("apples")
    MetaEmbedRetriever(index).retrieve(MetaEmbedQueryBundle("apples", r_q=1))
    assert shapes == [(2, 4), (4, 8), (2, 1), (1, 4)]
    monkeypatch.setenv("METAEMBED_BUDGET", "16,128")
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        MetaEmbedRetriever(index).retrieve("apples")
    monkeypatch.setenv("METAEMBED_BUDGET", "plenty")
    with pytest.raises(BudgetError, match="environment variable METAEMBED_BUDGET: 'plenty'"):
        MetaEmbedRetriever(index).retrieve("apples")


@pytest.mark.parametrize("budget", [{"budget": "16,128"}, {"r_q": 17}, {"r_c": 65}])
def test_more_vectors_than_stored_are_refused(index, budget):
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        MetaEmbedRetriever(index, **budget).retrieve("apples")
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        run(MetaEmbedRetriever(index).aretrieve(MetaEmbedQueryBundle("apples", **budget)))


def test_an_index_of_few_vectors_needs_no_budget(encoder, shapes):
    index = PageIndex.open(":memory:", encoder, vectors=8)
    index.add([Page(source="a", text="apples")])
    MetaEmbedRetriever(index).retrieve("apples")
    assert shapes == [(16, 8)]


def test_candidates_limit_what_is_reranked(index, shapes):
    nodes = MetaEmbedRetriever(index, candidates=2, similarity_top_k=2).retrieve("apples")
    assert len(nodes) == 2
    with pytest.raises(StoreError, match=r"candidates \(2\) must be at least k \(3\)"):
        MetaEmbedRetriever(index, candidates=2, similarity_top_k=3).retrieve("apples")


# -- pictures in the query -----------------------------------------------------------------


def test_a_picture_alone_is_a_query(index, tmp_path):
    path = tmp_path / "blue.png"
    BLUE.save(path)
    for bundle in (
        QueryBundle("", image_path=str(path)),
        MetaEmbedQueryBundle("", image=BLUE),
        MetaEmbedQueryBundle("", image=path.read_bytes()),
        MetaEmbedQueryBundle("", image=io.BytesIO(path.read_bytes())),
    ):
        assert ids(MetaEmbedRetriever(index).retrieve(bundle))[0] == "sea.pdf#1"


def test_text_and_picture_make_one_fused_query(index, encoder, monkeypatch):
    seen = []
    real = encoder.encode_query
    monkeypatch.setattr(
        encoder, "encode_query", lambda queries, **o: seen.extend(queries) or real(queries)
    )
    MetaEmbedRetriever(index).retrieve(MetaEmbedQueryBundle("swim", image=BLUE))
    assert [(sorted(query), query["text"]) for query in seen] == [(["image", "text"], "swim")]


def test_a_missing_picture_is_named(index):
    with pytest.raises(UnreadableFileError, match=r"nowhere\.png: cannot be opened"):
        MetaEmbedRetriever(index).retrieve(QueryBundle("", image_path="nowhere.png"))


def test_the_texts_of_a_query_transform_are_searched_together(index):
    bundle = QueryBundle("?", custom_embedding_strs=["blue whales", "swim"])
    nodes = MetaEmbedRetriever(index).retrieve(bundle)
    hits = index.search("blue whales\nswim")
    assert [node.score for node in nodes] == [hit.score for hit in hits]


# -- filters -------------------------------------------------------------------------------


def flt(key: str, operator: FilterOperator, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, operator=operator, value=value)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (flt("n", FilterOperator.EQ, 2), {2}),
        (flt("n", FilterOperator.NE, 2), {1, 3}),
        (flt("n", FilterOperator.GT, 2), {3}),
        (flt("n", FilterOperator.GTE, 2), {2, 3}),
        (flt("n", FilterOperator.LT, 2), {1}),
        (flt("n", FilterOperator.LTE, 2), {1, 2}),
        (flt("n", FilterOperator.IN, [1, 3]), {1, 3}),
        (flt("n", FilterOperator.NIN, [1, 3]), {2}),
        (flt("tags", FilterOperator.CONTAINS, "a"), {1, 2}),
        (flt("tags", FilterOperator.ANY, ["a", "c"]), {1, 2, 3}),
        (flt("tags", FilterOperator.ALL, ["a", "b"]), {2}),
        (flt("tags", FilterOperator.ALL, ["a"]), {1, 2}),
        (flt("page", FilterOperator.EQ, 3), {3}),
        (flt("source", FilterOperator.EQ, "other"), set()),
    ],
    ids=lambda value: value.operator.value if isinstance(value, MetadataFilter) else "",
)
def test_every_operator_that_chroma_has_filters(encoder, one, expected):
    index = PageIndex.open(":memory:", encoder)
    tags = [["a"], ["a", "b"], ["c"]]
    index.add(
        Page(source="s", number=n, text="apples", metadata={"n": n, "tags": tags[n - 1]})
        for n in (1, 2, 3)
    )
    filters = MetadataFilters(filters=[one])
    nodes = MetaEmbedRetriever(index, filters=filters).retrieve("apples")
    assert {node.metadata["page"] for node in nodes} == expected


def test_conditions_nest():
    inner = MetadataFilters(
        filters=[flt("a", FilterOperator.EQ, 1), flt("b", FilterOperator.GT, 2)],
        condition=FilterCondition.OR,
    )
    outer = MetadataFilters(filters=[inner, flt("c", FilterOperator.EQ, "x")])
    assert filters_to_where(outer) == {
        "$and": [{"$or": [{"a": {"$eq": 1}}, {"b": {"$gt": 2}}]}, {"c": {"$eq": "x"}}]
    }
    assert filters_to_where(MetadataFilters(filters=[])) is None
    assert filters_to_where(None) is None


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([flt("a", FilterOperator.TEXT_MATCH, "")], "needs a text for \\$regex, not ''"),
        ([flt("a", FilterOperator.TEXT_MATCH_INSENSITIVE, 3)], "needs a text for \\$icontains"),
        ([flt("a", FilterOperator.IS_EMPTY, None)], "no filter operator 'is_empty'"),
        ([flt("a", FilterOperator.IN, 3)], "needs a list of values for 'in', not 3"),
        ([flt("a", FilterOperator.EQ, [1, 2])], "needs one value for '=='"),
        ([flt("a", FilterOperator.EQ, None)], "needs one value for '==', not None"),
        ([flt("a", FilterOperator.ANY, "x")], "needs a list of values for 'any' or 'all'"),
    ],
)
def test_what_chroma_cannot_filter_is_refused_by_name(index, filters, message):
    with pytest.raises(StoreError, match=message):
        MetaEmbedRetriever(index, filters=MetadataFilters(filters=filters))


def test_the_condition_not_is_refused_by_name(index):
    filters = MetadataFilters(
        filters=[flt("a", FilterOperator.EQ, 1)], condition=FilterCondition.NOT
    )
    with pytest.raises(StoreError, match="no filter condition 'not'"):
        MetaEmbedRetriever(index, filters=filters)


def test_filters_of_a_query_narrow_those_of_the_retriever(index):
    fruit = MetadataFilters(filters=[flt("source", FilterOperator.EQ, "fruit.pdf")])
    first = MetadataFilters(filters=[flt("page", FilterOperator.EQ, 1)])
    retriever = MetaEmbedRetriever(index, filters=fruit)
    assert len(retriever.retrieve("whales")) == 2
    assert ids(retriever.retrieve(MetaEmbedQueryBundle("whales", filters=first))) == ["fruit.pdf#1"]


def test_node_ids_restrict_the_search(index):
    retriever = MetaEmbedRetriever(index, node_ids=["fruit.pdf#2", "sea.pdf#1", "gone"])
    nodes = retriever.retrieve("red apples")
    assert set(ids(nodes)) == {"fruit.pdf#2", "sea.pdf#1"}
    free = {
        node.node.node_id: node.score
        for node in MetaEmbedRetriever(index, hybrid=False).retrieve("red apples")
    }
    assert {node.node.node_id: node.score for node in nodes} == {
        id: free[id] for id in ("fruit.pdf#2", "sea.pdf#1")
    }


def test_doc_ids_are_the_sources_of_pages(index):
    retriever = MetaEmbedRetriever(index, doc_ids=["fruit.pdf"])
    assert sorted(ids(retriever.retrieve("whales"))) == ["fruit.pdf#1", "fruit.pdf#2"]
    both = MetaEmbedRetriever(index, doc_ids=["fruit.pdf"], node_ids=["fruit.pdf#2", "sea.pdf#1"])
    assert ids(both.retrieve("whales")) == ["fruit.pdf#2"]
    year = MetadataFilters(filters=[flt("year", FilterOperator.EQ, 1)])
    narrowed = MetaEmbedRetriever(index, doc_ids=["fruit.pdf"], filters=year)
    assert ids(narrowed.retrieve("whales")) == ["fruit.pdf#1"]


@pytest.mark.parametrize("nothing", [{"node_ids": []}, {"doc_ids": []}])
def test_an_empty_list_of_permitted_documents_permits_none(index, nothing):
    """Read as "no restriction", it would show a user without rights everything."""
    assert MetaEmbedRetriever(index, **nothing).retrieve("apples") == []


def test_node_ids_and_similarity_top_k_go_together(index):
    retriever = MetaEmbedRetriever(index, node_ids=index.ids(), similarity_top_k=1)
    assert ids(retriever.retrieve("red apples")) == ["fruit.pdf#1"]


# -- tenants -------------------------------------------------------------------------------


def test_no_filter_of_a_query_leads_out_of_the_tenant(encoder):
    """The query's filters are joined by and: an "or" in them cannot widen the retriever's."""
    index = PageIndex.open(":memory:", encoder)
    index.add(
        Page(source=f"{tenant}.pdf", text="the secret plan", metadata={"tenant": tenant})
        for tenant in ("ours", "theirs")
    )
    ours = MetadataFilters(filters=[flt("tenant", FilterOperator.EQ, "ours")])
    theirs = [flt("tenant", FilterOperator.EQ, "theirs"), flt("page", FilterOperator.GTE, 1)]
    retriever = MetaEmbedRetriever(index, filters=ours)
    for condition in (FilterCondition.AND, FilterCondition.OR):
        wide = MetadataFilters(filters=theirs, condition=condition)
        for budget in ("fast", "full"):
            bundle = MetaEmbedQueryBundle("the secret plan", filters=wide, budget=budget)
            assert set(ids(retriever.retrieve(bundle))) <= {"ours.pdf#1"}
    assert ids(retriever.retrieve("the secret plan")) == ["ours.pdf#1"]


def test_collections_of_one_folder_do_not_see_each_other(encoder, tmp_path):
    for tenant in ("ours", "theirs"):
        index = PageIndex.open(tmp_path, encoder, collection=tenant)
        index.add([Page(source=f"{tenant}.pdf", text="the secret plan")])
    index = PageIndex.open(tmp_path, encoder, collection="ours")
    assert ids(MetaEmbedRetriever(index).retrieve("the secret plan")) == ["ours.pdf#1"]
    assert MetaEmbedRetriever(index, node_ids=["theirs.pdf#1"]).retrieve("plan") == []


# -- where a MultiModalRetriever is expected ---------------------------------------------------


def test_a_multi_modal_retriever_tells_texts_from_pictures(index, tmp_path):
    path = tmp_path / "blue.png"
    BLUE.save(path)
    index.add([Page(source="photo.png", image=BLUE)])
    retriever = MetaEmbedRetriever(index)
    assert isinstance(retriever, MultiModalRetriever)
    texts = retriever.text_retrieve("whales")
    pictures = retriever.text_to_image_retrieve("whales")
    similar = retriever.image_to_image_retrieve(str(path))
    assert sorted(ids(texts)) == ["fruit.pdf#1", "fruit.pdf#2", "sea.pdf#1"]
    assert sorted(ids(pictures)) == ["fruit.pdf#1", "photo.png#1", "sea.pdf#1"]
    assert ids(similar)[0] == "photo.png#1"
    assert run(retriever.atext_retrieve("whales")) == texts
    assert run(retriever.atext_to_image_retrieve(QueryBundle("whales"))) == pictures
    bundle = MetaEmbedQueryBundle("", image=BLUE)
    assert run(retriever.aimage_to_image_retrieve(bundle)) == similar


# -- hybrid --------------------------------------------------------------------------------


def test_hybrid_lets_words_count(index):
    nodes = MetaEmbedRetriever(index, hybrid=True).retrieve("pears")
    assert ids(nodes)[0] == "fruit.pdf#2"
    assert nodes[0].score == 1.0  # the best page in both
    with pytest.raises(StoreError, match="hybrid is 'loud'"):
        MetaEmbedRetriever(index, hybrid="loud")
    with pytest.raises(StoreError, match="node_ids cannot be combined with hybrid"):
        MetaEmbedRetriever(index, hybrid=True, node_ids=["fruit.pdf#1"]).retrieve("pears")


# -- nodes ---------------------------------------------------------------------------------


@pytest.fixture
def node(index) -> PageNode:
    return MetaEmbedRetriever(index).retrieve("red apples")[0].node


def test_a_node_keeps_text_picture_metadata_and_source(index, node):
    assert isinstance(node, ImageNode)
    assert node.text == "red apples"
    with Image.open(node.image_path) as kept:
        assert kept.size == (40, 30)
    assert node.ref_doc_id == "fruit.pdf"
    assert {key: node.metadata[key] for key in ("year", "source", "page", "image_path")} == {
        "year": 1,
        "source": "fruit.pdf",
        "page": 1,
        "image_path": node.image_path,
    }
    assert node.metadata["score"] == index.search("red apples")[0].score
    assert len(node.metadata["content_hash"]) == 32


def test_a_page_without_a_picture_is_a_text_node(index):
    node = MetaEmbedRetriever(index).retrieve("green pears")[0].node
    assert isinstance(node, TextNode) and not isinstance(node, ImageNode)
    assert type(through_docstore(node)) is type(through_vector_store(node)) is TextNode
    assert node.metadata["page"] == 2
    assert "image_path" not in node.metadata


def blocks_of(node: Node | TextNode) -> list[tuple[str, str]]:
    """Text and picture blocks as a chat LLM is given them."""
    blocks = node.get_content_blocks(MetadataMode.NONE)
    return [
        ("text", block.text) if isinstance(block, TextBlock) else ("image", str(block.path))
        for block in blocks
    ]


def through_dict(node):
    return PageNode.from_dict(node.to_dict())


def through_json(node):
    return PageNode.from_json(node.to_json())


def through_node_dict(node):
    return Node.from_dict(node.to_dict())


def through_docstore(node):
    store = SimpleDocumentStore()
    store.add_documents([node])
    return SimpleDocumentStore.from_dict(json.loads(json.dumps(store.to_dict()))).get_document(
        node.node_id
    )


def through_vector_store(node):
    return metadata_dict_to_node(node_to_metadata_dict(node))


def through_vector_store_without_text(node):
    return metadata_dict_to_node(node_to_metadata_dict(node, remove_text=True), text=node.text)


@pytest.mark.parametrize(
    "trip",
    [
        through_dict,
        through_json,
        through_node_dict,
        through_docstore,
        through_vector_store,
        through_vector_store_without_text,
    ],
)
def test_text_picture_and_metadata_survive(node, trip):
    back = trip(node)
    assert blocks_of(back) == [("text", "red apples"), ("image", node.image_path)]
    assert back.get_content() == "red apples"
    assert back.node_id == "fruit.pdf#1"
    assert back.ref_doc_id == "fruit.pdf"
    assert {key: back.metadata[key] for key in node.metadata} == node.metadata


def test_a_persisted_docstore_gives_the_picture_back(node, tmp_path):
    context = StorageContext.from_defaults()
    context.docstore.add_documents([node])
    context.persist(str(tmp_path))
    loaded = StorageContext.from_defaults(persist_dir=str(tmp_path)).docstore
    assert blocks_of(loaded.get_document(node.node_id))[1] == ("image", node.image_path)


def test_hash_and_content_hash_follow_the_picture_and_not_the_score(index, node):
    assert page_to_node(index.get(["fruit.pdf#1"])[0], score=0.5).hash == node.hash
    index.add([Page(source="fruit.pdf", text="red apples", image=BLUE, metadata={"year": 1})])
    other = page_to_node(index.get(["fruit.pdf#1"])[0])
    assert other.text == node.text
    assert other.metadata["content_hash"] != node.metadata["content_hash"]
    assert other.hash != node.hash


def test_a_name_of_ours_in_the_users_metadata_is_kept_beside(encoder):
    index = PageIndex.open(":memory:", encoder)
    index.add([Page(source="a", text="apples", metadata={"score": 7, "image_path": "x"})])
    metadata = MetaEmbedRetriever(index, hybrid=False).retrieve("apples")[0].metadata
    assert (metadata["user_score"], metadata["user_image_path"]) == (7, "x")
    assert metadata["score"] == pytest.approx(1, abs=0.01)


def test_the_llm_sees_source_and_page_but_no_bookkeeping(node):
    assert node.get_content(MetadataMode.LLM) == (
        "year: 1\nsource: fruit.pdf\npage: 1\n\nred apples"
    )


def test_a_deleted_picture_is_left_out_and_logged(index, node, caplog):
    index.delete("fruit.pdf#1")
    assert blocks_of(node) == [("text", "red apples")]
    assert "is gone" in caplog.text


# -- generation ----------------------------------------------------------------------------


class RecordingLLM(CustomLLM):
    """A chat LLM that keeps what it is given."""

    _messages: list[ChatMessage] = PrivateAttr(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_chat_model=True, context_window=32_000)

    def chat(self, messages, **kwargs) -> ChatResponse:
        self._messages.extend(messages)
        return ChatResponse(message=ChatMessage("an answer", role="assistant"))

    async def achat(self, messages, **kwargs) -> ChatResponse:
        return self.chat(messages)

    def complete(self, prompt, **kwargs):
        raise AssertionError("a multimodal engine chats")

    def stream_complete(self, prompt, **kwargs):
        raise AssertionError("a multimodal engine chats")

    def blocks(self, kind: type) -> list[Any]:
        return [block for m in self._messages for block in m.blocks if isinstance(block, kind)]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_multimodal_query_engine_hands_picture_and_text_to_the_llm(index, asynchronous):
    llm = RecordingLLM()
    retriever = MetaEmbedRetriever(index, similarity_top_k=1, budget="4,8")
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm, multimodal=True)
    ask = engine.aquery if asynchronous else engine.query
    response = run(ask("red apples")) if asynchronous else ask("red apples")
    texts = "\n".join(block.text for block in llm.blocks(TextBlock))
    pictures = [Image.open(block.resolve_image()) for block in llm.blocks(ImageBlock)]
    assert str(response) == "an answer"
    assert "red apples" in texts.replace("Query: red apples", "")
    assert [picture.getpixel((5, 5))[0] > 200 for picture in pictures] == [True]
    assert ids(response.source_nodes) == ["fruit.pdf#1"]


def test_a_query_bundle_with_a_budget_passes_through_the_engine(index, shapes):
    engine = RetrieverQueryEngine.from_args(
        MetaEmbedRetriever(index), llm=RecordingLLM(), multimodal=True
    )
    engine.query(MetaEmbedQueryBundle("apples", budget="2,4"))
    assert shapes == [(2, 4)]


def test_an_empty_index_gives_an_empty_response(encoder):
    retriever = MetaEmbedRetriever(PageIndex.open(":memory:", encoder))
    engine = RetrieverQueryEngine.from_args(retriever, llm=RecordingLLM(), multimodal=True)
    assert str(engine.query("anything")) == "Empty Response"


# -- the embedding model -------------------------------------------------------------------


@pytest.fixture
def embedding(encoder) -> MetaEmbedEmbedding:
    return MetaEmbedEmbedding(encoder)


def test_it_is_a_multi_modal_embedding():
    assert {MultiModalEmbedding, BaseEmbedding} <= set(MetaEmbedEmbedding.__mro__)


def test_the_standard_hooks_give_the_first_vector(embedding, encoder, tmp_path):
    path = tmp_path / "red.png"
    RED.save(path)
    query = encoder.encode_query(["apples"])[0, 0]
    texts = encoder.encode_document(["apples", "pears"])[:, 0]
    image = encoder.encode_document([RED])[0, 0]
    assert embedding.get_query_embedding("apples") == pytest.approx(query)
    assert embedding.get_text_embedding("apples") == pytest.approx(texts[0])
    batch = embedding.get_text_embedding_batch(["apples", "pears"])
    assert np.allclose(batch, texts)
    for given in (str(path), io.BytesIO(path.read_bytes())):
        assert embedding.get_image_embedding(given) == pytest.approx(image)
    assert np.allclose(embedding.get_image_embedding_batch([str(path)]), [image])


def test_async_hooks_equal_sync_ones(embedding, tmp_path):
    path = tmp_path / "red.png"
    RED.save(path)

    async def all_of_them():
        return [
            await embedding.aget_query_embedding("apples"),
            await embedding.aget_text_embedding("apples"),
            await embedding.aget_text_embedding_batch(["apples", "pears"]),
            await embedding.aget_image_embedding(str(path)),
            await embedding.aget_image_embedding_batch([str(path)]),
            (await embedding.aget_query_vectors(["apples"], "4,8")).tolist(),
            (await embedding.aget_document_vectors(["apples"])).tolist(),
        ]

    assert run(all_of_them()) == [
        embedding.get_query_embedding("apples"),
        embedding.get_text_embedding("apples"),
        embedding.get_text_embedding_batch(["apples", "pears"]),
        embedding.get_image_embedding(str(path)),
        embedding.get_image_embedding_batch([str(path)]),
        embedding.get_query_vectors(["apples"], "4,8").tolist(),
        embedding.get_document_vectors(["apples"]).tolist(),
    ]


def test_fault_08_a_blank_text_refuses_no_batch(embedding):
    blank, apples = embedding.get_text_embedding_batch(["", "apples"])
    assert blank == embedding.get_text_embedding(" \n") == embedding.get_text_embedding(".")
    assert apples == embedding.get_text_embedding("apples")
    with pytest.raises(ModelError, match="neither text nor an image"):
        embedding.get_query_embedding("")


def test_all_ordered_vectors_are_at_hand(embedding):
    assert embedding.get_query_vectors(["a", "b", "c"]).shape == (3, 16, 64)
    assert embedding.get_document_vectors(["a", RED]).shape == (2, 64, 64)
    assert embedding.get_query_vectors(["a"], budget="4,8").shape == (1, 4, 64)
    assert embedding.get_document_vectors(["a"], budget="4,8").shape == (1, 8, 64)


def test_a_pipeline_embeds_picture_and_text_of_a_node_together(embedding, encoder, tmp_path):
    path = tmp_path / "red.png"
    RED.save(path)
    nodes = [
        TextNode(text="pears"),
        ImageNode(image_path=str(path)),
        ImageNode(text="apples", image_path=str(path)),
    ]
    expected = encoder.encode_document(["pears", RED, {"text": "apples", "image": RED}])[:, 0]
    embedded = IngestionPipeline(transformations=[embedding], disable_cache=True).run(nodes=nodes)
    assert np.allclose([node.embedding for node in embedded], expected)
    assert np.allclose([n.embedding for n in run(embedding.acall(nodes))], expected)


def test_a_text_only_model_reads_pictures_by_ocr(monkeypatch, tmp_path):
    from metaembed_rag.pages import ocr

    monkeypatch.setattr(ocr, "read_text", lambda image: "seen by ocr")
    encoder = FakeEncoder(modalities=["text"])
    path = tmp_path / "red.png"
    RED.save(path)
    vector = MetaEmbedEmbedding(encoder).get_image_embedding(str(path))
    assert vector == pytest.approx(encoder.encode_document(["seen by ocr"])[0, 0])


def test_it_is_serialised_by_the_name_of_its_model(encoder):
    data = MetaEmbedEmbedding(encoder, embed_batch_size=7).to_dict()
    back = MetaEmbedEmbedding.from_dict(data)
    assert data["class_name"] == "MetaEmbedEmbedding"
    assert (back.model_name, back.embed_batch_size) == ("fake", 7)
    assert MetaEmbedEmbedding().model_name == "mini"


def first(array) -> list[float]:
    return array[0, 0].tolist()


def test_the_cache_keeps_queries_pages_and_models_apart(encoder):
    """LlamaIndex keys its cache by the text alone."""
    store = SimpleKVStore()
    embedding = MetaEmbedEmbedding(encoder, embeddings_cache=store)
    other = FakeEncoder(seed=1)
    for _ in range(2):
        assert embedding.get_text_embedding("apples") == first(encoder.encode_document(["apples"]))
        assert embedding.get_query_embedding("apples") == first(encoder.encode_query(["apples"]))
        again = MetaEmbedEmbedding(other, embeddings_cache=store)
        assert again.get_text_embedding("apples") == first(other.encode_document(["apples"]))
    keys = list(store.get_all(collection="metaembed_embeddings"))
    assert len(keys) == 3
    assert sum(encoder.fingerprint in key for key in keys) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_cached_is_not_encoded_again(encoder, tmp_path, asynchronous):
    path = tmp_path / "red.png"
    RED.save(path)
    embedding = MetaEmbedEmbedding(encoder, embeddings_cache=SimpleKVStore())

    def texts() -> Any:
        if asynchronous:
            return run(embedding.aget_text_embedding_batch(["apples", "pears", "apples"]))
        return embedding.get_text_embedding_batch(["apples", "pears", "apples"])

    def image() -> Any:
        if asynchronous:
            return run(embedding.aget_image_embedding(str(path)))
        return embedding.get_image_embedding(path.read_bytes())

    before = [texts(), image()]
    count = len(encoder.encoded)
    assert count == 3  # two texts and a picture
    assert [texts(), image()] == before
    assert len(encoder.encoded) == count


def test_the_cache_looks_at_the_pixels_and_not_at_the_path(encoder, tmp_path):
    path = tmp_path / "one.png"
    embedding = MetaEmbedEmbedding(encoder, embeddings_cache=SimpleKVStore())
    for image in (RED, BLUE):
        image.save(path)
        expected = first(encoder.encode_document([image]))
        assert embedding.get_image_embedding(str(path)) == expected
        fused = {"text": "x", "image": image}
        node = ImageNode(text="x", image_path=str(path))
        embedding([node])
        assert node.embedding == first(encoder.encode_document([fused]))


def test_a_cache_set_later_is_kept_apart_too(encoder):
    embedding = MetaEmbedEmbedding(encoder)
    embedding.embeddings_cache = SimpleKVStore()
    assert embedding.get_text_embedding("apples") != embedding.get_query_embedding("pears")
    assert embedding.get_text_embedding("apples") == first(encoder.encode_document(["apples"]))
    embedding.get_query_embedding("apples")
    assert embedding.embeddings_cache is None  # out of LlamaIndex's reach
    with pytest.raises(ModelError, match=r"a dict; give one of LlamaIndex's key-value stores"):
        MetaEmbedEmbedding(encoder, embeddings_cache={})


def names(events: list[Any]) -> list[str]:
    return [event.class_name() for event in events]


def test_pictures_send_the_same_events_as_texts(embedding, events, tmp_path):
    """LlamaIndex sends none for pictures."""
    path = tmp_path / "red.png"
    RED.save(path)
    embedding.get_text_embedding("apples")
    embedding.get_image_embedding(str(path))
    run(embedding.aget_image_embedding(str(path)))
    embedding([ImageNode(image_path=str(path), text="apples")])
    assert names(events) == ["EmbeddingStartEvent", "EmbeddingEndEvent"] * 4
    assert events[2].model_dict["model_name"] == "fake"
    assert events[3].chunks == [str(path)]
    assert len(events[3].embeddings[0]) == 64


def test_retrieval_sends_events_to_handlers_and_callbacks(index, events):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    retriever = MetaEmbedRetriever(index, callback_manager=CallbackManager([debug]))
    nodes = retriever.retrieve("apples")
    run(retriever.aretrieve("apples"))
    said = ["RetrievalStartEvent", "MetaEmbedSearchEvent", "RetrievalEndEvent"]
    assert names(events) == said * 2
    assert ids(events[2].nodes) == ids(nodes)
    pairs = debug.get_event_pairs(CBEventType.RETRIEVE)
    assert [ids(end.payload[EventPayload.NODES]) for _, end in pairs] == [ids(nodes)] * 2


# -- without the framework -----------------------------------------------------------------


def test_without_llama_index_the_error_says_what_to_install(monkeypatch):
    for name in list(sys.modules):
        if name.startswith("metaembed_rag.llama_index"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llama_index.core", None)
    with pytest.raises(errors.MissingExtraError, match=r"pip install '\.\[llama-index"):
        importlib.import_module("metaembed_rag.llama_index")


def test_words_count_by_default_and_both_scores_are_in_the_metadata(index, monkeypatch):
    found = MetaEmbedRetriever(index).retrieve("green pears")[0]
    hit = index.search("green pears")[0]
    assert (found.score, found.metadata["maxsim_score"]) == (1.0, hit.maxsim)
    assert found.metadata["bm25_score"] == hit.bm25
    assert "_score" not in found.node.get_content(MetadataMode.LLM)
    alone = MetaEmbedRetriever(index, hybrid=False).retrieve("green pears")[0]
    assert found.node.hash == alone.node.hash
    given = MetaEmbedRetriever(index, hybrid="auto", node_ids=["fruit.pdf#2"])
    assert given.retrieve("green pears")[0].score == pytest.approx(hit.maxsim)
    monkeypatch.setitem(sys.modules, "bm25s", None)
    without = MetaEmbedRetriever(index).retrieve("green pears")[0]
    assert "bm25_score" not in without.metadata
    assert without.score == pytest.approx(hit.maxsim)
