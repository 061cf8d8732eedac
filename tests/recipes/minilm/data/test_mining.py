"""What an encoder finds, with one that knows three meanings."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from metaembed_rag.training.data import Example, Side  # noqa: E402
from recipes.mini.data.corpora import TexPage  # noqa: E402
from recipes.minilm.data.mining import mined_pairs, without_false_negatives  # noqa: E402

ASKING = "You can take away the old jobs from the queue of the machine."
SAME = "It is possible to remove a finished task that is waiting in the spool."
COPY = "You can take away the old jobs from the queue of the computer."
OTHER = "The paper in the tray must be of the same size as the page."

VECTORS = {
    ASKING: [1.0, 0.0, 0.0],
    COPY: [0.9, 0.436, 0.0],
    SAME: [0.8, 0.0, 0.6],
    OTHER: [0.1, 0.0, 0.995],
}


def encode(texts):
    return torch.tensor([VECTORS[text] for text in texts])


def page(number, text):
    return TexPage("manual.html", number, (), text)


def test_the_page_with_the_same_in_other_words_is_found():
    pages = [page(i, text) for i, text in enumerate((ASKING, SAME, COPY, OTHER))]
    found = {one.query.text: one for one in mined_pairs(pages, encode)}
    assert found[ASKING].positive.text == SAME  # the copy is nearer, and shares its words
    assert [side.text for side in found[ASKING].negatives] == [OTHER]
    assert mined_pairs([], encode) == []
    assert len(mined_pairs(pages, encode, most=2)) <= 2


def test_a_sentence_of_the_same_page_is_no_answer():
    assert mined_pairs([page(1, f"{ASKING} {SAME}")], encode) == []


def test_a_negative_that_is_as_near_as_the_positive_goes():
    rows = [
        Example(Side(ASKING), Side(SAME), (Side(COPY), Side(OTHER))),
        Example(Side(ASKING), Side(SAME)),
    ]
    kept = without_false_negatives(rows, encode)
    assert [side.text for side in kept[0].negatives] == [OTHER]
    assert kept[1] == rows[1]
    assert without_false_negatives(rows[1:], encode) == rows[1:]
