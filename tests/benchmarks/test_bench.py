"""The comparison with peers runs, at toy sizes; what it measures is in results/."""

import collections
import itertools
import json
import multiprocessing

import numpy as np
import pytest

from benchmarks.data import real_embeddings
from benchmarks.peers import bench, contenders
from benchmarks.search import kernels
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors import native

pytestmark = pytest.mark.integration


@pytest.fixture
def task(tmp_path):
    """30 pages of 64 random vectors of 16 values, and 2 queries."""
    return bench.random_task(tmp_path, 30, 16, 2)


LIMITS = {"rounds": 1, "build_seconds": 60, "search_seconds": 60}


@pytest.mark.parametrize("name", ["TorchFp32", "OursPortable"])
def test_exact_contenders_find_the_page_whose_vectors_the_query_has(
    task, tmp_path, monkeypatch, name
):
    monkeypatch.delenv(native.VARIABLE, raising=False)
    pages = np.load(task.source)
    way = getattr(contenders, name)()
    way.build(pages, tmp_path / "stored", task.sample)
    assert way.search(pages[17, :16], 10)[0] == 17


def test_contenders_answer_in_processes_of_their_own(task):
    ways = (contenders.Ours, contenders.OursCandidates)
    exact, candidates = bench.run(task, ways, **LIMITS)
    assert (exact["failed"], exact["queries"], exact["recall@10"]) == ("", 2, 1)
    assert candidates["recall@10"] == 1  # 200 candidates are all of 30 pages
    # 64 vectors of 16 values and a scale, and few bytes for ids, places and the manifest.
    assert 64 * 18 < exact["bytes_per_page"] < 64 * 18 + 120
    assert exact["pages_per_second"] > 0


def test_what_fails_at_a_size_is_listed_and_not_tried_at_the_next(task):
    ways = (contenders.Ours, contenders.Broken)
    *_, rows = bench.measure([task, task], ways, **LIMITS)
    ours, broken, again, given_up = rows
    assert (ours["failed"], again["failed"]) == ("", "")
    assert broken["failed"] == "ended in a build (exit code 1)"
    assert given_up["failed"] == "ended in a build (exit code 1) at 30 pages"


def test_what_two_sizes_show_to_be_hopeless_is_not_tried_at_the_third():
    """10 and 100 CPU seconds for 100 and 1,000 pages are 0.1 a page: 1,000 for 10,000 pages."""
    rows = [
        {"name": "slow", "pages": pages, "ms": 1.0, "pages_per_cpu_second": 10.0}
        for pages in (100, 1000)
    ]
    assert bench._hopeless(rows[:1], 10_000, 100) == {}
    assert bench._hopeless(rows, 10_000, 900) == {}  # within half as much again
    late = bench._hopeless(rows, 10_000, 600)
    assert late == {"slow": "would take about 1000 s to build 10,000 pages"}


def test_what_takes_too_long_is_ended():
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=collections.deque, args=(itertools.repeat(0), 0), daemon=True)
    process.start()
    one = bench.Running("endless", process, here, stores=False)
    assert one.ask(("build",), 0.1) is None
    assert one.failed == "over 0 s for one build"
    assert not process.is_alive()
    there.close()


def test_the_table_lists_what_is_missing(tmp_path):
    row = {"pages": 1000, "name": "peer", "failed": "over 60 s for one build"}
    text = bench.table([row], ["other"])
    assert "| peer | over 60 s for one build |" in text
    assert text.endswith("Not installed: other.")


def test_of_two_runs_at_one_size_the_later_counts():
    rows = [{"pages": n, "name": "peer", "ms": ms} for n, ms in ((1, 5.0), (2, 6.0), (1, 4.0))]
    assert [row["ms"] for row in bench.merged(rows)] == [4.0, 6.0]


def test_ndcg_of_a_page_in_second_place():
    # 1 / log2(3) in place of 1 / log2(2).
    assert bench.ndcg([5, 7], [7]) == pytest.approx(0.63093, abs=1e-5)


def test_real_texts_are_encoded_once_however_often_it_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(real_embeddings, "BLOCK", 2)
    texts = [real_embeddings.Text(str(n), f"words of {n}", f"{n}") for n in range(5)]
    encoder = FakeEncoder(dimension=8)
    known = {"1": (np.ones((64, 8), np.int8), np.ones(64, np.float16))}
    assert real_embeddings.encode_pages(texts, encoder, tmp_path, known, minutes=0) == 2
    assert real_embeddings.encode_pages(texts, encoder, tmp_path, known) == 5
    assert len(encoder.encoded) == 4
    real_embeddings.write_questions(
        real_embeddings.gloss_questions(texts, 5), texts, encoder, tmp_path
    )
    real = real_embeddings.read_real(tmp_path)
    assert real.answers == [[0], [1], [2], [3], [4]]
    assert real.vectors.ids.tolist() == ["0", "1", "2", "3", "4"]
    assert real.vectors.levels(64)[0].values[1].tolist() == [[1] * 8]
    task = bench.real_task(tmp_path, 5, 2, real)
    assert task.shape == (5, 64, 8)
    assert np.all(np.load(task.source)[1] == 1)


def test_texts_of_the_sets_are_read(tmp_path):
    pairs = [("able", "having the means"), ("fit", "having the means"), ("able", "skilled")]
    rows = [json.dumps({"query": query, "positive": text}) for query, text in pairs]
    (tmp_path / "glosses.jsonl").write_text("\n".join(rows))
    texts = real_embeddings.gloss_texts(tmp_path / "glosses.jsonl")
    assert [(t.id, t.question) for t in texts] == [("gloss 0", "fit"), ("gloss 1", "able")]
    (question,) = real_embeddings.gloss_questions(texts, 1)
    assert (question.text, question.answers) == ("fit", ("gloss 0",))


def test_kernels_are_timed_side_by_side():
    ways = kernels.contenders(40, 64, RetrievalBudget(4, 8))
    rows = {row["kernel"]: row for row in kernels.kernel_times(ways, rounds=1)}
    assert {"int8 portable", "torch fp32", "torch bf16", "read the bytes"} <= rows.keys()
    assert all(row["cpu_ms"] >= 0 for row in rows.values())
