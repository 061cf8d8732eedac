"""Pages of PDFs whose text lies on its side or upside down."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from pypdf import PdfReader, PdfWriter

from metaembed_rag.pages import Limits, Page, load_pages, page_texts
from metaembed_rag.pages.lines import unpacked
from tests.support.files import Placed, illustrated, picture_of_text

TEXT = "\n".join(f"Line {n} of the northern herring" for n in range(6))
CHART: Placed = (picture_of_text(["Norway 12"]), (30.0, 100.0, 200.0, 80.0))
TURNS = [90, 180, 270]


def load(tmp_path: Path, data: bytes) -> Page:
    path = tmp_path / "file.pdf"
    path.write_bytes(data)
    (page,) = load_pages(path, limits=Limits(figures=True))
    return page


def said_to_be_turned(data: bytes, degrees: int) -> bytes:
    """The same with a ``/Rotate`` on every page."""
    writer, buffer = PdfWriter(clone_from=PdfReader(io.BytesIO(data))), io.BytesIO()
    for page in writer.pages:
        page.rotate(degrees)
    writer.write(buffer)
    return buffer.getvalue()


def differ(one: Page, other: Page) -> float:
    """The mean difference of two pages' pictures, of 255."""
    assert one.image is not None and other.image is not None
    difference = ImageChops.difference(one.image, other.image).convert("L")
    histogram = difference.histogram()
    return sum(n * count for n, count in enumerate(histogram)) / sum(histogram)


@pytest.mark.parametrize("turn", TURNS)
def test_text_and_picture_are_those_of_the_upright_page(tmp_path: Path, turn: int) -> None:
    upright = load(tmp_path, illustrated([(TEXT, [CHART])]))
    turned = load(tmp_path, illustrated([(TEXT, [CHART])], rotate=turn))
    assert turned.text == upright.text == TEXT
    assert turned.image is not None and upright.image is not None
    assert turned.image.size == upright.image.size
    assert differ(turned, upright) < 1


@pytest.mark.parametrize("turn", TURNS)
def test_lines_and_figures_stand_where_they_do_on_the_upright_page(
    tmp_path: Path, turn: int
) -> None:
    upright = load(tmp_path, illustrated([(TEXT, [CHART])]))
    turned = load(tmp_path, illustrated([(TEXT, [CHART])], rotate=turn))
    for one, other in zip(unpacked(turned.lines, 999), unpacked(upright.lines, 999), strict=True):
        assert one.box == pytest.approx(other.box, abs=0.005)
    (figure,), (expected,) = turned.figures, upright.figures
    assert figure.box == pytest.approx(expected.box, abs=0.005)


@pytest.mark.parametrize("turn", TURNS)
def test_a_page_that_says_how_it_is_turned_has_whole_words(tmp_path: Path, turn: int) -> None:
    data = said_to_be_turned(illustrated([(TEXT, [])], rotate=turn), turn)
    page = load(tmp_path, data)
    assert page.text == TEXT
    assert dict(page_texts(data)) == {1: TEXT}


def test_a_page_that_says_that_it_is_turned_and_is_not_is_read_upright(tmp_path: Path) -> None:
    page = load(tmp_path, said_to_be_turned(illustrated([(TEXT, [])]), 90))
    assert page.image is not None
    assert (page.text, page.image.width < page.image.height) == (TEXT, True)


def test_a_stamp_along_the_edge_does_not_turn_a_scan(tmp_path: Path) -> None:
    scan = Image.new("RGB", (60, 80), "lightgrey")
    stamp = "Received by the registry on 12 May 2024"
    data = illustrated([(stamp, [(scan, (0, 0, 300, 400))])], rotate=90)
    page = load(tmp_path, data)
    assert page.image is not None
    assert page.image.width > page.image.height


def test_a_page_with_a_few_turned_labels_stays_as_it_is(tmp_path: Path) -> None:
    page = load(tmp_path, illustrated([("short", [])], rotate=90))
    assert page.image is not None
    assert page.image.width > page.image.height
