"""What becomes a question, and what is left of a sentence in other words."""

from __future__ import annotations

import random

import pytest

from recipes.minilm.data.questions import as_questions, heading_question, paraphrase, sentences
from tests.recipes.minilm.data.builders import WORDS


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("To print your photos, choose the menu.", "how do I print my photos?"),
        ("This option lets you remove old files.", "how can I remove old files?"),
        ("You can change your password, too.", "can I change my password?"),
        ("If you lose the key, the disk cannot be read.", "what happens when I lose the key?"),
        ("If you are asked for it, type it again.", "what if I am asked for it?"),
        ("A spool is a folder where jobs wait.", "what is a spool?"),
        ("The disk is busy, and backups run then.", None),
        ("The disk is read at night because backups run then.", "why is the disk read at night?"),
        ("The limit is set in the main file.", "where is the limit set?"),
        ("It is a folder where jobs wait.", None),
        ("You can flabber the thing at will.", None),
    ],
)
def test_a_rule_makes_a_question_of_a_sentence(sentence, question):
    found = as_questions(sentence, WORDS)
    assert found == [] if question is None else question in found


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("Installing a printer", "how do I install a printer?"),
        ("Remove the old folder", "how do I remove the old folder?"),
        ("Print settings", None),
        ("Printer", None),
        ("Installing what?", None),
    ],
)
def test_a_heading_that_says_what_is_done_asks_how(heading, question):
    assert heading_question(heading, WORDS) == question


def test_a_paraphrase_is_short_and_of_other_words():
    rng = random.Random(0)
    made = [
        paraphrase("Remove the folder before the system starts.", WORDS, rng) for _ in range(50)
    ]
    assert any("directory" in one for one in made)
    assert any("folder" in one for one in made)
    assert all(len(one.split()) <= 9 for one in made)
    assert any("the" not in one.split() for one in made)
    long = " ".join(f"word{i}" for i in range(60))
    assert len(paraphrase(long, WORDS, rng).split()) == 16


def test_what_does_not_end_like_a_sentence_is_none():
    assert sentences("One thing. Another thing! and a list: x") == ["One thing."]
    assert sentences("Where is it? Here.") == ["Where is it?", "Here."]
