"""What a page says beyond its text: which pages OCR is to read, and its text beside theirs."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Literal, get_args

from PIL import Image
from PIL.Image import Transpose

from metaembed_rag.errors import ModelError
from metaembed_rag.pages.legibility import agrees, runs, squeezed
from metaembed_rag.pages.lines import (
    Lettering,
    lines_of,
    located,
    moved,
    packed,
    turn_of,
    turned_box,
    turned_lines,
    unpacked,
)
from metaembed_rag.pages.page import CIPHER, SCAN, UNDECODABLE, Page
from metaembed_rag.pages.parts import FROM_PIXELS, PicturePart, in_order, joined

Ocr = Literal["always", "auto", "never"]
"""When OCR reads a page's picture: ``always``, beside a text too; ``auto``, where the model needs
its text and the page has none, or less than it shows (`Page.unread`); ``never``."""

DESCRIPTION = "description"
"""The origin of what somebody wrote about the picture."""

_LETTERS_TO_TURN = 80
"""Letters and digits that were read on a picture from which it is turned upright."""
_TURNS = {90: Transpose.ROTATE_90, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_270}

_LONG = 500  # letters and digits

UNREAD = {
    SCAN: "the page is a picture, and only the short text beside it is in the index",
    UNDECODABLE: "its text layer stands for no characters, and is left out",
    CIPHER: "its text layer may be a cipher: it has no words of any language",
}
"""What each value of `Page.unread` means for the page, in a sentence."""


def ocr_policy(ocr: bool | Ocr) -> Ocr:
    """The policy that an option ``ocr`` names: True is ``auto``, False is ``never``.

    Raises:
        ModelError: There is no such policy.
    """
    if isinstance(ocr, bool):
        return "auto" if ocr else "never"
    if ocr in get_args(Ocr):
        return ocr
    raise ModelError(f"ocr {ocr!r} is not one of {', '.join(get_args(Ocr))}")


def as_unread(value: object) -> str:
    """What metadata under ``unread`` say of a page; ``""`` where they are somebody's own."""
    return value if isinstance(value, str) and value in UNREAD else ""


def ocr_is_installed() -> bool:
    """Whether the extra ``ocr`` is there; nothing is loaded."""
    return all(importlib.util.find_spec(name) for name in ("rapidocr", "onnxruntime"))


def completed(page: Page, read: str) -> Page:
    """The page with what OCR read of its picture, nothing said twice.

    A text that OCR confirms is kept as it is. A cipher is replaced; of other texts nothing is
    lost: they come first, then the lines that OCR found beside them. A picture that was read turned
    is turned, too.

    Args:
        page: Its text may be short, in doubt or empty.
        read: The text of its picture; may be empty.
    """
    page, read = upright(page, read)
    if page.parts:
        found = replace(with_part(page, "ocr", read), unread="", doubtful=0)
        return with_lines(found, page, read)
    known = page.text
    if page.unread == CIPHER:
        doubtful = page.doubtful or len(known)
        if agrees(known[:doubtful], read):
            return replace(page, unread="", doubtful=0)
        known = known[doubtful:].strip()
    text = merged(known, read)
    if text == page.text:
        return replace(page, unread="", doubtful=0)
    layer = page.text_layer if page.text_from_ocr else page.text
    found = replace(page, text=text, text_from_ocr=True, text_layer=layer, unread="", doubtful=0)
    return with_lines(found, page, read)


def upright(page: Page, read: str) -> tuple[Page, str]:
    """A page whose picture was read turned, with the picture turned; and what was read, with it.

    Not where only a few letters were read: a photo may show a sign that hangs sideways.
    """
    turn = turn_of(read)
    if not turn or (not page.turned and len(squeezed(read)) < _LETTERS_TO_TURN):
        return page, read
    lines = [(said, turned_box(box, turn)) for said, box in lines_of(read)]
    if page.image is not None and not page.turned:
        page = replace(
            page,
            image_hash=page.picture_hash(),
            image=turned_picture(page.image, turn),
            turned=turn,
            lines=turned_lines(page.lines, len(page.text), turn),
        )
    return page, Lettering(read, lines) if page.turned else read


def turned_picture(image: Image.Image, degrees: int) -> Image.Image:
    """A picture turned against the clock by 0, 90, 180 or 270 degrees."""
    return image.transpose(_TURNS[degrees]) if degrees in _TURNS else image


def with_lines(page: Page, before: Page, read: str) -> Page:
    """A page with the lines that it had before, and those of what was read of its picture.

    Args:
        page: With the text that it has now: the one that it had, and below it what was read.
        before: The page as it was.
        read: What was read, with its lines on the page's picture.
    """
    had = unpacked(before.lines, len(before.text))
    said = [(before.text[line.start : line.end], line.box) for line in had]
    own = located(page.text, said)
    behind = own[-1].end if own else 0
    new = located(page.text[behind:], lines_of(read))
    placed = [replace(one, start=one.start + behind, end=one.end + behind) for one in new]
    return replace(page, lines=packed([*own, *placed]))


def with_part(page: Page, origin: str, text: str) -> Page:
    """The page with a text from this origin in place of any that it had from there.

    Args:
        page: Any page; mostly one of a picture.
        origin: One of :data:`metaembed_rag.pages.parts.ORIGINS`. What is from the pixels leaves the
            content hash as it is.
        text: ``""`` for none.

    Returns:
        The page; ``unread`` where it had no text before, so that OCR still reads its picture.
    """
    parts = [part for part in parts_of(page) if part.origin != origin]
    if text.strip():
        parts.append(PicturePart(origin, text))
    ordered = in_order(parts)
    own = joined(part for part in ordered if part.origin not in FROM_PIXELS)
    whole = joined(ordered)
    more = whole != own
    layer = own if more else ""
    unread = page.unread if whole else ""
    if whole and not page.text.strip() and origin != "ocr":
        unread = SCAN
    lines = moved(page.lines, page.text, whole)
    return replace(
        page,
        text=whole,
        parts=ordered,
        text_from_ocr=more,
        text_layer=layer,
        unread=unread,
        lines=lines,
    )


def description_of(page: Page) -> str:
    """What a page's picture was described as; ``""`` where it was not."""
    return next((part.text for part in page.parts if part.origin == DESCRIPTION), "")


def parts_of(page: Page) -> tuple[PicturePart, ...]:
    """What a page's text is made from, also where the page does not say so: its text, and OCR's."""
    if page.parts or not page.text.strip():
        return page.parts
    if not page.text_from_ocr:
        return (PicturePart("text", page.text),)
    layer = page.text_layer
    if not layer or not page.text.startswith(layer):
        return (PicturePart("ocr", page.text),)
    return PicturePart("text", layer), PicturePart("ocr", page.text[len(layer) :].lstrip("\n"))


def ocr_text_of(page: Page) -> str | None:
    """What OCR read of a page's picture, alone and with its lines, as the picture was given.

    ``""`` for nothing, None if unknown.
    """
    text = _ocr_text(page)
    lines = unpacked(page.lines, len(page.text))
    if not text or not (lines or page.turned):
        return text
    back = 360 - page.turned
    said = [(page.text[line.start : line.end], turned_box(line.box, back)) for line in lines]
    return Lettering(text, said, page.turned)


def _ocr_text(page: Page) -> str | None:
    read = [part.text for part in page.parts if part.origin == "ocr"]
    if read or not page.parts:
        from_ocr = page.text if page.text_from_ocr and not page.text_layer else None
        return read[0] if read else from_ocr
    had_text = any(part.origin == "text" for part in page.parts)
    return None if had_text or page.unread else ""


def merged(text: str, read: str) -> str:
    """A text, and below it the lines of another reading of the same page that it does not have.

    A line is taken as said already when half of its runs of letters and digits are in the text:
    OCR misreads a letter here and there. A long text has most runs of three by chance.
    """
    if not text.strip():
        return read
    plain = squeezed(text)
    length = 3 if len(plain) < _LONG else 5
    known = runs(text, length)
    new = [line for line in read.split("\n") if not _is_said(line, plain, known, length)]
    return "\n".join([text, *new]) if any(map(str.strip, new)) else text


def _is_said(line: str, plain: str, known: set[str], length: int) -> bool:
    own = runs(line, length)
    return len(own & known) >= 0.5 * len(own) if own else squeezed(line) in plain
