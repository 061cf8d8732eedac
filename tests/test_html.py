from __future__ import annotations

import base64
import io
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.hits import Hit, Hits, hits_html, hits_page
from metaembed_rag.pages import Page

PICTURE = Page(
    source="/home/anna/secret/report.pdf",
    number=3,
    image=Image.new("RGB", (900, 600), "red"),
    metadata={"section": "Sales <2024>"},
)
NOTE = Page(source="note.md", text="red & blue " * 200)
WRITTEN = Path(__file__).parent / "fixtures" / "hits.html"
"""A document as commit 529cd06 wrote it, with a word in the place of the picture's base64."""


def hits(*pages, query="a <b> c", seconds=0.0123):
    found = [Hit(rank, 1 - rank / 10, page) for rank, page in enumerate(pages, start=1)]
    return Hits(found, query, RetrievalBudget(4, 8), seconds)


def test_a_fragment_shows_query_budget_time_score_source_and_page():
    html = hits_html(hits(PICTURE, NOTE))
    for part in ("a &lt;b&gt; c", "budget (4,8) · 2 hits · 12 ms", "1. 0.900", "2. 0.800"):
        assert part in html
    assert "report.pdf, page 3<br>Sales &lt;2024&gt;" in html
    assert html.count("data:image/jpeg;base64,") == 1
    assert "red &amp; blue" in html


def test_the_passage_that_matched_stands_on_the_card_as_text():
    [hit] = hits(NOTE)
    html = replace(hit, snippet="a <b> passage")._repr_html_()
    assert "<small>a &lt;b&gt; passage</small>" in html


def test_whole_paths_stay_out_of_shared_notebooks():
    assert "/home/anna" not in hits_html(hits(PICTURE))
    assert "/home/anna" not in PICTURE._repr_html_()


def test_long_text_and_large_pictures_are_cut():
    assert len(hits_html(hits(NOTE))) < 4000
    small, large = (len(hits_html(hits(PICTURE), max_side=side)) for side in (50, 800))
    assert small < large


def test_several_searches_stand_one_below_the_other():
    html = hits_html([hits(NOTE, query="first"), hits(NOTE, query="second")])
    assert html.index("first") < html.index("second")
    assert html.count("<style>") == 1


def test_a_deleted_picture_gives_way_to_the_text():
    page = Page(source="a", text="what it said", image_path="/no/such/picture.jpg")
    assert "what it said" in hits_html(hits(page))


def test_no_hits_say_so():
    assert "No page was found." in hits_html(hits())


def test_a_document_is_whole():
    html = hits_page(hits(NOTE))
    assert html.startswith("<!doctype html>")
    assert "<title>a &lt;b&gt; c</title>" in html
    assert html.rstrip().endswith("</html>")


def test_notebooks_show_hits_a_hit_and_a_page():
    assert "budget (4,8)" in hits(NOTE)._repr_html_()
    assert "1. 0.900" in hits(NOTE)[0]._repr_html_()
    assert "note.md, page 1" in NOTE._repr_html_()


def test_a_document_is_byte_for_byte_what_it_was():
    words = Hits([Hit(1, 0.5, NOTE, 0.4, 2.0)], None, RetrievalBudget(1, 1), 1.5, "hybrid")
    picture = PICTURE.image.resize((90, 60))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=80)
    encoded = base64.b64encode(data.getvalue()).decode("ascii")
    html = hits_page([hits(PICTURE, NOTE), words, hits()], max_side=90)
    assert html == WRITTEN.read_text(encoding="utf-8").replace("PICTURE", encoded)


class Elements(HTMLParser):
    """The elements of a document, each with its attributes."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: set[tuple[str, tuple[str, ...]]] = set()
        self.sources: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add((tag, tuple(name for name, _ in attrs)))
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


HOSTILE = (
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></div><a href='javascript:alert(1)'>x</a>",
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_page_says_is_text_and_no_element(text):
    harmless = hits(PICTURE, NOTE)
    said = {"section": text, "title": text}
    image = Image.new("RGB", (90, 60), "red")
    pages = [
        Page(source=text, text=text, metadata=said),
        Page(source=text, text=text, metadata=said, image=image),
    ]
    found = hits(*pages, query=text)
    found.note = text
    for hostile, like in (
        (hits_page([found]), hits_page([harmless])),
        (pages[0]._repr_html_(), NOTE._repr_html_()),
        (pages[1]._repr_html_(), PICTURE._repr_html_()),
    ):
        elements = Elements(hostile)
        assert elements.found == Elements(like).found
        assert all(source.startswith("data:image/jpeg;base64,") for source in elements.sources)


def test_cards_need_nothing_but_the_standard_library():
    code = "import sys, metaembed_rag.html; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    ours = {name for name in loaded if name.partition(".")[0] == "metaembed_rag"}
    assert ours == {"metaembed_rag", "metaembed_rag.html"}
    assert not loaded & {"PIL", "numpy"}
