"""A federated index where an index may stand: both frameworks' retrievers, and the command line."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from langchain_core.runnables import ConfigurableField
from llama_index.core.schema import QueryBundle
from PIL import Image

import metaembed_rag.langchain
import metaembed_rag.llama_index
import metaembed_rag.model
from metaembed_rag import FederatedIndex, PageIndex
from metaembed_rag.llama_index import MetaEmbedQueryBundle
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support.indexes import index_of
from tests.support.serving import running


@pytest.fixture(scope="module")
def parts():
    encoder = FakeEncoder()
    with (
        index_of([Page("a", 1, "red apples", metadata={"year": 1})], encoder) as one,
        index_of([Page("b", 1, "red whales", metadata={"year": 2})], encoder) as two,
    ):
        yield one, two


@pytest.fixture
def many(parts):
    return FederatedIndex({"one": parts[0], "two": parts[1]}, budget=(8, 8))


def scores(documents):
    return [(one.id, round(one.metadata["score"], 5)) for one in documents]


def test_langchains_retriever_takes_budgets_by_constructor_call_and_configuration(many):
    plain = metaembed_rag.langchain.MetaEmbedRetriever(index=many, k=2, hybrid=False)
    found = plain.invoke("red apples")
    assert [one.metadata["shard"] for one in found] == ["one", "two"]
    assert "missing_shards" not in found[0].metadata
    wanted = [
        (hit.page.id, round(hit.score, 5))
        for hit in many.search("red apples", 2, budget=(1, 2), hybrid=False)
    ]
    fixed = metaembed_rag.langchain.MetaEmbedRetriever(index=many, k=2, hybrid=False, budget=(1, 2))
    switch = plain.configurable_fields(budget=ConfigurableField(id="budget"))
    configured = switch.invoke("red apples", config={"configurable": {"budget": "1,2"}})
    assert scores(fixed.invoke("red apples")) == wanted
    assert scores(plain.invoke("red apples", budget="1,2")) == wanted
    assert scores(configured) == wanted
    assert scores(asyncio.run(fixed.ainvoke("red apples"))) == wanted
    narrow = plain.invoke("red apples", filter={"year": 2})
    assert [one.id for one in narrow] == ["b#1"]


def test_llama_indexs_retriever_takes_budgets_by_constructor_and_query(many):
    retriever = metaembed_rag.llama_index.MetaEmbedRetriever
    plain = retriever(many, similarity_top_k=2, hybrid=False)
    found = plain.retrieve("red apples")
    assert [one.node.metadata["shard"] for one in found] == ["one", "two"]
    wanted = [hit.score for hit in many.search("red apples", 2, budget=(1, 2), hybrid=False)]
    fixed = retriever(many, similarity_top_k=2, hybrid=False, budget=(1, 2))
    asked = MetaEmbedQueryBundle("red apples", budget="1,2")
    assert [one.score for one in fixed.retrieve("red apples")] == wanted
    assert [one.score for one in plain.retrieve(asked)] == wanted
    assert [one.score for one in asyncio.run(fixed.aretrieve(QueryBundle("red apples")))] == wanted
    given = retriever(many, node_ids=["b#1"], budget=(1, 2)).retrieve("red apples")
    assert [one.node.node_id for one in given] == ["b#1"]


def test_documents_and_nodes_say_which_shard_is_missing(parts):
    gone = index_of([], FakeEncoder())
    many = FederatedIndex({"one": parts[0], "gone": gone})
    gone.close()
    [document] = metaembed_rag.langchain.MetaEmbedRetriever(index=many).invoke("red")
    [node] = metaembed_rag.llama_index.MetaEmbedRetriever(many).retrieve("red")
    assert document.metadata["missing_shards"].startswith("gone: ")
    assert node.node.metadata["missing_shards"] == document.metadata["missing_shards"]


# -- the command line ---------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, monkeypatch):
    class Loader:
        @staticmethod
        def from_pretrained(name, *, device=None, **_):
            return FakeEncoder()

    monkeypatch.setattr(metaembed_rag.model, "MetaEmbedEncoder", Loader, raising=False)
    for name, text in (("one", "red apples"), ("two", "red whales")):
        with PageIndex.open(tmp_path / name, FakeEncoder()) as index:
            index.add([Page(f"{name}.txt", 1, text)])
    return tmp_path / "one", tmp_path / "two"


def test_a_command_searches_several_indexes_and_says_where_each_hit_is(run, folders, tmp_path):
    one, two = folders
    out, err = run("search", "apples", "--index", one, "--index", two, "--budget", "2,4")
    assert out.startswith("budget (2,4), with BM25, 2 of 2 pages") and err == ""
    assert "one.txt  page 1" in out and f"in {one}" in out and f"in {two}" in out
    out, _ = run("search", "apples", "--index", one, "--index", two, "--json", "--no-hybrid")
    found = json.loads(out)
    assert [hit["shard"] for hit in found["hits"]] == [str(one), str(two)]
    assert "missing" not in found


def test_a_command_searches_a_folder_and_a_server(run, folders):
    one, two = folders
    with PageIndex.open(two, FakeEncoder()) as index, running(index) as address:
        out, _ = run("search", "red", "--index", one, "--index", address, "--json")
        assert {hit["shard"] for hit in json.loads(out)["hits"]} == {str(one), address}


@pytest.mark.integration
def test_a_command_searches_a_folder_and_a_tenant_of_a_chroma_server(
    run, folders, server, acme, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    one, kept = folders[0], tmp_path / "kept"
    picture = Image.new("RGB", (30, 20), "red")
    tenant, database = acme
    there = {"tenant": tenant, "database": database, "pictures": kept}
    with PageIndex.open(server, FakeEncoder(), **there) as index:
        index.add([Page("far.txt", 1, "red herrings", image=picture)])
    words = ("search", "red", "--index", server, "--index", one, "--json", "--pictures", kept)
    found = json.loads(run(*words, "--tenant", tenant, "--database", database)[0])["hits"]
    name = f"{server} ({tenant}/{database})"
    assert {hit["shard"] for hit in found} == {str(one), name}
    [path] = [hit["image"] for hit in found if hit["shard"] == name]
    assert path.startswith(str(kept))
    _, err = run("search", "red", "--index", one, "--index", folders[1], "--tenant", "x", code=1)
    assert "are of a Chroma server" in err


def test_a_model_is_named_for_several_indexes_one_of_which_is_served(run, folders):
    one, two = folders
    with PageIndex.open(two, FakeEncoder()) as index, running(index) as address:
        words = ("search", "red", "--index", one, "--index", address, "--model", "mini", "--json")
        assert len(json.loads(run(*words)[0])["hits"]) == 2


def test_a_command_goes_on_without_a_shard_that_hangs_and_says_so(run, folders, monkeypatch):
    one, two = folders
    gate, search = threading.Event(), PageIndex.search_vectors

    def slow(self, *args, **kwargs):
        if self.info()["index"] == str(two):
            gate.wait(60)
        return search(self, *args, **kwargs)

    monkeypatch.setattr(PageIndex, "search_vectors", slow)
    out, err = run("search", "red", "--index", one, "--index", two, "--json", "--deadline", "0.5")
    gate.set()
    found = json.loads(out)
    assert [hit["shard"] for hit in found["hits"]] == [str(one)]
    assert found["missing"][0]["shard"] == str(two) and f"{two} is missing" in err


def test_options_that_need_several_indexes_or_one_are_refused(run, folders):
    one, two = folders
    _, err = run("search", "red", "--index", one, "--deadline", "1", code=2)
    assert "--deadline is for several indexes" in err
    _, err = run("search", "red", "--index", one, "--index", two, "--max-ms", "9", code=1)
    assert "a federated search names its budget" in err
