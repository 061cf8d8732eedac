"""Sentences and headings that ask for their page, and the neighbours that look alike."""

from __future__ import annotations

from recipes.mini.data.corpora import TexPage
from recipes.minilm.data.cloze import cloze_pairs, heading_pairs
from recipes.minilm.data.negatives import Neighbours
from tests.recipes.minilm.data.builders import WORDS

TEXT = (
    "You can remove the old jobs from the queue when the printer is off. All of the jobs that are"
    " left in it will then be printed in their order. The paper that is in the tray must be of the"
    " same size as the page that was asked for. There is no need to wait for the end of a job."
)
PAGE = TexPage("manual.html", 1, ("Removing a job", "Trays"), TEXT)


def test_a_page_is_asked_for_by_a_question_and_by_a_paraphrase():
    made = [one for seed in range(40) for one in cloze_pairs([PAGE], WORDS, str(seed))]
    assert {one.kind for one in made} == {"question", "paraphrase"}
    assert cloze_pairs([PAGE], WORDS, "0") == cloze_pairs([PAGE], WORDS, "0")
    questions = [one for one in made if one.kind == "question"]
    assert all(one.query.endswith("?") for one in questions)
    removed = [one for one in questions if "You can remove" not in one.text]
    assert removed and len(removed) < len(questions)
    assert any(len(one.text) < len(TEXT) for one in made if one.kind == "paraphrase")


def test_a_page_without_sentences_is_not_asked_for():
    assert cloze_pairs([TexPage("a", 1, (), "int main(void) { return 0; }")], WORDS, "0") == []


def test_a_heading_becomes_a_question():
    (one,) = heading_pairs([PAGE], WORDS, "0")
    assert one.kind == "heading" and one.query.startswith("how do I ") and one.text == TEXT
    assert one.query.endswith(" a job?")


def test_the_hardest_page_shares_words_but_not_all_of_them():
    near = Neighbours(
        [
            ("a", "the printer queue of jobs"),
            ("a", "the printer queue holds jobs that nobody removes"),
            ("a", "printer paper in a tray"),
            ("a", "nothing of interest"),
            ("b", "printer queue elsewhere"),
        ]
    )
    answer = "the printer queue of jobs"
    asked = "printer queue jobs removed quickly tomorrow"
    assert near.hardest("a", asked, [answer]) == "the printer queue holds jobs that nobody removes"
    assert near.hardest("a", "printer queue jobs", [answer]) == "printer paper in a tray"
    assert near.hardest("b", asked, ["printer queue elsewhere"]) is None
