"""A page of a PDF as a grey picture, and its characters with their places in that picture."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from PIL import Image

from metaembed_rag.errors import UnreadableFileError
from metaembed_rag.pages.pdf import PDFIUM_LOCK
from metaembed_rag.training.vision.layer import TextLayer, join_words

_FAILURES = (pdfium.PdfiumError, OSError, ValueError, ArithmeticError, MemoryError)
_LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
_HYPHENS = "\x02\xad\ufffe"
"""What PDFium gives for a hyphen at the end of a line."""

_MAX_ASPECT = 4.0
_FAR = 1000.0

PdfPage = tuple[int, Image.Image, TextLayer]
"""Number (from 1), grey picture, text with boxes."""


def read_pages(
    data: bytes, choose: Callable[[int], Iterable[int]], *, side: int, source: str = "a PDF"
) -> Iterator[PdfPage]:
    """Yield the pages that ``choose`` takes of their count (numbers from 1), in its order.

    Pages over four times longer than wide are left out: the model sees a square.

    Args:
        data: The file.
        choose: Gives the numbers of the pages to read.
        side: Pixels of the longer side.
        source: How to call the file in an error.

    Raises:
        UnreadableFileError: The file, or one of these pages, cannot be read.
    """
    try:
        with PDFIUM_LOCK:
            document = pdfium.PdfDocument(data)
        try:
            for number in choose(len(document)):
                with PDFIUM_LOCK:
                    page = document[number - 1]
                    width, height = page.get_size()
                    found = None
                    if max(width, height) <= _MAX_ASPECT * min(width, height):
                        found = _read(page, side)
                    page.close()
                if found is not None:
                    yield number, *found
        finally:
            with PDFIUM_LOCK:
                document.close()
    except _FAILURES as error:
        raise UnreadableFileError(source, f"cannot be read as a PDF ({error})") from error


def _read(page: pdfium.PdfPage, side: int) -> tuple[Image.Image, TextLayer]:
    scale = side / max(page.get_size()) * (1 - 1e-6)
    bitmap = page.render(scale=scale, grayscale=True)
    image = bitmap.to_pil().convert("L")
    bitmap.close()
    textpage = page.get_textpage()
    count = textpage.count_chars()
    codes = [pdfium_c.FPDFText_GetUnicode(textpage, i) for i in range(count)]
    corners = np.array([textpage.get_charbox(i) for i in range(count)], float).reshape(-1, 4)
    textpage.close()
    return image, layer_of(codes, _to_pixels(page, corners, image.size))


def _to_pixels(page: pdfium.PdfPage, corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Left, bottom, right, top in the page's points -> left, top, right, bottom in pixels.

    PDFium's own mapping of three points gives the transformation, rotation and cropping included.
    """
    fine = 100  # PDFium rounds to whole units
    places = []
    for x, y in ((0.0, 0.0), (_FAR, 0.0), (0.0, _FAR)):
        to_x, to_y = ctypes.c_int(), ctypes.c_int()
        grown = (size[0] * fine, size[1] * fine)
        pdfium_c.FPDF_PageToDevice(page, 0, 0, *grown, 0, x, y, to_x, to_y)
        places.append((to_x.value / fine, to_y.value / fine))
    origin, along_x, along_y = np.array(places)
    matrix = np.stack([along_x - origin, along_y - origin]) / _FAR  # (2, 2)
    one = corners[:, [0, 1]] @ matrix + origin
    other = corners[:, [2, 3]] @ matrix + origin
    return np.concatenate([np.minimum(one, other), np.maximum(one, other)], axis=1)


def layer_of(codes: Iterable[int], boxes: np.ndarray) -> TextLayer:
    """Unicode values in PDFium's order with their boxes -> words.

    Ligatures become letters, a word broken at a line's end is joined before a lower-case letter,
    and control characters are dropped.
    """
    words: list[list[tuple[str, tuple[float, float, float, float]]]] = [[]]
    hyphen: tuple[float, float, float, float] | None = None
    for code, box in zip(codes, boxes.tolist(), strict=True):
        character = chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else ""
        if character in _HYPHENS and character:
            hyphen = tuple(box)
        elif character.isspace() or not character:
            if words[-1] and hyphen is None:
                words.append([])
        elif character.isprintable():
            if hyphen is not None and words[-1] and not character.islower():
                words[-1].append(("-", hyphen))
            hyphen = None
            words[-1].append((_LIGATURES.get(character, character), _finite(box)))
    return join_words([word for word in words if word])


def _finite(box: list[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)) or right <= left or bottom <= top:
        return (math.nan,) * 4
    return left, top, right, bottom
