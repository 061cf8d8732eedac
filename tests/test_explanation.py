"""Explanations as HTML: what is drawn, where, and that nothing of a page becomes HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.explanation import (
    Explanation,
    MatchedWord,
    Passage,
    VectorShare,
    explanation_html,
    explanation_page,
    snippet_of,
)
from metaembed_rag.pages import Page

EVIL = "<script>alert(1)</script><img src=x onerror=y>"
BOX = (0.1, 0.2, 0.5, 0.25)


def explanation(text: str = "Revenue by region", *, image: bool = True) -> Explanation:
    page = Page(
        source="/home/anna/secret/report.pdf",
        number=3,
        text=text,
        image=Image.new("RGB", (90, 60), "red") if image else None,
    )
    return Explanation(
        text,
        RetrievalBudget(2, 8),
        page,
        0.5,
        (VectorShare(0, 4, 0.8, 0.4), VectorShare(1, 0, 0.2, 0.1)),
        (Passage(text, 0, len(text), 0.75, 0.5, (BOX,)),),
        (MatchedWord(text, 1.25, ((0, 7),), (BOX,)),),
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    return parser.found


def test_boxes_are_drawn_on_the_picture_in_percent_of_it() -> None:
    drawn = explanation_html(explanation())
    styles = [at.get("style") for tag, at in tags(drawn) if tag == "i" and at.get("class")]
    place = "left:10.00%;top:20.00%;width:40.00%;height:5.00%"
    assert styles == [place, place]  # of the passage and of the word


def test_a_bar_is_as_long_as_the_similarity_beside_the_highest() -> None:
    widths = re.findall(
        r'<td class="bar"><i style="width:([\d.]+)%', explanation_html(explanation())
    )
    assert widths == ["100.0", "25.0"]


def test_passages_words_scores_and_the_place_are_named() -> None:
    drawn = explanation_html(explanation())
    for said in ("report.pdf, page 3", "0.500 at budget (2,8)", "<mark>Revenue by region</mark>"):
        assert said in drawn
    assert "1.25" in drawn
    assert "/home/anna" not in drawn


def test_what_pages_and_queries_say_never_becomes_html() -> None:
    page = explanation_page(explanation(EVIL))
    assert {tag for tag, _ in tags(page)} & {"script", "a", "iframe", "link"} == set()
    images = [attributes for tag, attributes in tags(page) if tag == "img"]
    assert [str(image["src"])[:22] for image in images] == ["data:image/jpeg;base64"]
    assert not any(name.startswith("on") for _, at in tags(page) for name in at)


def test_without_a_picture_there_are_no_boxes() -> None:
    assert "<img" not in explanation_html(explanation(image=False))


def test_a_notebook_draws_it_and_a_page_holds_several() -> None:
    assert explanation()._repr_html_().count("<h2>") == 1
    page = explanation_page([explanation(), explanation()])
    assert page.startswith("<!doctype html>")
    assert page.count("<h2>") == 2
    assert page.count("<style>") == 1


WORDS = " ".join(f"word{number}" for number in range(100))


@pytest.mark.parametrize("at", [0, 300, len(WORDS) - 6])
def test_a_snippet_holds_the_passage_and_ends_with_a_word(at: int) -> None:
    start = WORDS.rfind(" ", 0, at) + 1
    end = start + len(WORDS[start:].split()[0])
    snippet = snippet_of(WORDS, [Passage(WORDS[start:end], start, end, 0.5, 0.5)])
    assert WORDS[start:end] in snippet.split()
    assert set(snippet.split()) <= set(WORDS.split())
    assert 200 <= len(snippet) <= 240


def test_without_a_passage_the_snippet_is_the_beginning() -> None:
    assert WORDS.startswith(snippet_of(WORDS, []))
    assert snippet_of("", []) == ""
