"""Lines of a PDF stand where the picture of the page shows them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader, PdfWriter
from pypdf.generic import RectangleObject

from metaembed_rag.pages import Page, load_pages
from metaembed_rag.pages.lines import Box, unpacked
from tests.support.files import pdf_bytes

LINES = ["Boiler pressure", "Flow meter of the second pump"]


def page_of(data: bytes) -> Page:
    [page] = load_pages(data, source="a.pdf")
    return page


def turned(angle: int) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_bytes(["\n".join(LINES)]))))
    writer.pages[0].rotate(angle)
    return written(writer)


def written(writer: PdfWriter) -> bytes:
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def ink(image: Image.Image, box: Box) -> tuple[float, float]:
    """The share of all dark pixels that a slightly wider box holds, and its own darkness."""
    dark = np.asarray(image.convert("L")) < 128
    height, width = dark.shape
    left, right = (round(width * x) for x in (box[0] - 0.01, box[2] + 0.01))
    top, bottom = (round(height * y) for y in (box[1] - 0.01, box[3] + 0.01))
    inside = dark[max(0, top) : bottom, max(0, left) : right]
    return inside.sum() / dark.sum(), inside.mean()


def assert_lines_are_where_the_ink_is(page: Page, expected: list[str]) -> None:
    lines = unpacked(page.lines, len(page.text))
    said = [page.text[line.start : line.end] for line in lines]
    assert sorted(said) == expected  # of a page on its side PDFium reads the last line first
    assert page.image is not None
    held = [ink(page.image, line.box) for line in lines]
    assert sum(share for share, _ in held) == pytest.approx(1, abs=0.03)
    assert min(darkness for _, darkness in held) > 0.05


def test_lines_of_a_page_are_where_its_ink_is() -> None:
    assert_lines_are_where_the_ink_is(page_of(pdf_bytes(["\n".join(LINES)])), LINES)


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_lines_of_a_turned_page_are_where_its_ink_is(angle: int) -> None:
    assert_lines_are_where_the_ink_is(page_of(turned(angle)), LINES)


def test_lines_of_a_page_that_is_cropped_are_where_its_ink_is() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_bytes(["\n".join(LINES)]))))
    writer.pages[0].cropbox = RectangleObject((20, 300, 280, 380))
    assert_lines_are_where_the_ink_is(page_of(written(writer)), LINES)


def test_a_page_without_text_has_no_lines() -> None:
    assert page_of(pdf_bytes([""])).lines == ""


def test_lines_are_no_part_of_the_content_hash() -> None:
    page = page_of(pdf_bytes(["Boiler"]))
    fields = {**vars(page), "lines": ""}
    assert page.lines
    assert Page(**fields).content_hash() == page.content_hash()
