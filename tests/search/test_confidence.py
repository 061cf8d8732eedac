"""The confidence of a hit: how many unrelated questions score less in this very index."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from metaembed_rag import PageIndex
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.cli import main
from metaembed_rag.errors import BudgetError, StoreError
from metaembed_rag.hits import hit_card, shown_confidence
from metaembed_rag.options import SearchOptions
from metaembed_rag.pages import Page
from metaembed_rag.search.asking import budgets_up_to
from metaembed_rag.search.calibration import Calibration
from metaembed_rag.search.confidence import WORD_WEIGHT, Unrelated, evidence, unrelated_questions
from metaembed_rag.testing import FakeEncoder
from tests.support.indexes import index_of

ONE, FOUR = RetrievalBudget(1, 1), RetrievalBudget(4, 8)
PAGES = [
    Page(source="apples", text="red apples in the orchard"),
    *(Page(source=f"b{i}", text=f"word{i} word{i + 1} of a table in a report") for i in range(40)),
]
NONSENSE = "flurb gnarf zwiebelkuchen"


def maxima(number: int, seed: int) -> np.ndarray:
    """What best pages score: the maxima of many draws."""
    return np.random.default_rng(seed).normal(0.2, 0.05, (number, 500)).max(axis=1)


def scale(scores=None) -> Unrelated:
    scores = maxima(100, 0).tolist() if scores is None else scores
    more = [one + 0.02 for one in scores]
    return Unrelated.of({(1, 1): scores, (1, 64): more, (16, 1): more, (16, 64): more}, {})


@pytest.fixture
def index():
    index = index_of(PAGES, FakeEncoder(query_vectors=4, document_vectors=8))
    index.calibrate(["red apples", "word3 word4"])
    return index


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_a_confidence_is_the_share_of_unrelated_questions_that_score_less(level):
    sure = [scale().confidence(ONE, one) for one in maxima(4000, 1)]
    assert np.mean(np.array(sure) >= level) == pytest.approx(1 - level, abs=0.06)


def test_it_rises_with_the_score_and_stays_within_0_and_1():
    sure = [scale().confidence(ONE, one) for one in np.linspace(-1, 1, 400)]
    assert sure == sorted(sure)
    assert sure[0] == 0
    assert 0.999 < sure[-1] <= 1


def test_questions_that_do_belong_to_the_index_do_not_make_true_hits_doubtful():
    known = [*maxima(85, 0), *np.full(15, 0.9)]
    assert scale(known).confidence(ONE, 0.6) > 0.99


def test_between_two_budgets_it_lies_between():
    of = scale()
    low, between, high = (
        of.confidence(budget, 0.37) for budget in (ONE, FOUR, RetrievalBudget(16, 64))
    )
    assert high < between < low
    assert of.confidence(RetrievalBudget(32, 128), 0.37) == high


def test_all_unrelated_questions_with_one_score():
    of = scale([0.3] * 20)
    assert of.confidence(ONE, 0.2) == 0
    assert of.confidence(ONE, 0.4) > 0.99


def test_evidence_adds_the_words():
    assert evidence(0.3, 0.5) == pytest.approx(0.3 + WORD_WEIGHT * 0.5)
    of = Unrelated.of({(1, 1): maxima(50, 0)}, {(1, 1): maxima(50, 0)})
    assert of.confidence(ONE, 0.2, 1.5) > of.confidence(ONE, 0.2, 0.0)
    assert scale().confidence(ONE, 0.4, 0.5) is None


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"questions": 3, "vectors": [[1, 1, [0.1]]], "words": []},
        {"questions": 3, "vectors": [[1, 1]], "words": []},
        {"questions": 3, "vectors": [[1, 1, [float("nan")] * 17]], "words": []},
        {"questions": 3, "vectors": [], "words": []},
        {"questions": 3, "vectors": [[1, 1, [0.1] * 17], [2, 4, [0.1] * 17]], "words": []},
    ],
)
def test_what_is_no_record_of_it_is_refused(data):
    with pytest.raises(ValueError, match="unrelated"):
        Unrelated.from_dict(data)


def test_a_calibration_keeps_it(index):
    kept = index.calibrate(["red apples", "word3 word4"])
    assert Calibration.from_json(kept.to_json()) == kept
    earlier = replace(kept, unrelated=None)
    assert "unrelated" not in earlier.to_json()
    assert Calibration.from_json(earlier.to_json()) == earlier


def test_budgets_are_those_of_the_paper_up_to_what_there_is():
    assert [str(one) for one in budgets_up_to(RetrievalBudget(2, 6))] == [
        "1,1", "1,4", "1,6", "2,1", "2,4", "2,6",
    ]  # fmt: skip
    assert len(budgets_up_to(RetrievalBudget(16, 64))) == 25


def test_shipped_questions_are_many_and_different():
    questions = unrelated_questions()
    assert len(questions) == len(set(questions)) == 100
    assert all(one == one.strip() for one in questions)


@pytest.mark.parametrize("hybrid", [False, "auto", True, "rrf"])
@pytest.mark.parametrize("budget", ["fast", (4, 8), (2, 3)])
def test_a_match_is_told_from_what_is_none(index, hybrid, budget):
    right = index.search("red apples in the orchard", 1, hybrid=hybrid, budget=budget)[0]
    wrong = index.search(NONSENSE, 1, hybrid=hybrid, budget=budget)[0]
    assert right.page.source == "apples"
    assert wrong.confidence < 0.9 < right.confidence


def test_min_confidence_leaves_out_what_is_no_match_and_says_so(index):
    asked = {"min_confidence": 0.95}
    [hit] = index.search("red apples in the orchard", 3, **asked)
    assert hit.page.source == "apples"
    none = index.search(NONSENSE, 3, **asked)
    assert list(none) == []
    assert none.note.startswith("no page is a good match: the best has a confidence of 0.")
    assert none.to_dict()["note"] == none.note
    both = index.search_batch(["red apples in the orchard", NONSENSE], 3, **asked)
    assert [len(hits) for hits in both] == [1, 0]


def test_score_has_it_too(index):
    hits = index.score("red apples in the orchard", [page.id for page in PAGES[:3]])
    assert hits[0].confidence > 0.95 > hits[1].confidence


def test_before_calibrating_there_is_none():
    index = index_of(PAGES, FakeEncoder(query_vectors=4, document_vectors=8))
    [hit] = index.search("red apples", 1)
    assert hit.confidence is None
    assert "confidence" not in hit_card(hit)
    with pytest.raises(BudgetError, match="metaembed calibrate"):
        index.search("red apples", min_confidence=0.5)


def test_own_unrelated_questions(index):
    index.calibrate(["red apples", "word3"], unrelated=["red apples in the orchard"] * 30)
    assert index.search("red apples in the orchard", 1)[0].confidence < 0.9
    with pytest.raises(BudgetError, match="at least 20"):
        index.calibrate(["red apples", "word3"], unrelated=["one", "two"])


@pytest.mark.parametrize("value", [1.5, -0.1, "much", True])
def test_a_confidence_that_is_none_is_refused(value):
    with pytest.raises(StoreError, match="from 0 to 1"):
        SearchOptions(min_confidence=value)


def test_it_is_shown_with_two_places_and_never_as_1(index):
    assert [shown_confidence(one) for one in (0, 0.954, 0.9949, 0.9999)] == [
        "0.00", "0.95", "0.99", "over 0.99",
    ]  # fmt: skip
    assert "confidence over 0.99" in hit_card(index.search("red apples in the orchard", 1)[0])


@pytest.mark.integration
def test_both_frameworks_show_it_and_take_min_confidence(index):
    langchain = pytest.importorskip("metaembed_rag.langchain")
    llama_index = pytest.importorskip("metaembed_rag.llama_index")
    asked = "red apples in the orchard"
    built = langchain.MetaEmbedRetriever(index=index, k=3, min_confidence=0.95)
    called = langchain.MetaEmbedRetriever(index=index, k=3)
    store = langchain.MetaEmbedVectorStore(index)
    for documents in (
        built.invoke(asked),
        called.invoke(asked, min_confidence=0.95),
        store.similarity_search(asked, k=3, min_confidence=0.95),
    ):
        [document] = documents
        assert document.metadata["confidence"] > 0.95
    assert built.invoke(NONSENSE) == []
    retriever = llama_index.MetaEmbedRetriever(index, similarity_top_k=3, min_confidence=0.95)
    [node] = retriever.retrieve(asked)
    assert node.metadata["confidence"] > 0.95
    plain = llama_index.MetaEmbedRetriever(index, similarity_top_k=3)
    bundle = llama_index.MetaEmbedQueryBundle(asked, min_confidence=0.95)
    assert len(plain.retrieve(bundle)) == 1 < len(plain.retrieve(asked))


def test_the_command_line_shows_it(tmp_path, capsys):
    place = str(tmp_path / "index")
    text = tmp_path / "manual.md"
    text.write_text(
        "# Windows\n\nHow a window is split into two panes.\n\n# Fonts\n\nOf letters.\n"
    )
    common = ["--index", place]
    assert main(["index", str(text), *common, "--model", "mini"]) == 0
    questions = tmp_path / "unrelated.txt"
    questions.write_text("\n".join(unrelated_questions()[:30]))
    own = tmp_path / "own.txt"
    own.write_text("a window\nletters\n")
    capsys.readouterr()
    asked = ["calibrate", *common, "--queries", str(own), "--unrelated", str(questions)]
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unrelated"]["questions"] == 30
    assert main(asked) == 0
    assert "30 unrelated questions were asked too" in capsys.readouterr().out
    assert main(["search", "split a window into panes", *common]) == 0
    assert "confidence" in capsys.readouterr().out
    assert main(["search", "qqq xxx", *common, "--min-confidence", "0.99"]) == 0
    assert "no page is a good match" in capsys.readouterr().out
    assert main(["search", "qqq xxx", *common, "--min-confidence", "0.99", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["hits"] == []
    assert "no page is a good match" in answer["note"]


def test_an_index_that_is_opened_again_has_it(tmp_path):
    encoder = FakeEncoder(query_vectors=4, document_vectors=8)
    with PageIndex.open(tmp_path / "index", encoder) as index:
        index.add(PAGES)
        with PageIndex.open(tmp_path / "index", encoder) as reader:
            assert reader.search("red apples", 1)[0].confidence is None
            index.calibrate(["red apples", "word3 word4"])
            assert reader.search("red apples", 1)[0].confidence is not None
