"""What is refused: sizes, and what reading a page may take."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from metaembed_rag.errors import PageError, kind_of_value
from metaembed_rag.pages.reading import ocr_is_installed
from metaembed_rag.pages.workers import WorkLimits

MOST_SECONDS = 1_000_000
MOST_MEMORY = 2**50


def number(name: str, value: Any) -> Any:
    """A number as Python's own, which can be sent to a worker; numpy's are no JSON.

    Raises:
        PageError: It is none.
    """
    try:
        return operator.index(value)
    except TypeError:
        if isinstance(value, Real):
            return float(value)
        raise PageError(name, f"must be a number, not {kind_of_value(value)}") from None


@dataclass(frozen=True)
class Limits:
    """What is refused, so that one bad file cannot take all memory or all day.

    Args:
        max_file_bytes: Of a file.
        max_pages: Of a PDF or document, frames of a TIFF, or chunks of a text.
        max_pixels: Of a picture.
        max_page_seconds: Of computing for one page of a PDF, one picture or the text of a document;
            by the clock three times as long, and so long for LibreOffice to print a document.
        max_memory: Bytes for reading a PDF, a document or a picture, beside the file itself (as far
            as the system limits a process: Linux does, macOS is looked after, Windows is not).
        separate_process: Read PDFs and pictures in processes of their own, which the last two
            limits and a crash can end; without it they are read in this one, and these limits do
            not hold.
        follow_links: Read what links in a folder lead to also where that lies outside the folder
            that was named; otherwise such a link is an error of its own.
        figures: Draw the pictures inside of a PDF's pages, so that OCR can read them (at most 6 a
            page, see ``docs/ocr.md``); by default where the extra ``ocr`` is installed.

    Raises:
        PageError: A limit that is no number, or of time or memory and makes no sense.
    """

    max_file_bytes: int = 512 * 1024**2
    max_pages: int = 20_000
    max_pixels: int = 80_000_000
    # Not shown: the default limits look as they did when there were three.
    max_page_seconds: float = field(default=60.0, repr=False)
    max_memory: int = field(default=2 * 1024**3, repr=False)
    separate_process: bool = field(default=True, repr=False)
    follow_links: bool = field(default=False, repr=False)
    figures: bool | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("max_file_bytes", "max_pages", "max_pixels", "max_page_seconds", "max_memory"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if not 0 < self.max_page_seconds <= MOST_SECONDS:
            name = f"max_page_seconds={self.max_page_seconds}"
            raise PageError(name, f"must be over 0 and at most {MOST_SECONDS:,}")
        if not 0 < self.max_memory <= MOST_MEMORY:
            name = f"max_memory={self.max_memory}"
            raise PageError(name, f"must be over 0 and at most {MOST_MEMORY:,} bytes")

    def of_work(self) -> WorkLimits | None:
        """What a worker process may take for a page; None where there is to be no such process."""
        if not self.separate_process:
            return None
        return WorkLimits(float(self.max_page_seconds), int(self.max_memory))

    def draws_figures(self) -> bool:
        """Whether the pictures inside of pages are drawn for OCR."""
        return ocr_is_installed() if self.figures is None else self.figures


DEFAULT_LIMITS = Limits()
"""Those of who says nothing else."""
