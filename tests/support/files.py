"""Small files for tests: PDFs and pictures whose content the reader of a test can see."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DictionaryObject,
    NameObject,
    NullObject,
    NumberObject,
    PdfObject,
    StreamObject,
    TextStringObject,
)
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

Outline = Sequence[tuple[str, int, int]]
"""Title, level (0 is the top) and page (from 1) of each entry."""


def pdf_bytes(
    texts: Sequence[str],
    *,
    size: tuple[float, float] = (300, 400),
    title: str = "",
    author: str = "",
    outline: Outline = (),
) -> bytes:
    """A PDF with one page per text; a text of several lines is drawn line by line."""
    buffer = io.BytesIO()
    pdf = canvas.Canvas(buffer, pagesize=size, invariant=True)
    pdf.setTitle(title)
    pdf.setAuthor(author)
    for number, text in enumerate(texts, start=1):
        for name, level, page in outline:
            if page == number:
                pdf.bookmarkPage(f"{name}{page}")
                pdf.addOutlineEntry(name, f"{name}{page}", level)
        for row, line in enumerate(text.split("\n")):
            pdf.drawString(30, size[1] - 50 - 20 * row, line)
        pdf.showPage()
    pdf.save()
    return buffer.getvalue()


def make_pdf(path: Path, texts: Sequence[str], **options: object) -> Path:
    """Write `pdf_bytes` to ``path``."""
    path.write_bytes(pdf_bytes(texts, **options))  # type: ignore[arg-type]
    return path


def encrypt(data: bytes, user_password: str, owner_password: str = "owner") -> bytes:
    """The PDF encrypted with AES-256; an empty user password lets everybody read it."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(user_password, owner_password, algorithm="AES-256")
    return _written(writer)


def with_roman_labels(data: bytes) -> bytes:
    """The PDF with the page labels i, ii, iii, …"""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.set_page_label(0, len(writer.pages) - 1, style="/r")
    return _written(writer)


def with_broken_page(data: bytes, number: int) -> bytes:
    """The PDF in whose page tree the page ``number`` is a number instead of a page."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    kids = writer.root_object["/Pages"]["/Kids"]
    kids[number - 1] = writer._add_object(NumberObject(7))
    return _written(writer)


def without_pages(data: bytes) -> bytes:
    """The PDF with an empty page tree."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    pages = writer.root_object["/Pages"]
    pages["/Kids"].clear()
    pages[NameObject("/Count")] = NumberObject(0)
    return _written(writer)


def picture(
    color: object = "white", size: tuple[int, int] = (60, 40), mode: str = "RGB"
) -> Image.Image:
    """A picture of one colour."""
    return Image.new(mode, size, color)  # type: ignore[arg-type]


def two_colors(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Left half red, right half blue: turned or mirrored pictures are told apart."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, size[0], size[1]))
    return image


def picture_of_text(lines: Sequence[str], size: tuple[int, int] = (500, 160)) -> Image.Image:
    """Black text of 24 pixels on white, as a chart or a screenshot has it."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        draw.text((20, 20 + 40 * row), line, fill="black", font=ImageFont.load_default(24))
    return image


def _written(writer: PdfWriter) -> bytes:
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def with_annotations(data: bytes, *annotations: dict[str, object], form: bool = True) -> bytes:
    """The PDF with annotations on its first page; those that are form fields join its form.

    Values are given as Python's: ``"/Name"`` becomes a name, other texts strings, lists arrays, a
    bytes object under ``"/AP"`` the content stream of the appearance.
    """
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    added = ArrayObject([writer._add_object(_annotation(writer, one)) for one in annotations])
    writer.pages[0][NameObject("/Annots")] = added
    if form:
        fields = ArrayObject(one for one in added if "/FT" in one.get_object())
        writer.root_object[NameObject("/AcroForm")] = DictionaryObject(
            {NameObject("/Fields"): fields, NameObject("/DR"): _fonts()}
        )
    return _written(writer)


def tiled_scan(header: str, across: int = 2, down: int = 3, share: float = 1.0) -> bytes:
    """A page below tiles of one grey picture, with digital text over them."""
    buffer = io.BytesIO()
    pdf = canvas.Canvas(buffer, pagesize=(300, 400), invariant=True)
    tile = ImageReader(picture("lightgrey"))
    width, height = 300 / across, 400 * share / down
    for column in range(across):
        for row in range(down):
            pdf.drawImage(tile, column * width, row * height, width, height)
    for row, line in enumerate(header.split("\n")):
        pdf.drawString(10, 385 - 15 * row, line)
    pdf.save()
    return buffer.getvalue()


def _annotation(writer: PdfWriter, given: dict[str, object]) -> DictionaryObject:
    values = {"/Type": "/Annot", "/Rect": [20, 20, 280, 60], **given}
    made = DictionaryObject({NameObject(key): _pdf_value(v) for key, v in values.items()})
    if isinstance(given.get("/AP"), bytes):
        stream = StreamObject()
        stream.set_data(given["/AP"])  # type: ignore[arg-type]
        stream[NameObject("/Subtype")] = NameObject("/Form")
        stream[NameObject("/BBox")] = ArrayObject(map(NumberObject, (0, 0, 260, 40)))
        stream[NameObject("/Resources")] = _fonts()
        drawn = DictionaryObject({NameObject("/N"): writer._add_object(stream)})
        made[NameObject("/AP")] = drawn
    return made


def _fonts() -> DictionaryObject:
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    made = DictionaryObject({NameObject(key): NameObject(value) for key, value in font.items()})
    return DictionaryObject(
        {
            NameObject("/Font"): DictionaryObject(
                {NameObject("/F1"): made, NameObject("/Helv"): made}
            )
        }
    )


def _pdf_value(value: object) -> PdfObject:
    if isinstance(value, PdfObject):
        return value
    if isinstance(value, dict):
        return DictionaryObject({NameObject(k): _pdf_value(v) for k, v in value.items()})
    if isinstance(value, list):
        return ArrayObject(map(_pdf_value, value))
    if isinstance(value, int):
        return NumberObject(value)
    if isinstance(value, str) and value.startswith("/"):
        return NameObject(value)
    return NullObject() if isinstance(value, bytes) else TextStringObject(value)


Placed = tuple[Image.Image, tuple[float, float, float, float]]
"""A picture, and left, bottom, width and height on the page in points."""


def illustrated(pages: Sequence[tuple[str, Sequence[Placed]]], rotate: int = 0) -> bytes:
    """A PDF with lines of text at the top of each page, and pictures below.

    Args:
        pages: The text and the pictures of each page of 300 x 400 points.
        rotate: Degrees against the clock by which everything lies turned on pages that do not say
            so.
    """
    buffer = io.BytesIO()
    size = (400, 300) if rotate in (90, 270) else (300, 400)
    pdf = canvas.Canvas(buffer, pagesize=size, invariant=True)
    for text, pictures in pages:
        pdf.translate(*{0: (0, 0), 90: (400, 0), 180: (300, 400), 270: (0, 300)}[rotate])
        pdf.rotate(rotate)
        for image, (left, bottom, width, height) in pictures:
            pdf.drawImage(ImageReader(image), left, bottom, width, height)
        for row, line in enumerate(text.split("\n")):
            pdf.drawString(20, 380 - 15 * row, line)
        pdf.showPage()
    pdf.save()
    return buffer.getvalue()
