"""What OCR reads of the pictures inside a page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from metaembed_rag.pages import Page
from metaembed_rag.pages.figure_texts import texts_of, unread_figures, with_figure_texts
from metaembed_rag.pages.figures import Figure
from metaembed_rag.pages.frames import page_frame, page_of
from metaembed_rag.pages.lines import Lettering, unpacked
from metaembed_rag.pages.reading import with_part

CHART = Figure.of((0.25, 0.5, 0.75, 1.0), Image.new("RGB", (40, 20), "navy"))
PHOTO = Figure.of((0.0, 0.0, 0.2, 0.2), Image.new("RGB", (20, 20), "red"))
PAGE = Page("report.pdf", text="Exports by year", figures=(CHART, PHOTO))
READ = Lettering("Norway 12", [("Norway 12", (0.0, 0.0, 0.5, 0.5))])


def test_what_is_read_stands_below_the_text_and_is_marked() -> None:
    page = with_figure_texts(PAGE, {CHART.hash: READ})
    assert (page.text, page.text_from) == ("Exports by year\nNorway 12", "text, ocr")
    assert page.text_layer == "Exports by year"


def test_the_content_hash_does_not_depend_on_it() -> None:
    assert with_figure_texts(PAGE, {CHART.hash: READ}).content_hash() == PAGE.content_hash()


def test_its_lines_stand_where_the_figure_stands_on_the_page() -> None:
    page = with_figure_texts(PAGE, {CHART.hash: READ})
    (line,) = unpacked(page.lines, len(page.text))
    assert page.text[line.start : line.end] == "Norway 12"
    assert [round(value, 3) for value in line.box] == [0.25, 0.5, 0.5, 0.75]


def test_words_that_the_page_says_are_not_doubled() -> None:
    page = with_figure_texts(PAGE, {CHART.hash: "Exports by year\nNorway 12"})
    assert page.text == "Exports by year\nNorway 12"


def test_a_figure_without_letters_changes_nothing_and_is_read_no_more() -> None:
    page = with_figure_texts(PAGE, {CHART.hash: "", PHOTO.hash: ""})
    assert (page.text, page.text_from_ocr) == (PAGE.text, False)
    assert unread_figures(PAGE) == [CHART, PHOTO]
    assert unread_figures(page) == []


def test_what_was_read_comes_back_with_its_lines() -> None:
    found = texts_of(with_figure_texts(PAGE, {CHART.hash: READ}))[CHART.hash]
    assert isinstance(found, Lettering)
    assert found == READ
    assert [said for said, _ in found.lines] == ["Norway 12"]


def test_damaged_texts_are_none() -> None:
    assert texts_of(replace(PAGE, figure_texts="[[1]]")) == {}
    assert texts_of(replace(PAGE, figure_texts="{")) == {}


def test_what_was_read_later_comes_behind_what_was_read_before() -> None:
    page = with_figure_texts(PAGE, {CHART.hash: READ})
    both = with_figure_texts(page, {PHOTO.hash: "EXIT"})
    assert both.text == "Exports by year\nNorway 12\nEXIT"
    assert both.text_layer == "Exports by year"
    assert texts_of(both).keys() == {CHART.hash, PHOTO.hash}


def test_a_page_that_was_described_keeps_its_parts() -> None:
    described = with_part(PAGE, "description", "a bar chart")
    page = with_figure_texts(described, {CHART.hash: READ})
    assert page.text == "Exports by year\na bar chart\nNorway 12"
    assert [part.origin for part in page.parts] == ["text", "description", "ocr"]


def test_figures_come_out_of_the_process_that_reads_pdfs() -> None:
    page = replace(PAGE, image=Image.new("RGB", (7, 5), "green"))
    back = page_of(*page_frame(page), "report.pdf")
    assert back.figures == page.figures
    assert back.image is not None
    assert back.image.tobytes() == page.image.tobytes()  # type: ignore[union-attr]
    assert back.figures[0].image.getpixel((0, 0)) == CHART.image.getpixel((0, 0))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(CHART, data=b"no pixels"),
        replace(CHART, size=(41, 20)),
        replace(CHART, size=(100_000, 100_000)),
        replace(CHART, size=(-1, -1)),
    ],
)
def test_what_is_no_figure_does_not_come_out_of_that_process(wrong: Figure) -> None:
    with pytest.raises(ValueError, match="figure"):
        page_of(*page_frame(replace(PAGE, figures=(wrong,))), "report.pdf")
