"""Budget, plan and milliseconds of a search are in its trace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.schemas import Run

from metaembed_rag.errors import BudgetError
from metaembed_rag.langchain import MetaEmbedRetriever, MetaEmbedVectorStore


class Recorder(BaseTracer):
    """Keeps runs as they are when they end."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs.append(run)

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self.runs[-1].extra["metadata"])


def traced(retriever: Any, **keywords: Any) -> dict[str, Any]:
    recorder = Recorder()
    retriever.invoke("red apples", {"callbacks": [recorder]}, **keywords)
    return recorder.metadata


def test_what_was_asked_for_and_what_was_done(index):
    said = traced(MetaEmbedRetriever(index=index, k=2), budget="4,8")
    assert (said["ls_budget"], said["ls_k"], said["ls_embedding_model"]) == ("4,8", 2, "fake")
    done = said["metaembed"]
    assert done["budget"] == [4, 8]
    assert done["plan"]["way"] == "cascade"
    assert done["plan"]["stages"]
    assert done["ms"] > 0
    assert done["scoring"] == "hybrid"
    json.dumps(said)


def test_without_a_budget_it_says_which_one_held(index, monkeypatch):
    retriever = MetaEmbedRetriever(index=index, r_q=2)
    assert traced(retriever)["ls_budget"] == "2,64"
    monkeypatch.setenv("METAEMBED_BUDGET", "fast")
    assert traced(MetaEmbedRetriever(index=index))["ls_budget"] == "1,1"
    assert traced(MetaEmbedRetriever(index=index), candidates=5)["ls_candidates"] == 5


async def test_async_and_batch_have_traces_of_their_own(index):
    recorder = Recorder()
    retriever = MetaEmbedRetriever(index=index)
    await retriever.ainvoke("apples", {"callbacks": [recorder]}, budget="fast")
    assert recorder.metadata["metaembed"]["budget"] == [1, 1]
    recorder = Recorder()
    retriever.batch(["apples", "whales"], {"callbacks": [recorder]}, budget="2,4")
    plans = [run.extra["metadata"]["metaembed"] for run in recorder.runs]
    assert [plan["budget"] for plan in plans] == [[2, 4]] * 2
    assert plans[0] is not plans[1]


def test_a_search_that_fails_is_traced_with_its_error(index):
    recorder = Recorder()
    with pytest.raises(BudgetError):
        MetaEmbedRetriever(index=index).invoke("x", {"callbacks": [recorder]}, budget="cheap")
    assert "is not a retrieval budget" in (recorder.runs[0].error or "")
    assert "ls_budget" not in recorder.metadata
    recorder = Recorder()
    with pytest.raises(TypeError):
        MetaEmbedRetriever(index=index).invoke("x", {"callbacks": [recorder]}, budgt="fast")
    assert "no keyword budgt" in (recorder.runs[0].error or "")


@pytest.mark.parametrize("search_type", ["similarity", "mmr"])
def test_the_vector_stores_retriever_is_traced_too(index, search_type):
    store = MetaEmbedVectorStore(index, budget="8,16")
    said = traced(store.as_retriever(search_type=search_type, search_kwargs={"k": 2}))
    assert (said["ls_budget"], said["ls_k"]) == ("8,16", 2)
    assert said["metaembed"]["budget"] == [8, 16]
    said = traced(store.as_retriever(budget="4,8"), r_q=2, k=3)
    assert (said["ls_budget"], said["ls_k"]) == ("2,8", 3)
    assert said["metaembed"]["budget"] == [2, 8]


def test_a_search_without_a_trace_writes_none(index):
    store = MetaEmbedVectorStore(index)
    retriever = MetaEmbedRetriever(index=index)
    assert traced(retriever)["metaembed"]
    assert store.similarity_search("apples")  # outside of any run
    config: Any = {"callbacks": [Recorder()], "metadata": {"mine": 1}}
    retriever.invoke("apples", config)
    assert config["metadata"] == {"mine": 1}


def test_langsmiths_own_tracer_sends_it_at_the_end(index):
    class Client:
        """Takes what would be sent."""

        tracing_queue = None

        def __init__(self) -> None:
            self.updates: list[dict[str, Any]] = []

        def create_run(self, **run: Any) -> None: ...

        def update_run(self, **run: Any) -> None:
            self.updates.append(run)

    client = Client()
    tracer = LangChainTracer(client=client)  # type: ignore[arg-type]
    MetaEmbedRetriever(index=index).invoke("red apples", {"callbacks": [tracer]}, budget="fast")
    (sent,) = client.updates
    assert sent["extra"]["metadata"]["metaembed"]["budget"] == [1, 1]
