"""`PageIndex.export_to_qdrant`: Qdrant's local mode finds what an exhaustive search finds."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

import metaembed_rag.model
from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import MissingExtraError, ModelMismatchError, StoreError
from metaembed_rag.maintenance.qdrant import levels_of, point_id
from metaembed_rag.testing import FakeEncoder
from tests.support.indexes import index_of

WORDS = ["apple", "pear", "plum", "whale", "shark", "crab", "revenue", "region", "chart", "table"]


def pages_of(count: int) -> list[Page]:
    chooser = np.random.default_rng(3)
    return [
        Page(f"{n}.pdf", 2, " ".join(chooser.choice(WORDS, 6)), metadata={"year": n})
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def encoder():
    return FakeEncoder()


@pytest.fixture(scope="module")
def index(encoder):
    with index_of(pages_of(120), encoder) as index:
        yield index


@pytest.fixture(scope="module")
def filled(index):
    client = QdrantClient(":memory:")
    index.export_to_qdrant(client)
    yield client
    client.close()


@pytest.mark.parametrize("budget", [(1, 1), (4, 4), (16, 1), (8, 16), (16, 64)])
@pytest.mark.parametrize("query", ["apple whale", "revenue by region", "chart"])
def test_its_top_10_at_every_budget_is_that_of_an_exhaustive_search(
    index, encoder, filled, budget, query
):
    r_q, r_c = budget
    vectors = encoder.encode_query([query])[0, :r_q].tolist()
    found = filled.query_points("pages", query=vectors, using=f"v{r_c}", limit=10).points
    every = index.search(query, 120, budget=budget, exhaustive=True, hybrid=False)
    scores = {hit.page.id: hit.score for hit in every}
    assert [min(1.0, point.score / r_q) for point in found] == pytest.approx(
        [hit.score for hit in every[:10]], abs=1e-4
    )
    # Pages of equal words have equal scores: each that is found has the score of its place.
    assert [scores[point.payload["id"]] for point in found] == pytest.approx(
        [hit.score for hit in every[:10]], abs=1e-4
    )


def test_prefetch_and_rescoring_find_the_same_where_enough_is_prefetched(index, encoder, filled):
    vectors = encoder.encode_query(["apple whale"])[0].tolist()
    coarse = models.Prefetch(query=vectors, using="v1", limit=100)
    finer = models.Prefetch(prefetch=coarse, query=vectors, using="v4", limit=60)
    found = filled.query_points("pages", prefetch=finer, query=vectors, using="v64", limit=10)
    wanted = index.search("apple whale", 10, exhaustive=True, hybrid=False)
    assert [min(1.0, point.score / 16) for point in found.points] == pytest.approx(
        [hit.score for hit in wanted], abs=1e-4
    )


def test_a_point_says_of_its_page_what_the_index_says(index, filled):
    [point] = filled.retrieve("pages", [point_id("7.pdf#2")], with_vectors=True)
    page = index.get(["7.pdf#2"])[0]
    assert {name: point.payload[name] for name in ("id", "source", "page", "text", "metadata")} == {
        "id": page.id,
        "source": page.source,
        "page": 2,
        "text": page.text,
        "metadata": {"year": 7},
    }
    assert {name: len(rows) for name, rows in point.vector.items()} == {
        "v1": 1,
        "v4": 4,
        "v16": 16,
        "v64": 64,
    }
    stored = index.vectors([page.id])[0]
    assert np.asarray(point.vector["v64"]) == pytest.approx(stored, abs=1e-6)


def test_only_the_first_vectors_have_a_graph(filled):
    vectors = filled.get_collection("pages").config.params.vectors
    assert vectors["v1"].hnsw_config is None
    assert [vectors[name].hnsw_config.m for name in ("v4", "v16", "v64")] == [0, 0, 0]
    assert [levels_of(n) for n in (1, 4, 8, 64, 128)] == [
        (1,),
        (1, 4),
        (1, 4, 8),
        (1, 4, 16, 64),
        (1, 4, 16, 64, 128),
    ]


def test_an_export_that_was_ended_goes_on_and_a_later_one_brings_it_up_to_date(encoder, tmp_path):
    place = tmp_path / "qdrant"

    class Ended(Exception):
        pass

    def end(pages):
        raise Ended

    with PageIndex.open(tmp_path / "index", encoder) as index:
        index.add(pages_of(50))
        with pytest.raises(Ended):
            index.export_to_qdrant(place, progress=end)
        report = index.export_to_qdrant(place)
        assert (report.written, report.unchanged, report.others) == (18, 32, 0)
        index.add([Page("0.pdf", 2, "quite another text")])
        index.delete("1.pdf#2")
        report = index.export_to_qdrant(place)
        assert (report.written, report.unchanged, report.removed, report.others) == (1, 48, 0, 1)
        report = index.export_to_qdrant(place, prune=True)
        assert (report.written, report.unchanged, report.removed, report.others) == (0, 49, 1, 0)
    client = QdrantClient(path=str(place))
    assert client.count("pages").count == 49
    client.close()


def test_a_collection_of_other_vectors_is_refused(index, filled):
    with index_of(pages_of(1), FakeEncoder(seed=5)) as other:
        with pytest.raises(ModelMismatchError, match="name another one"):
            other.export_to_qdrant(filled)
        assert other.export_to_qdrant(filled, collection="other").written == 1
    filled.create_collection(
        "plain", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT)
    )
    with pytest.raises(ModelMismatchError, match="no named ones"):
        index.export_to_qdrant(filled, collection="plain")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its own lock file
def test_what_cannot_be_written_to_is_a_sentence(index, tmp_path):
    held = QdrantClient(path=str(tmp_path / "held"))
    with pytest.raises(StoreError, match="cannot be written to"):
        index.export_to_qdrant(tmp_path / "held")
    held.close()
    with pytest.raises(StoreError, match="does not answer"):
        index.export_to_qdrant("http://127.0.0.1:9")
    with pytest.raises(StoreError, match="QDRANT_API_KEY"):
        index.export_to_qdrant("http://me:secret@host:6333")


def test_without_the_extra_the_line_that_installs_it_is_said(index, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(MissingExtraError, match=r"'\.\[qdrant\]'"):
        index.export_to_qdrant(tmp_path)


def test_the_command_writes_what_the_method_writes(run, tmp_path, monkeypatch, encoder):
    monkeypatch.setattr(metaembed_rag.model, "MetaEmbedEncoder", None, raising=False)
    with PageIndex.open(tmp_path / "index", encoder) as index:
        index.add(pages_of(3))
    place = tmp_path / "qdrant"
    out, err = run(
        "export", place, "--to", "qdrant", "--index", tmp_path / "index", "--to-collection", "mine"
    )
    assert out.strip() == f"{place}, collection mine: 3 pages written, 0 unchanged, 0 removed"
    found = json.loads(
        run(
            *("export", place, "--to", "qdrant", "--index", tmp_path / "index"),
            *("--to-collection", "mine", "--json"),
        )[0]
    )
    assert (found["written"], found["unchanged"], found["levels"]) == (0, 3, [1, 4, 16, 64])
    _, err = run("export", place, "--index", tmp_path / "index", "--prune", code=2)
    assert "--to qdrant" in err
