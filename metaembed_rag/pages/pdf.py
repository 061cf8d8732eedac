"""PDF -> pages: text, outline, labels, metadata and picture, all by pypdfium2.

The text of a page is its text layer, then what stands in form fields, notes and stamps, and on the
first page the names of attached files. A page that shows more than its text says is marked as
unread: it is a scan below a line of text, or its text layer cannot be read.

PDFium is not thread-safe, so every call into it happens under one lock of this process. The lock
is re-entrant because a document that is garbage-collected closes itself, perhaps inside a call.
"""

from __future__ import annotations

import math
import re
import threading
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import pypdfium2 as pdfium

from metaembed_rag.errors import (
    EncryptedFileError,
    FileTooLargeError,
    PageError,
    UnreadableFileError,
)
from metaembed_rag.pages.figures import MAX_SIDE, MOST_PIXELS, Figure
from metaembed_rag.pages.legibility import decodable_lines, is_undecodable, looks_enciphered
from metaembed_rag.pages.lines import Box, located, packed
from metaembed_rag.pages.page import CIPHER, SCAN, UNDECODABLE, Page
from metaembed_rag.pages.pdf_fields import annotation_texts, attachment_names, draw_into_page
from metaembed_rag.pages.pdf_lines import text_lines
from metaembed_rag.pages.pdf_pictures import figure_boxes, outline_count, picture_share
from metaembed_rag.pages.pdf_turned import straighten
from metaembed_rag.pages.pdf_xfa import xfa_values

if TYPE_CHECKING:
    from PIL import Image

PDFIUM_LOCK = threading.RLock()
_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_FAILURES = (pdfium.PdfiumError, OSError, ValueError, ArithmeticError, MemoryError)
_MAX_OUTLINE = 50_000
_MAX_ASPECT = 100
_MAX_SCALE = 4.0  # 288 dpi: enlarging a stamp to a full page would invent pixels
_SHORT_TEXT = 300
"""Characters: a fax line, a Bates number and a footer have less, a page of text has more."""
_SCANNED_SHARE = 0.5
"""Of a page's area below pictures, from which a short text is not all that it says."""
_OUTLINES = 100
"""Shapes with which it is not, either: some twenty words as outlines."""
_WRITTEN = 150
"""Characters of the text layer over a figure from which it is taken for a picture of that text."""
_LEAST_CONTRAST = 30
_FIELDS = ("Title", "Author", "Subject", "Keywords")


@dataclass(frozen=True)
class _Heading:
    index: int  # of the page, from 0
    level: int
    title: str


@dataclass(frozen=True)
class _Shown:
    """What PDFium gives of a page.

    Attributes:
        image: RGB.
        text: The text layer, as it is.
        beside: What fields and stamps show, their values, and notes.
        is_drawn: Whether the page shows more than its text layer, which is short.
        label: Its number as the document writes it.
        lines: What stands in each line of the text layer, and where on the picture.
        figures: Pictures inside of a page that has a text layer.
    """

    image: Image.Image
    text: str
    beside: list[str]
    is_drawn: bool
    label: str
    lines: list[tuple[str, Box]]
    figures: list[Figure]


_index = attrgetter("index")


def read_pdf(
    data: bytes,
    source: str,
    password: str | None,
    max_side: int,
    max_pages: int,
    *,
    first: int = 1,
    figures: bool = False,
    opened: Callable[[int], object] = lambda count: None,
) -> Iterator[Page | PageError]:
    """Yield each page of a PDF from the ``first``, or the error of a page that cannot be read.

    ``opened`` is told the number of pages when the document has been opened. ``figures`` are drawn
    for OCR where that is asked; where they stand is told anyway.

    Raises:
        EncryptedFileError: It needs a password, or another one.
        UnreadableFileError: It is damaged or has no pages.
        FileTooLargeError: It has more than ``max_pages`` pages.
    """
    with _document(data, source, password) as document:
        with PDFIUM_LOCK:
            count = _count(document, source, max_pages)
            shared = _document_metadata(document)
            outline = _outline(document)
            on_first = xfa_values(document) + attachment_names(document)
        opened(count)
        for index in range(first - 1, count):
            try:
                with PDFIUM_LOCK:
                    shown = _shown(document, index, source, max_side, figures)
            except PageError as error:
                yield error
                continue
            own = {"label": shown.label, "section": section_of(outline, index)}
            page = Page(
                source=source,
                number=index + 1,
                image=shown.image,
                metadata=shared | {name: value for name, value in own.items() if value},
                page_count=count,
                figures=tuple(shown.figures),
            )
            yield _with_text(page, shown, on_first if index == 0 else [])


def read_texts(
    data: bytes, choose: Callable[[int], Iterable[int]], source: str = "a PDF"
) -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and text layer of the pages that ``choose`` takes of their count.

    Raises:
        PageError: The PDF, or one of these pages, cannot be read.
    """
    with _document(data, source, None) as document:
        for number in choose(len(document)):
            with PDFIUM_LOCK, _upright(document, number - 1, source) as page:
                text = clean_text(_raw_text(page))
            yield number, text


def count_pdf(path: Path) -> int:
    """The number of pages; 1 where the file cannot be read, which its reader will report."""
    with suppress(OSError, pdfium.PdfiumError), PDFIUM_LOCK, pdfium.PdfDocument(path) as document:
        return len(document)
    return 1


@contextmanager
def _document(data: bytes, source: str, password: str | None) -> Iterator[pdfium.PdfDocument]:
    """A document, closed afterwards; between opening and closing it the lock is free."""
    try:
        with PDFIUM_LOCK:
            document = _open(data, password)
            document.init_forms()  # otherwise the values in form fields are not drawn
    except _FAILURES as error:
        if getattr(error, "err_code", None) == _PASSWORD_ERROR:
            state = "the password given is wrong" if password else "it is encrypted"
            how = "--password, or password= in Python"
            raise EncryptedFileError(
                source, f"{state}: give its password ({how}), or save a copy without one"
            ) from None
        raise UnreadableFileError(
            source, "is damaged, has no pages, or is no PDF; open it in a PDF viewer to check"
        ) from error
    try:
        yield document
    finally:
        with PDFIUM_LOCK:
            document.close()


def _open(data: bytes, password: str | None) -> pdfium.PdfDocument:
    """A document; the password is used where it is needed.

    PDFium refuses an encrypted file that everybody may read when it is given a wrong password.
    """
    try:
        return pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if not password or error.err_code != _PASSWORD_ERROR:
            raise
    return pdfium.PdfDocument(data, password=password)


def _count(document: pdfium.PdfDocument, source: str, max_pages: int) -> int:
    count = len(document)
    if count == 0:
        raise UnreadableFileError(source, "has no pages; make the PDF again")
    if count > max_pages:
        raise FileTooLargeError(
            source,
            f"has {count:,} pages, over the limit of {max_pages:,}; split it, or raise max_pages",
        )
    return count


def _document_metadata(document: pdfium.PdfDocument) -> dict[str, str]:
    found: Mapping[str, str] = document.get_metadata_dict(skip_empty=True)
    return {name.lower(): value for name in _FIELDS if (value := one_line(found.get(name, "")))}


def _outline(document: pdfium.PdfDocument) -> list[_Heading]:
    """The outline's titles that lead to a page, by page; those of one page in their order."""
    headings = []
    for bookmark in islice(document.get_toc(), _MAX_OUTLINE):
        target = bookmark.get_dest()
        index = None if target is None else target.get_index()
        title = one_line(bookmark.get_title())
        if index is not None and title:
            headings.append(_Heading(index, bookmark.level, title))
    return sorted(headings, key=_index)


def section_of(outline: list[_Heading], index: int) -> str:
    """The innermost outline title that covers the page ``index`` (from 0), or ``""``.

    Of several sections that start on the page it is the first, with the subsections that start
    right below it; when none starts there, the one that goes on from an earlier page.
    """
    first = bisect_left(outline, index, key=_index)
    end = bisect_right(outline, index, key=_index)
    if first == end:
        return outline[first - 1].title if first else ""
    innermost = outline[first]
    for heading in outline[first + 1 : end]:
        if heading.level <= innermost.level:
            break
        innermost = heading
    return innermost.title


@contextmanager
def _opened(document: pdfium.PdfDocument, index: int, source: str) -> Iterator[pdfium.PdfPage]:
    """One page, its memory freed afterwards; what fails in PDFium becomes that page's error."""
    try:
        page = document[index]
        try:
            yield page
        finally:
            page.close()
    except _FAILURES as error:
        raise UnreadableFileError(
            f"{source}#{index + 1}",
            f"this page of the PDF is damaged ({error}); save the PDF again",
        ) from error


@contextmanager
def _upright(document: pdfium.PdfDocument, index: int, source: str) -> Iterator[pdfium.PdfPage]:
    """One page as :func:`_opened` gives it, its lines from left to right."""
    with _opened(document, index, source) as page:
        if not straighten(page):
            yield page
            return
    with _opened(document, index, source) as page:
        yield page


def _raw_text(page: pdfium.PdfPage) -> str:
    with closing(page.get_textpage()) as textpage:
        return str(textpage.get_text_bounded())


def _drawn_text(document: pdfium.PdfDocument, index: int, before: str) -> str:
    """What fields and stamps show, once :func:`draw_into_page` has made it text of the page."""
    try:
        with _opened(document, index, "") as page:
            text = _raw_text(page)
    except PageError:
        return ""  # the page itself was read before
    if text.startswith(before):
        return text[len(before) :]
    known = set(before.splitlines())
    return "\n".join(line for line in text.splitlines() if line not in known)


def _is_drawn(page: pdfium.PdfPage) -> bool:
    """Whether a page is a scan, or letters that were turned into outlines."""
    return picture_share(page) >= _SCANNED_SHARE or outline_count(page) >= _OUTLINES


def _shown(
    document: pdfium.PdfDocument, index: int, source: str, max_side: int, figures: bool
) -> _Shown:
    """Draw a page, then read it: what its annotations show is made text of the page at last."""
    with _upright(document, index, source) as page:
        image = _render(page, max_side, f"{source}#{index + 1}")
        label = one_line(document.get_page_label(index))
        with closing(page.get_textpage()) as textpage:
            raw, lines = str(textpage.get_text_bounded()), list(text_lines(page, textpage))
        is_drawn = len(raw) < _SHORT_TEXT and _is_drawn(page)
        is_written = bool(raw.strip()) and not is_drawn  # what is not is read as a whole
        inside = list(_figures(page, lines, drawn=figures)) if is_written else []
        beside = annotation_texts(page)
        is_changed = draw_into_page(page)
    drawn = _drawn_text(document, index, raw) if is_changed else ""
    return _Shown(image, raw, [drawn, *beside], is_drawn, label, lines, inside)


def _figures(
    page: pdfium.PdfPage, lines: list[tuple[str, Box]], *, drawn: bool
) -> Iterator[Figure]:
    """The page's figures, without those whose text is in the text layer already."""
    left = MOST_PIXELS
    for box in figure_boxes(page):
        if sum(len(said) for said, at in lines if _is_within(at, box)) >= _WRITTEN:
            continue
        if not drawn:
            yield Figure(box)
            continue
        image = _drawn_part(page, box)
        left -= image.width * image.height
        if left < 0:
            return
        if _is_seen(image):
            yield Figure.of(box, image)


def _is_within(box: Box, around: Box) -> bool:
    """Whether the middle of a box is in another one."""
    return all(around[n] <= (box[n] + box[n + 2]) / 2 <= around[n + 2] for n in (0, 1))


def _is_seen(image: Image.Image) -> bool:
    """Whether a picture has anything on it."""
    used = [shade for shade, count in enumerate(image.convert("L").histogram()) if count]
    return used[-1] - used[0] >= _LEAST_CONTRAST


def _drawn_part(page: pdfium.PdfPage, box: Box) -> Image.Image:
    """A part of the page, as large as OCR can make use of."""
    width, height = page.get_size()
    longest = max((box[2] - box[0]) * width, (box[3] - box[1]) * height)
    scale = min(MAX_SIDE / longest * (1 - 1e-6), _MAX_SCALE)
    crop = (box[0] * width, (1 - box[3]) * height, (1 - box[2]) * width, box[1] * height)
    return _as_picture(page.render(scale=scale, crop=crop, may_draw_forms=True))


def _with_text(page: Page, shown: _Shown, beside: list[str]) -> Page:
    """The page with its text layer and what is written beside it, and what is unread of it.

    Args:
        page: Without text.
        shown: What PDFium gives of it.
        beside: More texts; what the page says already is left out.
    """
    raw, unread = shown.text, ""
    if is_undecodable(raw):
        raw, unread = decodable_lines(raw), UNDECODABLE
    layer = clean_text(raw)
    others = map(clean_text, [*shown.beside, *beside])
    text = "\n".join(filter(None, [layer, *_unsaid(layer, others)]))
    if not unread and looks_enciphered(layer):
        unread = CIPHER
    elif not unread and text and (shown.is_drawn or not layer):
        unread = SCAN
    doubtful = len(layer) if unread == CIPHER else 0
    lines = packed(located(text, ((clean_text(said), box) for said, box in shown.lines)))
    return replace(page, text=text, unread=unread, doubtful=doubtful, lines=lines)


def _unsaid(text: str, others: Iterable[str]) -> Iterator[str]:
    """Those of ``others`` whose words do not stand in the text, or in one before, in a row."""
    said = f" {' '.join(text.split())} "
    for other in others:
        words = " ".join(other.split())
        if words and f" {words} " not in said:
            said += f"{words} "
            yield other


def _render(page: pdfium.PdfPage, max_side: int, name: str) -> Image.Image:
    width, height = page.get_size()
    if not (math.isfinite(width + height) and min(width, height) > 0):
        raise UnreadableFileError(name, f"this page has no area ({width:g} x {height:g} points)")
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise FileTooLargeError(
            name,
            f"this page of {width:g} x {height:g} points is over {_MAX_ASPECT} times longer"
            " than wide; cut it into pages",
        )
    # PDFium rounds sizes up: without the small cut 896 becomes 897 on some pages.
    scale = min(max_side / max(width, height) * (1 - 1e-6), _MAX_SCALE)
    return _as_picture(page.render(scale=scale, may_draw_forms=True))


def _as_picture(bitmap: pdfium.PdfBitmap) -> Image.Image:
    """What was drawn, RGB; its memory is freed."""
    try:
        picture: Image.Image = bitmap.to_pil()
        return picture.convert("RGB")
    finally:
        bitmap.close()


_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
_HYPHEN_AT_LINE_END = re.compile(r"[\x02\xad\ufffe]\s*\n?\s*(?=(\w?))")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff\ufffe\uffff\ud800-\udfff]")
_SPACES = re.compile(r"[^\S\n]+")
_EMPTY_LINES = re.compile(r"\n{3,}")


def clean_text(text: str) -> str:
    """Text as PDFium gives it -> words whole again, single spaces, lines kept.

    PDFium marks a hyphen at the end of a line as U+0002 (or U+FFFE) and drops the line's
    end: before a lower-case letter the word is joined, else the hyphen is put back.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    text = _HYPHEN_AT_LINE_END.sub(lambda m: "" if not m[1] or m[1].islower() else "-", text)
    text = _CONTROL.sub("", text.translate(_LIGATURES))
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return unicodedata.normalize("NFC", _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip())


def one_line(text: str) -> str:
    """A title or label without control characters and line ends, at most 500 characters."""
    return " ".join(clean_text(text).split())[:500]
