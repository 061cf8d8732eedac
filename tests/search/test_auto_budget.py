"""``max_ms``, ``min_recall`` and ``"auto"`` through both frameworks, and on the command line."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError
from metaembed_rag.options import SearchOptions
from tests.support.calibrations import EXACT, FAST, GOOD, calibrated

pytest.importorskip("llama_index.core")
pytest.importorskip("langchain_core")

from langchain_core.runnables import ConfigurableField
from llama_index.core.schema import MetadataMode, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

from metaembed_rag import langchain, llama_index

pytestmark = pytest.mark.integration

ASKED = "red apples"


@pytest.fixture
def index(index):
    """Fast: 3 ms and recall 0.91 at (4,8); good: 6 ms and 0.993; exact: 31 ms."""
    plans = [replace(plan, pages=3) for plan in (FAST, GOOD, EXACT)]
    calibrated(index, *plans, count=3)
    return index


def wait(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


class LlamaRetriever:
    def __init__(self, index, fields, call):
        self.retriever = llama_index.MetaEmbedRetriever(index, **fields)
        self.asked = llama_index.MetaEmbedQueryBundle(ASKED, **call)

    def found(self):
        return [one.node.metadata for one in self.retriever.retrieve(self.asked)]

    async def afound(self):
        return [one.node.metadata for one in await self.retriever.aretrieve(self.asked)]


class LlamaStore:
    def __init__(self, index, fields, call):
        self.store = llama_index.MetaEmbedVectorStore(index, **fields)
        self.call = call
        self.asked = VectorStoreQuery(query_str=ASKED, similarity_top_k=3)

    def found(self):
        return [node.metadata for node in self.store.query(self.asked, **self.call).nodes]

    async def afound(self):
        return [node.metadata for node in (await self.store.aquery(self.asked, **self.call)).nodes]


class LlamaRetrieverOfStore(LlamaRetriever):
    def __init__(self, index, fields, call):
        store = llama_index.MetaEmbedVectorStore(index, **fields)
        self.retriever, self.asked = store.as_retriever(**call), ASKED


class LangRetriever:
    def __init__(self, index, fields, call):
        self.retriever = langchain.MetaEmbedRetriever(index=index, **fields)
        self.call = call

    def found(self):
        return [one.metadata for one in self.retriever.invoke(ASKED, **self.call)]

    async def afound(self):
        return [one.metadata for one in await self.retriever.ainvoke(ASKED, **self.call)]


class LangRetrieverOfStore(LangRetriever):
    def __init__(self, index, fields, call):
        store = langchain.MetaEmbedVectorStore(index)
        self.retriever, self.call = store.as_retriever(search_kwargs={"k": 3, **fields}), call


class LangStore:
    def __init__(self, index, fields, call):
        self.store = langchain.MetaEmbedVectorStore(index, **fields)
        self.call = call

    def found(self):
        return [one.metadata for one in self.store.similarity_search(ASKED, **self.call)]

    async def afound(self):
        return [one.metadata for one in await self.store.asimilarity_search(ASKED, **self.call)]


WAYS = [
    LlamaRetriever,
    LlamaStore,
    LlamaRetrieverOfStore,
    LangRetriever,
    LangStore,
    LangRetrieverOfStore,
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@every_way
@pytest.mark.parametrize(
    ("fields", "call", "plan"),
    [
        ({"budget": "auto"}, {}, GOOD),
        ({"max_ms": 4}, {}, FAST),
        ({}, {"max_ms": 4}, FAST),
        ({"budget": "auto", "min_recall": 1.0}, {}, EXACT),
        ({"max_ms": 40}, {"min_recall": 0.9}, FAST),  # both hold
        ({"max_ms": 4}, {"max_ms": 40, "min_recall": 0.99}, GOOD),
        ({"max_ms": 4}, {"budget": "auto"}, FAST),
        ({"budget": "fast"}, {"max_ms": 4}, FAST),  # the call's goes over the fields' …
        ({"r_q": 1, "r_c": 1}, {"min_recall": 0.9}, FAST),
    ],
)
def test_limits_choose_the_plan_which_the_metadata_show(index, shapes, way, fields, call, plan):
    for found in (way(index, fields, call).found(), wait(way(index, fields, call).afound())):
        shown = {one["retrieval_plan"] for one in found}
        assert len(found) == 3
        assert len(shown) == 1
        chosen = json.loads(shown.pop())
        assert chosen["budget"] == [plan.budget.r_q, plan.budget.r_c]
        assert (chosen["way"], chosen["recall"], chosen["ms"]) == ("auto", plan.recall, plan.ms + 1)
    assert set(shapes) == {(plan.budget.r_q, plan.budget.r_c)}


@every_way
@pytest.mark.parametrize("fields", [{"max_ms": 4}, {"budget": "auto"}, {"min_recall": 0.9}])
@pytest.mark.parametrize(
    "call", [{"budget": "2,4"}, {"budget": RetrievalBudget(2, 4)}, {"r_q": 2, "r_c": 4}]
)
def test_a_budget_of_the_call_goes_over_limits(index, shapes, way, fields, call):  # … and back
    found = way(index, fields, call).found()
    assert set(shapes) == {(2, 4)}
    assert not any("retrieval_plan" in one for one in found)


@every_way
@pytest.mark.parametrize(
    ("fields", "call", "message"),
    [
        ({"max_ms": 4}, {"r_q": 2}, "leave out r_q and r_c"),
        ({}, {"budget": "fast", "max_ms": 4}, 'ask for "auto" or name no budget'),
        ({}, {"max_ms": 2}, "the fastest takes 3.00 ms"),
        ({"min_recall": 0}, {}, "min_recall must be over 0"),
    ],
)
def test_what_cannot_be_is_refused(index, way, fields, call, message):
    with pytest.raises(BudgetError, match=message):
        way(index, fields, call).found()


@every_way
def test_a_limit_goes_over_the_environment(index, shapes, way, monkeypatch):
    monkeypatch.setenv("METAEMBED_BUDGET", "1,1")
    way(index, {}, {}).found()
    way(index, {"max_ms": 4}, {}).found()
    assert shapes == [(1, 1), (4, 8)]


@every_way
def test_candidates_go_over_auto_in_the_environment(index, shapes, way, monkeypatch):
    monkeypatch.setenv("METAEMBED_BUDGET", "auto")
    if way is LlamaStore:
        way(index, {}, {"candidates": 3}).found()
    elif way is LlamaRetrieverOfStore:
        way(index, {}, {"candidates": 5}).found()
    else:
        way(index, {"candidates": 5}, {}).found()
    assert shapes == [(16, 64)]


def test_contradictions_are_refused_before_the_first_query_of_llama_index(index):
    for make in (llama_index.MetaEmbedRetriever, llama_index.MetaEmbedVectorStore):
        with pytest.raises(BudgetError, match="name no budget"):
            make(index, budget="fast", max_ms=4)


def test_langchain_configures_limits(index, shapes):
    fields = {name: ConfigurableField(id=name) for name in ("budget", "max_ms", "min_recall")}
    retriever = langchain.MetaEmbedRetriever(index=index).configurable_fields(**fields)
    retriever.invoke(ASKED, config={"configurable": {"max_ms": 4}})
    retriever.with_config(configurable={"min_recall": 0.99}).invoke(ASKED)
    wait(retriever.with_config(configurable={"budget": "auto", "max_ms": 4}).ainvoke(ASKED))
    retriever.bind(max_ms=4).batch([ASKED, ASKED])
    assert shapes == [(4, 8), (16, 64), (4, 8), (4, 8), (4, 8)]


def test_llama_index_keeps_limits_in_a_stores_settings_and_in_its_retriever(index):
    store = llama_index.MetaEmbedVectorStore(index, max_ms=4, min_recall=0.9)
    kept = store.to_dict()
    assert (kept["budget"], kept["max_ms"], kept["min_recall"]) == (None, 4, 0.9)
    assert store.as_retriever().max_ms == 4
    assert store.as_retriever(budget="fast").max_ms is None


def test_no_model_is_shown_the_plan(index):
    """Neither with a page of a file nor with a node of somebody else's."""
    store = llama_index.MetaEmbedVectorStore(index, budget="auto")
    store.add([TextNode(id_="theirs", text="red apples and pears")])
    found = store.query(VectorStoreQuery(query_str=ASKED, similarity_top_k=4)).nodes
    assert {"theirs", "fruit.pdf#1"} <= {node.node_id for node in found}
    for node in found:
        assert json.loads(node.metadata["retrieval_plan"])["budget"] == [16, 64]
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            assert "retrieval_plan" not in node.get_content(metadata_mode=mode)
    assert store.get_nodes(["theirs"])[0].metadata == {}


def test_other_searches_of_langchains_store_show_the_plan_too(index):
    store = langchain.MetaEmbedVectorStore(index, max_ms=4)
    found = [document for document, _ in store.similarity_search_with_score(ASKED)]
    found += [document for document, _ in store.similarity_search_with_relevance_scores(ASKED)]
    found += store.max_marginal_relevance_search(ASKED, k=2)
    vectors = index.encoder.encode_query([ASKED])[0]
    found += store.similarity_search_by_vector(vectors)
    budgets = [json.loads(document.metadata["retrieval_plan"])["budget"] for document in found]
    assert budgets == [[4, 8]] * (3 + 3 + 2 + 3)


def test_a_retriever_of_langchains_store_mixes_no_two_budgets(index, shapes):
    store = langchain.MetaEmbedVectorStore(index)
    retriever = store.as_retriever(search_kwargs={"r_q": 2, "r_c": 4})
    retriever.invoke(ASKED, budget="4,8")
    retriever.invoke(ASKED, r_c=8)
    assert shapes == [(4, 8), (2, 8)]


def test_where_nothing_can_choose_auto_is_what_stands_below():
    below = RetrievalBudget(4, 8)
    assert (
        SearchOptions(budget="auto").fixed(below) == SearchOptions(max_ms=3).fixed(below) == below
    )
    assert SearchOptions(budget="auto", r_q=2).fixed(below) == RetrievalBudget(2, 8)
    assert SearchOptions(budget="full").fixed(below) == RetrievalBudget(16, 64)


# -- the command line ------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, encoder, loaded):
    """A folder with an index of one page."""
    from metaembed_rag.index import PageIndex
    from metaembed_rag.pages import Page

    index = PageIndex.open(tmp_path / "i", encoder)
    index.add([Page(source="a", text="red apples")])
    calibrated(index, *(replace(plan, pages=1) for plan in (FAST, GOOD)), count=1)
    return tmp_path / "i"


def test_the_command_says_what_was_chosen(place, run):
    out, _ = run("search", ASKED, "--index", place, "--max-ms", 4)
    assert out.startswith(
        "budget (4,8), vectors alone: max_ms was measured for them, "
        "chosen by the calibration (recall 0.910, 3.0 ms expected), 1 of 1 pages"
    )
    out, _ = run("search", ASKED, "--index", place, "--min-recall", 0.99, "--json")
    assert json.loads(out)["budget"] == [16, 64]


def test_limits_and_ways_of_the_command_go_over_the_environment(place, run, monkeypatch):
    monkeypatch.setenv("METAEMBED_BUDGET", "1,1")
    out, _ = run("search", ASKED, "--index", place, "--max-ms", 4, "--json")
    assert json.loads(out)["budget"] == [4, 8]
    monkeypatch.setenv("METAEMBED_BUDGET", "auto")
    assert "plan" in json.loads(run("search", ASKED, "--index", place, "--json")[0])
    out, _ = run("search", ASKED, "--index", place, "--exhaustive", "--json")
    assert "plan" not in json.loads(out)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--max-ms", "4", "--budget", "4,8"],
        ["--max-ms", "4", "--candidates", "9"],
        ["--budget", "auto", "--exhaustive"],
        ["--min-recall", "1.5"],
    ],
)
def test_wrong_usage_of_the_command_is_said_before_anything_is_opened(tmp_path, run, wrong):
    _, err = run("search", ASKED, "--index", tmp_path / "nowhere", *wrong, code=2)
    assert "--" in err
