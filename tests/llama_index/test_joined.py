"""What LlamaIndex's retrievers make of ours: each page once, and its ranks and scores added up."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.node_parser import HierarchicalNodeParser, get_leaf_nodes
from llama_index.core.retrievers import (
    AutoMergingRetriever,
    QueryFusionRetriever,
    RecursiveRetriever,
    RouterRetriever,
)
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    Node,
    NodeWithScore,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import RetrieverTool
from PIL import Image

from metaembed_rag.index import PageIndex
from metaembed_rag.llama_index import (
    MetaEmbedRerank,
    MetaEmbedRetriever,
    MetaEmbedVectorStore,
    page_to_document,
    page_to_node,
)
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support.calibrations import GOOD, calibrated
from tests.support.indexes import index_of

pytestmark = pytest.mark.integration

QUERIES = ["red apples", "green pears", "blue whales"]
"""Each finds other pages first and gives every page another score."""

RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")


@pytest.fixture
def index(encoder) -> PageIndex:
    """Three pages with text, one of them with a picture, and two that are pictures alone.

    Two have metadata of their own, which Chroma gives back in another order each time.
    """
    theirs = {key: key for key in "abcdefgh"}
    pages = [
        Page(source="fruit.pdf", number=1, text="red apples", image=RED, metadata=theirs),
        Page(source="fruit.pdf", number=2, text="green pears", metadata=theirs),
        Page(source="sea.pdf", number=1, text="blue whales swim"),
        Page(source="red.png", image=RED),
        Page(source="blue.png", image=BLUE),
    ]
    return index_of(pages, encoder)


class Asking(CustomLLM):
    """A model that asks the other two queries."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt, formatted=False, **kwargs):
        return CompletionResponse(text="\n".join(QUERIES[1:]))

    def stream_complete(self, prompt, formatted=False, **kwargs):
        raise AssertionError("nothing is streamed")


class FirstVector(BaseEmbedding):
    """Of a text, by an encoder that is not the index's."""

    def _get_query_embedding(self, query: str) -> list[float]:
        return FakeEncoder(seed=1).encode_query([query])[0, 0].tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return FakeEncoder(seed=1).encode_document([text])[0, 0].tolist()


def in_memory(index: PageIndex) -> BaseRetriever:
    """A retriever of another kind: LlamaIndex's own store and a flat embedding of the same pages,
    which it keeps as its own classes of nodes."""
    nodes = [page_to_node(page) for page in index.get(index.ids())]
    other = VectorStoreIndex(nodes, embed_model=FirstVector())
    return other.as_retriever(similarity_top_k=5)


def fusion(retrievers: Sequence[BaseRetriever], mode: str, **options: Any) -> BaseRetriever:
    settings = {"llm": Asking(), "num_queries": 3, "similarity_top_k": 5, "use_async": False}
    return QueryFusionRetriever(list(retrievers), mode=mode, **{**settings, **options})


def ids(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [node.node.node_id for node in nodes]


def scores(nodes: Sequence[NodeWithScore]) -> dict[str, float | None]:
    return {node.node.node_id: node.score for node in nodes}


def both_ways(retriever: BaseRetriever, query: str) -> list[NodeWithScore]:
    found = retriever.retrieve(query)
    later = asyncio.run(retriever.aretrieve(query))
    assert scores(later) == pytest.approx(scores(found))
    return found


Rankings = Sequence[Mapping[str, float]]
"""Scores by id, best first: one for each query and retriever."""


def by_ranks(rankings: Rankings) -> dict[str, float]:
    """Σ 1 / (60 + rank), as LlamaIndex counts ranks: from 0."""
    values: Counter[str] = Counter()
    for ranking in rankings:
        for rank, id in enumerate(sorted(ranking, key=lambda id: -ranking[id])):
            values[id] += 1 / (60 + rank)  # type: ignore[assignment]
    return dict(values)


def by_best(rankings: Rankings) -> dict[str, float]:
    return {id: max(ranking.get(id, -1.0) for ranking in rankings) for id in set().union(*rankings)}


def by_scores(rankings: Rankings, retrievers: int, *, by_distance: bool) -> dict[str, float]:
    """Each ranking scaled to [0, 1], then the mean of all of them."""
    values: Counter[str] = Counter()
    for ranking in rankings:
        low, high = min(ranking.values()), max(ranking.values())
        if by_distance:
            middle = statistics.fmean(ranking.values())
            spread = 3 * statistics.pstdev(ranking.values())
            low, high = middle - spread, middle + spread
        for id, score in ranking.items():
            values[id] += (score - low) / (high - low) / retrievers / 3  # type: ignore[assignment]
    return dict(values)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    "mode", ["reciprocal_rerank", "simple", "relative_score", "dist_based_score"]
)
def test_fault_07_query_fusion_adds_up_ranks_and_scores_of_each_page(index, mode, beside):
    retrievers: list[BaseRetriever] = [MetaEmbedRetriever(index)]
    retrievers += [in_memory(index)] if beside else []
    rankings: Any = [scores(one.retrieve(query)) for query in QUERIES for one in retrievers]
    expected = {
        "reciprocal_rerank": lambda: by_ranks(rankings),
        "simple": lambda: by_best(rankings),
        "relative_score": lambda: by_scores(rankings, len(retrievers), by_distance=False),
        "dist_based_score": lambda: by_scores(rankings, len(retrievers), by_distance=True),
    }[mode]()
    found = both_ways(fusion(retrievers, mode), QUERIES[0])
    assert sorted(ids(found)) == sorted(index.ids())
    assert scores(found) == pytest.approx(expected)


def test_fault_07_three_queries_that_find_three_pages_add_up_three_ranks(encoder):
    """The first of one query and the second or third of the others: 1/60 + 1/61 + 1/62, and so
    on; 1/60 alone where a query's score tells the same page apart."""
    texts = ["red apples", "green pears", "blue whales"]
    index = index_of([Page(source=text, text=text) for text in texts], encoder)
    found = both_ways(fusion([MetaEmbedRetriever(index)], "reciprocal_rerank"), QUERIES[0])
    assert len(found) == 3
    total = 3 * (1 / 60 + 1 / 61 + 1 / 62)
    assert sum(one.score or 0 for one in found) == pytest.approx(total)
    assert all(3 / 62 <= (one.score or 0) <= 3 / 60 for one in found)


@pytest.mark.parametrize("kind", ["text", "picture", "index", "node"])
def test_fault_07_the_plan_of_a_search_does_not_double_nodes(encoder, tmp_path, kind):
    RED.save(tmp_path / "red.png")
    given: dict[str, BaseNode] = {
        "text": TextNode(id_="n", text="red apples"),
        "picture": ImageNode(id_="n", text="red apples", image_path=str(tmp_path / "red.png")),
        "index": IndexNode(id_="n", text="red apples", index_id="elsewhere"),
        "node": Node(id_="n", text_resource={"text": "red apples"}),
    }
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder))
    store.add([given[kind]])
    calibrated(store.index, GOOD)
    plain, limited = (
        VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model).as_retriever(
            vector_store_kwargs=limits
        )
        for limits in ({}, {"max_ms": 50})
    )
    ((one,), (other,)) = plain.retrieve("red apples"), limited.retrieve("red apples")
    assert json.loads(other.metadata["retrieval_plan"])["budget"] == [16, 64]
    assert one.node.hash == other.node.hash
    assert isinstance(other.node, type(one.node))
    assert other.node.class_name() == one.node.class_name()
    assert len(fusion([plain, limited], "simple").retrieve("red apples")) == 1


def test_fault_07_the_score_before_reranking_does_not_double_nodes(index):
    rerank = MetaEmbedRerank(index, keep_retrieval_score=True)
    alone = {"similarity_top_k": 1, "hybrid": False}
    ways = [MetaEmbedRetriever(index, budget=b, **alone) for b in ("fast", "full")]
    ways.append(VectorStoreIndex([TextNode(text="x")], embed_model=FirstVector()).as_retriever())
    first, second, foreign = (
        rerank.postprocess_nodes(way.retrieve("red apples"), query_str="red apples")[0].node
        for way in ways
    )
    assert first.metadata["retrieval_score"] != second.metadata["retrieval_score"]
    assert first.hash == second.hash
    assert foreign.hash == TextNode(text="x").hash


# -- the hash ------------------------------------------------------------------------------


def stored_again(node: BaseNode) -> BaseNode:
    """As LlamaIndex's document store gives it back: by one of its own classes."""
    store = SimpleDocumentStore()
    store.add_documents([node])
    return store.get_document(node.node_id)


def test_fault_07_the_hash_is_the_pages_in_every_search_and_store(index):
    pages = {page.id: page_to_node(page) for page in index.get(index.ids())}
    assert len({node.hash for node in pages.values()}) == 5
    for query in QUERIES:
        for found in MetaEmbedRetriever(index).retrieve(query):
            page = pages[found.node.node_id]
            assert found.node.metadata["score"] == found.score
            assert found.node.hash == page.hash == stored_again(page).hash
            for same in (copy.deepcopy(found.node), pickle.loads(pickle.dumps(found.node))):
                assert same.hash == page.hash
                assert same.metadata == found.node.metadata


def test_fault_07_page_id_is_unique_and_no_model_reads_it(index):
    for found in MetaEmbedRetriever(index).retrieve("red apples"):
        assert found.node.metadata["page_id"] == found.node.node_id
        for mode in ("llm", "embed"):
            assert "page_id" not in found.node.get_content(metadata_mode=mode)


def test_fault_07_the_same_page_under_two_ids_is_two_pages(encoder):
    """As two tenants' copies of a file: with the same text, source and number."""
    pages = [Page(source="a.pdf", text="red apples", id=id) for id in ("ours#1", "theirs#1")]
    index = index_of(pages, encoder)
    found = fusion([MetaEmbedRetriever(index)], "reciprocal_rerank").retrieve(QUERIES[0])
    assert sorted(ids(found)) == ["ours#1", "theirs#1"]


def test_fault_07_pictures_of_anybody_without_text_and_metadata_are_kept_apart(encoder, tmp_path):
    RED.save(tmp_path / "red.png")
    BLUE.save(tmp_path / "blue.png")
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder))
    names = ["red", "blue"]
    store.add([ImageNode(id_=one, image_path=str(tmp_path / f"{one}.png")) for one in names])
    found = fusion([store.as_retriever()], "reciprocal_rerank").retrieve("a picture")
    assert sorted(ids(found)) == ["blue", "red"]


def test_documents_of_pipelines_have_the_hash_that_they_had(index):
    """A docstore of an earlier version would otherwise take every page for a changed one."""
    (page,) = index.get(["fruit.pdf#2"])
    ours = {"source": "fruit.pdf", "page": 2, "content_hash": page.content_hash()}
    metadata = {**page.metadata, **ours}
    before = Document(id_=page.id, text="green pears", metadata=metadata)
    assert page_to_document(page).hash == before.hash


# -- other retrievers ----------------------------------------------------------------------


class Everything(BaseSelector):
    """Selects all tools."""

    def _select(self, choices, query) -> SelectorResult:
        every = [SingleSelection(index=i, reason="all") for i in range(len(choices))]
        return SelectorResult(selections=every)

    async def _aselect(self, choices, query) -> SelectorResult:
        return self._select(choices, query)

    def _get_prompts(self):
        return {}

    def _update_prompts(self, prompts):
        pass


def test_fault_07_a_router_to_several_retrievers_gives_each_page_once(index):
    retrievers = [MetaEmbedRetriever(index), MetaEmbedRetriever(index, budget="fast")]
    retrievers.append(in_memory(index))
    tools = [RetrieverTool.from_defaults(one, description="pages") for one in retrievers]
    router = RouterRetriever(Everything(), tools, llm=Asking())
    assert sorted(ids(both_ways(router, "red apples"))) == sorted(index.ids())


def test_fault_07_a_recursive_retriever_gives_each_page_once(index):
    root = VectorStoreIndex(
        [IndexNode(text=f"see {name}", index_id=name) for name in ("ours", "cheap")],
        embed_model=FirstVector(),
    )
    retrievers = {
        "root": root.as_retriever(similarity_top_k=2),
        "ours": MetaEmbedRetriever(index),
        "cheap": MetaEmbedRetriever(index, budget="fast"),
    }
    recursive = RecursiveRetriever("root", retriever_dict=retrievers)
    assert sorted(ids(recursive.retrieve("red apples"))) == sorted(index.ids())


@pytest.mark.parametrize("through", ["retriever", "index"])
def test_fault_07_auto_merging_puts_the_parent_in_the_place_of_its_pieces(encoder, through):
    text = "red apples grow here. " * 6 + "green pears grow there. " * 6
    parser = HierarchicalNodeParser.from_defaults(chunk_sizes=[128, 32], chunk_overlap=0)
    nodes = parser.get_nodes_from_documents([Document(text=text), Document(text="blue whales")])
    leaves = get_leaf_nodes(nodes)
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder))
    store.add(leaves)
    context = StorageContext.from_defaults(docstore=SimpleDocumentStore(), vector_store=store)
    context.docstore.add_documents(nodes)
    ours: Any = store.as_retriever(similarity_top_k=50)
    if through == "index":
        pages = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
        ours = pages.as_retriever(similarity_top_k=50)
    pieces = ours.retrieve("red apples")
    found = both_ways(AutoMergingRetriever(ours, context), "red apples")
    parents = {leaf.parent_node.node_id for leaf in leaves if leaf.parent_node is not None}
    assert len(pieces) == len(leaves) > len(parents)
    assert sorted(ids(found)) == sorted(parents)
    for parent in found:
        own = [p.score or 0 for p in pieces if p.node.parent_node.node_id == parent.node.node_id]
        assert parent.score == pytest.approx(statistics.fmean(own))
