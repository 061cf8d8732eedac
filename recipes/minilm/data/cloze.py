"""Sentences of manuals ask for the page they were taken out of (the inverse cloze task).

The query is a question made of the sentence where a rule of :mod:`questions` fits, else the
sentence in other words; the document is the page, mostly without the sentence.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from recipes.mini.data.corpora import TexPage
from recipes.mini.data.handbooks import is_prose
from recipes.minilm.data.questions import (
    as_questions,
    heading_question,
    paraphrase,
    reworded,
    sentences,
)
from recipes.minilm.data.wordnet import Words

_WORDS = (6, 45)
_FEWEST_SENTENCES = 3
_REMOVED_FOR_QUESTION, _REMOVED = 0.5, 0.9
_LEAST_LEFT = 150


@dataclass(frozen=True)
class Asked:
    """A query, the text that answers it, and the page that this text is made of.

    Attributes:
        kind: ``"question"``, ``"paraphrase"`` or ``"heading"``.
    """

    kind: str
    query: str
    text: str
    page: TexPage


def cloze_pairs(pages: Sequence[TexPage], words: Words, seed: str) -> list[Asked]:
    """For each page a question and a paraphrase made of its sentences, where it has them."""
    drawn = []
    for page in pages:
        rng = random.Random(f"{seed} {page.path} {page.page} {len(page.text)}")
        drawn += _of_page(page, words, rng)
    return drawn


def _of_page(page: TexPage, words: Words, rng: random.Random) -> list[Asked]:
    said = [one for one in sentences(page.text) if _fit(one)]
    if len(said) < _FEWEST_SENTENCES:
        return []
    rng.shuffle(said)
    drawn: dict[str, Asked] = {}
    for sentence in filter(is_prose, said):
        questions = [] if "question" in drawn else as_questions(sentence, words)
        if questions:
            query = reworded(rng.choice(questions), words, rng)
            text = _without(page.text, sentence, rng, _REMOVED_FOR_QUESTION)
            drawn["question"] = Asked("question", query, text, page)
        elif "paraphrase" not in drawn:
            query = paraphrase(sentence, words, rng)
            text = _without(page.text, sentence, rng, _REMOVED)
            drawn["paraphrase"] = Asked("paraphrase", query, text, page)
        if len(drawn) == 2:
            break
    return [one for one in drawn.values() if len(one.query.split()) >= 3]


def _fit(sentence: str) -> bool:
    fewest, most = _WORDS
    return fewest <= len(sentence.split()) <= most


def _without(text: str, sentence: str, rng: random.Random, share: float) -> str:
    left = " ".join(text.replace(sentence, " ").split())
    return left if rng.random() < share and len(left) >= _LEAST_LEFT else text


def heading_pairs(pages: Sequence[TexPage], words: Words, seed: str) -> list[Asked]:
    """Headings that say what is done ask how it is done."""
    drawn = []
    for page in pages:
        for title in page.titles:
            rng = random.Random(f"{seed} {title} {page.path}")
            question = heading_question(title, words)
            if question and re.search(r"[a-z]{3}", question):
                drawn.append(Asked("heading", reworded(question, words, rng), page.text, page))
    return drawn
