"""The contact sheet of wrong answers, on a set whose wrong answers the reader can see."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import encoded, wrong_answers
from metaembed_rag.evaluation import Dataset, Query
from metaembed_rag.pages import Page

TEXTS = {
    "d_p1": "lift of a wing",
    "d_p2": "drag of a wing and its lift",
    "e_p1": "sales by region",
    "e_p2": "",
}


@pytest.fixture
def data():
    """Four pages, of which the last could not be read."""
    pages = [Page(id, id=id, text=text) for id, text in TEXTS.items()]
    asked = ["lift", "drag", "turnover region", "sales", "blank"]
    right = ["d_p1", "d_p2", "e_p1", "e_p1", "e_p2"]
    queries = tuple(Query(str(n), text) for n, text in enumerate(asked))
    qrels = {str(n): {page: 1} for n, page in enumerate(right)}
    return encoded.InputSet(
        dataset=Dataset("toy", tuple(pages), queries, qrels),
        modes=("text",),
        by_ocr=False,
        ids=list(TEXTS)[:3],
        texts=list(TEXTS.values())[:3],
        inputs=list(TEXTS.values())[:3],
        skipped=["e_p2: nothing"],
    )


SCORES = np.array(
    [
        [2.0, 3.0, 1.0],  # "lift": both pages of d have it
        [3.0, 2.0, 1.0],  # "drag": the first has it not
        [3.0, 2.0, 1.0],  # "turnover region": the right page has one word of it, the first none
        [1.0, 2.0, 3.0],  # "sales": right
        [1.0, 2.0, 3.0],  # "blank": not read
    ],
    np.float32,
)


def test_each_wrong_answer_has_a_kind_and_the_rank_of_the_right_page(data):
    found = wrong_answers.wrong_answers(data, SCORES, 4)
    assert [(one.query, one.kind, one.rank) for one in found] == [
        ("lift", "words on both", 2),
        ("drag", "words ignored", 2),
        ("turnover region", "words ignored", 3),
        ("blank", "not read", 0),
    ]
    assert found[0].scores == (0.5, 0.75)
    assert [one.same_document for one in found] == [True, True, False, True]


def test_a_first_page_with_more_of_the_words_is_a_kind_of_its_own():
    kind = wrong_answers._kind
    assert kind({"a", "b"}, {"a"}, {"a", "b"}) == "words elsewhere"


def test_examples_are_drawn_by_kind_and_seed(data):
    wrong = wrong_answers.wrong_answers(data, SCORES, 4)
    kinds = [one.kind for one in wrong_answers.drawn(wrong, 1, 0)]
    assert kinds == ["words ignored", "words on both", "not read"]
    assert wrong_answers.drawn(wrong, 1, 0) == wrong_answers.drawn(wrong, 1, 0)
    assert {wrong_answers.drawn(wrong, 1, seed)[0].query for seed in range(9)} == {
        "drag",
        "turnover region",
    }


def test_kinds_are_counted_over_all_queries(data):
    wrong = wrong_answers.wrong_answers(data, SCORES, 4)
    lines = wrong_answers.table(wrong_answers.counts([(data, wrong)])).splitlines()
    assert lines[2] == "| toy, text | words ignored | 2 of 5 (40%) | 1 | 2 |"
    assert lines[5] == "| toy, text | all | 4 of 5 (80%) | 3 | 3 |"
    assert not any("elsewhere" in line for line in lines)  # a kind that does not occur


def test_the_sheet_shows_pictures_or_texts(data):
    picture = Page("x", image=Image.new("RGB", (30, 40), "black"))
    one = wrong_answers.Wrong("why", "words on both", picture, 2, picture, (0.1, 0.2))
    shown = wrong_answers.sheet([(one, "toy", None, None)]).convert("L")
    told = wrong_answers.sheet([(one, "toy", "some text", "more")] * 4).convert("L")
    assert shown.width == told.width == wrong_answers.COLUMNS * wrong_answers.WIDTH
    assert told.height == 2 * shown.height
    middle = (wrong_answers.THUMBNAIL[0] // 2, wrong_answers.TEXT + wrong_answers.THUMBNAIL[1] // 2)
    assert shown.getpixel(middle) < 60
    assert told.getpixel(middle) > 200
