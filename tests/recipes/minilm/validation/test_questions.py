"""The rules that the committed questions keep."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.examples import normalise
from recipes.mini.data.leaks import EvaluationText
from recipes.minilm.validation import Document, heading_words, read_documents, read_questions
from recipes.minilm.validation.questions import DESCRIPTIONS, reference

REAL = Path(os.environ.get("METAEMBED_DATA", Path(__file__).parents[5] / "shared" / "data"))

QUESTIONS = read_questions()
DOCUMENTS = read_documents()


def test_there_are_at_least_150_different_questions():
    assert len(QUESTIONS) >= 150
    assert len({normalise(one.question) for one in QUESTIONS}) == len(QUESTIONS)
    assert len({one.id for one in QUESTIONS}) == len(QUESTIONS)


def test_they_are_about_many_documents_and_at_most_six_about_one():
    asked = Counter((one.source, one.document) for one in QUESTIONS)
    assert max(asked.values()) <= 6
    assert sum(source != DESCRIPTIONS for source, _ in asked) >= 40


@pytest.mark.parametrize("one", QUESTIONS, ids=lambda one: one.id)
def test_a_question_holds_no_word_of_its_heading(one):
    assert heading_words(one.question, one.heading) == set()


@pytest.mark.parametrize(
    ("question", "heading", "shared"),
    [
        ("How are floats placed?", "Placing a float", {"plac", "float"}),
        ("Which of these is it?", "Which is it", set()),
        ("Where do pictures go?", "Placement of figures", set()),
    ],
)
def test_words_are_shared_whatever_their_endings(question, heading, shared):
    assert heading_words(question, heading) == shared


def test_every_answer_is_a_page_of_the_corpus():
    pages = {name for one in DOCUMENTS for name in one.references}
    assert {answer for one in QUESTIONS for answer in one.answers} <= pages


def test_references_and_digests_are_well_formed():
    for one in QUESTIONS:
        assert one.answers[0] == reference(one.source, one.document, one.page)
        assert len(set(one.answers)) == len(one.answers)
        assert all(re.fullmatch(r"[a-z0-9.+_-]+:\S+#[1-9]\d*", answer) for answer in one.answers)
        assert all(re.fullmatch("[0-9a-f]{12}", one) for one in one.digests)


def test_the_corpus_holds_a_document_once_and_enough_distractors():
    assert len({(one.package, one.path) for one in DOCUMENTS}) == len(DOCUMENTS)
    assert sum(len(one.pages) for one in DOCUMENTS) >= 4 * len(QUESTIONS)


@pytest.mark.skipif(not REAL.exists(), reason=f"no data at {REAL}; set METAEMBED_DATA")
def test_no_question_is_a_query_of_an_evaluation_set():
    leaks = EvaluationText(REAL)
    assert leaks.sets
    assert [one.question for one in QUESTIONS if leaks.holds_query(one.question)] == []


@pytest.mark.parametrize(
    "change",
    [{"question": " "}, {"kind": "riddle"}, {"digests": ()}, {"page": 99_999}, {"answers": ()}],
)
def test_a_malformed_question_is_refused(change):
    with pytest.raises(DatasetError, match="q001"):
        replace(QUESTIONS[0], **change)


@pytest.mark.parametrize("pages", [(), (0,), (2, 1), (1, 1)])
def test_a_document_without_ascending_pages_is_refused(pages):
    with pytest.raises(DatasetError, match="ascending"):
        Document("nut-doc", "FAQ.html", pages)


def test_a_row_with_a_wrong_field_names_the_question(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"id": "q001", "query": "Why?"}\n')
    with pytest.raises(DatasetError, match="q001"):
        read_questions(tmp_path / "q.jsonl")


def test_a_list_of_documents_that_is_none_is_refused(tmp_path):
    (tmp_path / "corpus.json").write_text("{}")
    with pytest.raises(DatasetError, match="no list of documents"):
        read_documents(tmp_path / "corpus.json")
