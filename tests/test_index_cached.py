"""Searching by the mapped vectors: every way against the slow, obvious definition."""

from __future__ import annotations

import json
import logging
import math
import shutil

import numpy as np
import pytest

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.cli.calibrate import read_queries
from metaembed_rag.errors import BudgetError, CacheError, DatasetError, IndexLockedError, StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.search.confidence import unrelated_questions
from metaembed_rag.search.plan import Plan
from metaembed_rag.store.cache import VectorCache
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.maxsim import maxsim
from tests.support.calibrations import EXACT, FAST, GOOD, calibrated
from tests.support.indexes import index_of

pytestmark = pytest.mark.usefixtures("vectors_alone")

SUBJECTS = ["whales", "apples", "grass", "stars", "rivers", "engines", "violins", "bread"]
VERBS = ["swim", "grow", "shine", "turn", "sing", "rise", "fall"]


def pages(count: int = 120, source: str = "book") -> list[Page]:
    """Texts of which many share words, and no two are equal."""
    return [
        Page(
            source=source,
            number=n + 1,
            text=f"{SUBJECTS[n % 8]} {VERBS[n % 7]} in place {n // 3} word{n}",
            metadata={"even": n % 2 == 0},
        )
        for n in range(count)
    ]


@pytest.fixture
def encoder():
    return FakeEncoder(dimension=32)


@pytest.fixture
def index(encoder):
    return index_of(pages(), encoder)


def ranking(index, encoder, text, budget, ids=None) -> list[tuple[str, float]]:
    """By the definition: all vectors, one matrix product, ties by id."""
    ids = index.ids() if ids is None else ids
    raw = maxsim(encoder.encode_query([text])[0], index.vectors(ids), budget)
    return sorted(zip(ids, (raw / budget.r_q).tolist(), strict=True), key=lambda p: (-p[1], p[0]))


def assert_ranked(hits, expected) -> None:
    assert [hit.page.id for hit in hits] == [id for id, _ in expected[: len(hits)]]
    assert [hit.score for hit in hits] == pytest.approx([s for _, s in expected[: len(hits)]])


# -- the ways --------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["int8", "int4", "bits", "fp16"])
@pytest.mark.parametrize("budget", ["1,1", "2,4", "4,8", "16,64"])
def test_every_way_ranks_by_the_stored_vectors_in_every_format(encoder, format, budget):
    index = PageIndex.open(":memory:", encoder, format=format)
    index.add(pages(40))
    expected = ranking(index, encoder, "whales sing", RetrievalBudget.parse(budget))
    for way in ({}, {"exhaustive": True}, {"candidates": 40}):
        hits = index.search("whales sing", k=9, budget=budget, **way)
        assert hits.plan.source == "cache"
        assert_ranked(hits, expected)


def test_the_plan_says_how_many_pages_each_stage_scored(index):
    assert index.search("whales", candidates=30).plan.stages == ((1, 120), (64, 30))
    assert index.search("whales", exhaustive=True).plan.stages == ((64, 120),)
    assert index.search("whales").plan.stages == tuple((r_c, 120) for r_c in (1, 4, 16, 64))
    assert index.search("whales", budget="4,8").plan.stages == ((1, 120), (4, 120), (8, 120))
    assert index.search("whales", where={"even": True}, candidates=9).plan.stages == (
        (1, 60),
        (64, 9),
    )


@pytest.mark.parametrize("way", [{}, {"exhaustive": True}, {"candidates": 20}])
def test_a_filter_leaves_the_top_complete(index, encoder, way):
    """20 pages of 120 pass; where as many candidates are looked at, all of them are these."""
    where = {"page": {"$lte": 20}}
    expected = ranking(index, encoder, "stars shine", RetrievalBudget(16, 64), index.ids(where))
    hits = index.search("stars shine", k=20, where=where, **way)
    assert len(hits) == 20
    assert_ranked(hits, expected)


def test_equal_pages_beyond_k_are_ordered_by_id_too(encoder):
    index = PageIndex.open(":memory:", encoder)
    index.add([Page(source=f"{n:02}", text="the same words") for n in reversed(range(60))])
    for way in ({}, {"exhaustive": True}, {"candidates": 5}):
        hits = index.search("same", k=3, **way)
        assert [hit.page.source for hit in hits] == ["00", "01", "02"]


def test_after_every_write_the_copy_is_ready_for_the_next_search(encoder, tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("whales sing")
    index = PageIndex.open(tmp_path / "index", encoder)
    index.add(pages(5))
    index.sync(tmp_path / "docs")
    index.delete(source="book", where=None)
    monkeypatch.setattr(VectorCache, "_updated", None)  # not by the search any more
    assert [hit.page.text for hit in index.search("whales")] == ["whales sing"]


def test_hybrid_search_counts_pages_that_only_the_words_found(index):
    hits = index.search("word77 apples", k=1, candidates=1, hybrid=0.9, budget="fast")
    assert hits[0].page.text.endswith("word77")
    assert hits.scoring == "hybrid"
    every = index.search("word77 apples", k=5, exhaustive=True, hybrid=True)
    assert every[0].page.text.endswith("word77")


def test_a_batch_with_and_without_words_keeps_its_order(index):
    from PIL import Image

    red = Image.new("RGB", (8, 8), "red")
    found = index.search_batch(["word3", red, "word5"], k=1, hybrid=True)
    assert [hits.scoring for hits in found] == ["hybrid", "maxsim", "hybrid"]
    assert [hits[0].page.number for hits in (found[0], found[2])] == [4, 6]


# -- changes ---------------------------------------------------------------------------------


def test_deleted_and_replaced_pages_are_never_found(tmp_path, encoder):
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add(pages(30))
    index.search("warm the cache")
    index.delete("book#4")
    index.add([Page(source="book", number=6, text="an entirely new text")])
    for way in ({}, {"exhaustive": True}):
        hits = index.search("word3 word5", k=30, **way)
        assert len(hits) == 29
        assert "book#4" not in {hit.page.id for hit in hits}
        assert index.search("entirely new", k=1, **way)[0].page.id == "book#6"
    assert_ranked(
        index.search("word7", k=29, exhaustive=True),
        ranking(index, encoder, "word7", RetrievalBudget(16, 64)),
    )


def test_deleting_the_cache_in_the_middle_of_use_loses_nothing(tmp_path, encoder):
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add(pages(30))
    before = index.search("whales sing", k=9)
    shutil.rmtree(tmp_path / "i" / "cache")
    assert list(index.search("whales sing", k=9)) == list(before)
    index.add([Page(source="new", text="yellow quinces")])
    assert index.search("quinces", k=1)[0].page.source == "new"
    assert (tmp_path / "i" / "cache" / "pages" / "manifest.json").exists()


def test_a_page_deleted_between_scoring_and_reading_is_made_up_for(index, monkeypatch):
    """Somebody deletes the best page when its vectors have been scored already."""
    best = index.search("word8", k=3)
    get, calls = index._store.get, []

    def delete_first(ids, **given):
        if not calls:
            calls.append(ids)
            index._store.delete([best[0].page.id])
        return get(ids, **given)

    monkeypatch.setattr(index._store, "get", delete_first)
    hits = index.search("word8", k=3)
    assert len(hits) == 3
    assert [hit.page.id for hit in hits[:2]] == [hit.page.id for hit in best[1:]]


def test_where_no_cache_can_be_kept_searching_goes_on_and_says_so_once(tmp_path, encoder, caplog):
    cached = PageIndex.open(tmp_path / "i", encoder)
    cached.add(pages(50))
    wanted = {
        way: cached.search("whales sing", k=5, **dict(way)) for way in [(), (("hybrid", True),)]
    }
    shutil.rmtree(tmp_path / "i" / "cache")
    (tmp_path / "i" / "cache").write_text("a file where the folder should be")
    index = PageIndex.open(tmp_path / "i", encoder)
    with caplog.at_level(logging.WARNING):
        for exhaustive in (False, True):
            for way, expected in wanted.items():
                hits = index.search("whales sing", k=5, exhaustive=exhaustive, **dict(way))
                assert hits.plan.source == "chroma"
                assert [hit.page.id for hit in hits] == [hit.page.id for hit in expected]
    assert len([r for r in caplog.records if "without the vector cache" in r.message]) == 1
    assert index.score("whales", ["book#1"])[0].page.id == "book#1"
    with pytest.raises(CacheError, match="needs the vector cache"):
        index.calibrate(["whales", "apples"])


def test_a_locked_cache_costs_no_report_of_stored_pages(tmp_path, encoder, monkeypatch, caplog):
    index = PageIndex.open(tmp_path, encoder)
    index.add(pages(5))

    def locked(self, written=None):
        raise IndexLockedError("another process has been writing the vector cache")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(VectorCache, "_updated", locked)
        assert index.add([Page("new", number=1, text="zebras graze")]).added == 1
    assert "the next search" in caplog.text
    assert index.search("zebras graze", k=1)[0].page.id == "new#1"


def test_deleting_nothing_is_no_write(tmp_path, encoder):
    index = PageIndex.open(tmp_path, encoder)
    index.add(pages(3))
    mark = index._store.mark()
    assert index.delete([]) == index.delete(["none"]) == index.delete(source="none") == 0
    assert index._store.mark() == mark


# -- calibration -----------------------------------------------------------------------------


def queries(count: int = 24) -> list[str]:
    return [f"{SUBJECTS[n % 8]} {VERBS[(3 * n) % 7]} word{5 * n}" for n in range(count)]


def test_auto_takes_what_the_calibration_found_and_reports_it(tmp_path, encoder):
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add(pages())
    made = index.calibrate(queries(), k=5, recall=0.9)
    again = PageIndex.open(tmp_path / "i", encoder)
    hits = again.search("whales sing", budget="auto")
    assert hits.plan.way == "auto"
    chosen = [p for p in made.plans if p.budget == hits.budget and p.recall == hits.plan.recall]
    assert chosen
    assert hits.plan.recall >= 0.9
    assert hits.plan.ms > made.fetch_ms > 0
    assert hits.plan.stages[0][1] == 120
    answer = hits.to_dict()
    assert list(answer) == ["query", "budget", "seconds", "plan", "hits"]
    assert answer["plan"]["stages"][-1]["r_c"] == hits.budget.r_c
    assert "plan" not in again.search("whales").to_dict()


@pytest.mark.parametrize(
    ("limits", "plan"),
    [
        ({}, GOOD),  # the fastest with the recall that was wanted
        ({"min_recall": 0.9}, FAST),
        ({"min_recall": 1.0}, EXACT),
        ({"max_ms": 10}, GOOD),  # the best that is fast enough
        ({"max_ms": 3}, FAST),  # 2 ms and 1 ms to read the pages
        ({"max_ms": 40, "min_recall": 0.95}, GOOD),
    ],
)
def test_limits_choose_among_the_plans(index, limits, plan):
    calibrated(index, FAST, GOOD, EXACT)
    hits = index.search("whales", budget="auto", **limits)
    assert (hits.budget, hits.plan.recall, hits.plan.ms) == (plan.budget, plan.recall, plan.ms + 1)
    if limits:  # which ask for auto by themselves
        assert index.search("whales", **limits).budget == plan.budget


def test_what_no_plan_can_do_is_refused_with_what_one_can(index):
    calibrated(index, FAST, GOOD)
    with pytest.raises(BudgetError, match=r"fastest takes 3.00 ms .*best reaches 0.993"):
        index.search("whales", max_ms=2)
    with pytest.raises(BudgetError, match="recall of at least 1"):
        index.search("whales", min_recall=1.0)
    with pytest.raises(BudgetError, match="must be over 0"):
        index.search("whales", max_ms=0)


def test_auto_without_a_calibration_says_how_to_make_one(index, monkeypatch):
    with pytest.raises(BudgetError, match="metaembed calibrate"):
        index.search("whales", budget="auto")
    monkeypatch.setenv("METAEMBED_BUDGET", "auto")
    with pytest.raises(BudgetError, match="metaembed calibrate"):
        index.search("whales")
    assert index.search("whales", exhaustive=True).budget == RetrievalBudget(16, 64)
    assert index.search("whales", budget="4,8").budget == RetrievalBudget(4, 8)
    assert index.score("whales", ["book#1"]).budget == RetrievalBudget(16, 64)


@pytest.mark.parametrize(
    "options",
    [
        {"budget": "auto", "candidates": 9},
        {"budget": "auto", "exhaustive": True},
        {"budget": "4,8", "max_ms": 5},
        {"budget": "4,8", "min_recall": 0.9},
        {"max_ms": 5, "exhaustive": True},
    ],
)
def test_options_that_exclude_each_other_are_refused(index, options):
    calibrated(index, GOOD)
    with pytest.raises(BudgetError, match="leave"):
        index.search("whales", **options)


def test_a_calibration_that_no_longer_fits_says_so(tmp_path, encoder):
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add(pages(30))
    calibrated(index, GOOD, count=30)
    assert index.search("whales", budget="auto").plan.note == ""
    index.add(pages(70, source="more"))
    note = index.search("whales", k=20, budget="auto").plan.note
    assert "made for 30 pages and there are 100 now" in note
    assert "the best 10 pages and 20 are asked for" in note
    calibrated(index, GOOD)
    index._calibration.about = "another model"
    with pytest.raises(BudgetError, match="another model"):
        index.search("whales", budget="auto")
    index._calibration.path.write_text("{}")
    with pytest.raises(BudgetError, match="cannot be read"):
        index.search("whales", budget="auto")


@pytest.mark.parametrize("k", [0, -1, 2.5])
def test_a_top_to_calibrate_for_is_a_whole_number(index, k):
    with pytest.raises(StoreError, match="k must be a whole number of at least 1"):
        index.calibrate(["whales", "apples"], k=k)


def test_calibrating_leaves_dead_rows_out(tmp_path, encoder):
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add(pages(60))
    index.search("warm the cache")
    index.delete(where={"even": True})
    found = index.calibrate(queries(12), k=3, recall=1.0)
    assert found.pages == 30
    exact = [plan for plan in found.plans if not plan.stages and plan.budget.r_c == 64]
    assert [plan.recall for plan in exact] == [1.0]


def test_queries_are_made_of_the_pages_texts_where_none_are_given(index, encoder, monkeypatch):
    asked = []
    encode = encoder.encode_query
    monkeypatch.setattr(encoder, "encode_query", lambda q, **k: (asked.extend(q), encode(q))[1])
    assert index.calibrate(k=3).queries == 120
    texts = {page.text for page in index.get(index.ids())}
    assert (
        set(asked) - set(unrelated_questions()) == texts
    )  # all of them are shorter than the piece that is taken
    with pytest.raises(BudgetError, match="without text"):
        PageIndex.open(":memory:", encoder).calibrate()
    with pytest.raises(BudgetError, match="at least 2 queries"):
        index.calibrate(["one"])


def test_recall_measures_the_chosen_plan_against_everything(index):
    loses = Plan(RetrievalBudget(1, 1), (), recall=0.5, ms=1.0, pages=120)
    calibrated(index, loses)
    asked = queries(10)
    low = index.recall(asked, k=5, budget="auto")
    exact = [index.search(q, k=5, exhaustive=True) for q in asked]
    quick = [index.search(q, k=5, budget="fast", exhaustive=True) for q in asked]
    both = [
        len({h.page.id for h in a} & {h.page.id for h in b})
        for a, b in zip(exact, quick, strict=True)
    ]
    assert low == pytest.approx(sum(both) / 50)
    assert 0 < low < 1
    calibrated(index, EXACT)
    assert index.recall(asked, k=5, budget="auto") == 1.0


# -- the command line ------------------------------------------------------------------------


@pytest.mark.integration
def test_the_command_calibrates_and_searches_by_it(tmp_path, encoder, loaded, run):
    place = tmp_path / "i"
    PageIndex.open(place, encoder).add(pages())
    _, err = run("search", "whales", "--index", place, "--budget", "auto", code=1)
    assert "metaembed calibrate" in err
    file = tmp_path / "queries.txt"
    file.write_text("\n".join(queries()) + "\n\n")
    report = json.loads(run("calibrate", "--index", place, "--queries", file, "--json")[0])
    assert (report["queries"], report["pages"], report["k"]) == (24, 120, 10)
    assert {"budget", "stages", "recall", "ms"} == set(report["plans"][0])
    assert "search --budget auto" in run("calibrate", "--index", place, "-k", 3)[0]
    limits = ("--budget", "auto", "--min-recall", "0.5", "--max-ms", "10000")
    found = json.loads(run("search", "whales", "--index", place, "--json", *limits)[0])
    assert found["plan"]["way"] == "auto"
    assert "chosen by the calibration" in run("search", "whales", "--index", place, *limits)[0]
    run("search", "x", "--index", place, "--max-ms", "soon", code=2)
    run("calibrate", "--index", place, "--recall", "1.5", code=2)


def test_queries_are_read_from_lines_and_from_json_lines(tmp_path):
    plain, lines = tmp_path / "q.txt", tmp_path / "q.jsonl"
    plain.write_text("\ufeffone\n\n two \n")
    assert read_queries(plain) == ["one", "two"]
    lines.write_text('{"_id": "1", "text": "one"}\n')
    assert read_queries(lines) == ["one"]
    lines.write_text('{"text": "one"}\n\n{"_id": "2"}\n')
    with pytest.raises(DatasetError, match="line 3"):
        read_queries(lines)


# -- real embeddings -------------------------------------------------------------------------


@pytest.mark.integration
def test_on_real_embeddings_every_way_finds_what_the_exact_twin_finds(tmp_path):
    """Sentences about 60 subjects by the shipped checkpoint; 30 ask about one of them."""
    index = PageIndex.open(tmp_path / "i")
    subjects = REAL_SUBJECTS
    index.add(
        Page(source=f"{n:02}", text=f"{subject} {what}")
        for n, (subject, what) in enumerate((s, w) for s in subjects for w in REAL_TEXTS)
    )
    asked = [f"where do I read about {subject.lower()}?" for subject in subjects]
    exact = ranking(index, index.encoder, asked[0], RetrievalBudget(16, 64))
    assert_ranked(index.search(asked[0], k=10, exhaustive=True), exact)
    assert index.recall(asked, k=10) == 1.0
    assert index.recall(asked, k=5, candidates=40) >= 0.9
    index.calibrate(asked, k=5, recall=0.95)
    assert index.recall(asked, k=5, budget="auto") >= 0.9
    found = index.search(asked[0], k=5, budget="auto")
    assert not math.isnan(found.plan.recall)
    assert np.isfinite(found.plan.ms)


REAL_SUBJECTS = [
    "Sailing boats", "Steam engines", "Bee keeping", "Roman roads", "Sour dough bread",
    "Volcanoes", "String quartets", "Income tax", "Heart surgery", "Solar panels",
    "Chess openings", "Glaciers", "Printing presses", "Orchids", "Compilers",
]  # fmt: skip
REAL_TEXTS = [
    "and how they began, from early drawings to the first working examples.",
    "for beginners: tools, costs and the mistakes that everybody makes once.",
    "in numbers: a table of sizes, weights and prices by country and year.",
    "and the law: permits, insurance and who answers for damage.",
]
