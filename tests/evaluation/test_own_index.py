"""An index as it stands on questions of its user."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from metaembed_rag.errors import BudgetError, DatasetError, StoreError
from metaembed_rag.evaluation import IndexReport, evaluate_index, report_page
from metaembed_rag.evaluation.report_page import curve
from metaembed_rag.pages import Page
from tests.support.indexes import index_of

TEXTS = ("red apples grow", "green pears ripen", "blue whales swim", "black coal burns")


@pytest.fixture
def pages(encoder):
    """Four pages of one word in common with nothing else."""
    texts = enumerate(TEXTS, start=1)
    return index_of([Page(source="/x/book.txt", number=n, text=text) for n, text in texts], encoder)


@pytest.fixture
def ask(tmp_path, pages):
    """Evaluate rows of "question|page"."""

    def ask(*rows: str, **keywords) -> IndexReport:
        lines = (f'"{row.split("|")[0]}",book.txt,{row.split("|")[1]}' for row in rows)
        path: Path = tmp_path / "q.csv"
        path.write_text("\n".join(["question,file,page", *lines]))
        return evaluate_index(pages, path, **keywords)

    return ask


def test_right_answers_are_all_right_at_every_budget_and_by_words(ask):
    report = ask("red apples|1", "blue whales|3")
    found = report.to_dict()
    assert (found["questions"], found["pages"], found["k"]) == (2, 4, 5)
    assert found["scoring"] == "hybrid"
    assert [one["budget"] for one in found["results"]] == [
        [1, 1],
        [2, 4],
        [4, 8],
        [8, 16],
        [16, 64],
    ]
    for system in (*found["results"], *found["vectors_alone"], found["bm25"]):
        assert system["ndcg@5"] == system["precision@1"] == system["mrr@10"] == 1
        assert system["failed"] == 0
    assert all(one["query_ms"] > 0 for one in found["results"])
    assert [one["bytes_per_page"] for one in found["results"]] == [66, 264, 528, 1056, 4224]
    assert found["failures"] == []


def test_a_question_that_fails_says_what_was_wanted_and_what_came_instead(ask):
    report = ask("red apples|1", "blue whales|4", k=1)
    (failure,) = report.failures
    assert failure.question == "blue whales"
    assert [page.text for page in failure.wanted] == ["black coal burns"]
    assert failure.rank in (2, 3, 4)
    assert failure.instead[0].page.text == "blue whales swim"
    assert len(failure.instead) == 3
    said = report.to_dict()["failures"][0]
    assert said["wanted"] == [{"source": "/x/book.txt", "page": 4}]
    assert said["instead"][0]["page"] == 3
    assert report.results[-1].failed(1) == 1
    assert report.bm25 is not None
    assert report.bm25.ranks == (1, None)  # no word of the question is on page 4


def test_a_question_with_several_right_pages_fails_only_without_any(ask):
    report = ask("blue whales|4", "blue whales|3", k=1)
    assert report.failures == ()
    assert report.results[-1].ranks == (1,)
    assert report.results[-1].to_dict(1)["recall@10"] == 1


def test_budgets_are_chosen_and_the_largest_one_counts(ask, shapes):
    report = ask("red apples|1", budgets=["4,8", "fast", (4, 8)], hybrid=False)
    assert [one["budget"] for one in report.to_dict()["results"]] == [[1, 1], [4, 8]]
    assert str(report.best) == "4,8"
    assert set(shapes) == {(1, 1), (4, 8)}
    assert report.vectors_alone == ()
    assert report.to_dict()["scoring"] == "maxsim"
    with pytest.raises(BudgetError, match="asks for 99 query vectors"):
        ask("red apples|1", budgets=["99,1"])
    with pytest.raises(StoreError, match="k must be"):
        ask("red apples|1", k=0)


def test_nothing_is_encoded_but_the_questions(ask, encoder):
    before = len(encoder.encoded)
    ask("red apples|1")
    assert len(encoder.encoded) == before


def test_pages_without_words_have_no_bm25(encoder, tmp_path):
    from PIL import Image

    image = Image.new("RGB", (20, 20), "red")
    index = index_of([Page(source="/x/a.png", image=image)], encoder)
    path = tmp_path / "q.csv"
    path.write_text("question,file,page\nred,a.png,1")
    report = evaluate_index(index, path)
    assert report.to_dict()["bm25"] is None
    assert "BM25" not in report_page(report)


def test_an_empty_index_is_a_sentence(encoder, tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("question,file,page\nred,a.png,1")
    with pytest.raises(DatasetError, match="the index holds no pages"):
        evaluate_index(index_of([], encoder), path)


def test_the_curve_is_drawn_where_the_numbers_are(ask):
    svg = ElementTree.fromstring(curve(ask("red apples|1", "blue whales|4", k=1)))
    lines = svg.findall("polyline")
    assert len(lines) == 3  # vectors and words, vectors alone, BM25
    points = [point.split(",") for point in lines[0].attrib["points"].split()]
    assert len(points) == 5
    titles = [circle.findtext("title") for circle in svg.findall("circle")]
    assert len(titles) == 10
    value = float(str(titles[0]).rpartition(" ")[2])
    top, bottom = 16, 320 - 64
    assert float(points[0][1]) == pytest.approx(top + (bottom - top) * (1 - value), abs=0.2)
    words = "".join(svg.itertext())
    assert "(16,64)" in words
    assert "4,224 B" in words


def test_one_budget_is_drawn_too(ask):
    svg = ElementTree.fromstring(curve(ask("red apples|1", budgets=["fast"])))
    assert len(svg.findall("circle")) == 2


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(encoder, tmp_path):
    hostile = "<script>alert(1)</script> apples"
    index = index_of(
        [Page(source="/x/<b>.txt", text=hostile), Page(source="/x/b.txt", text="coal")], encoder
    )
    path = tmp_path / "q.csv"
    path.write_text(f"question,file,page\n{hostile},b.txt,1")
    page = report_page(evaluate_index(index, path, k=1))
    assert "<script" not in page
    assert "<b>.txt" not in page
    assert "&lt;script&gt;" in page
    assert "the right page (framed) came at rank 2" in page
    for outside in ("http://", "https://", 'src="/', "@import", "url("):
        assert outside not in page
