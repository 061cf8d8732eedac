"""How many pages files have, for the total of a progress bar."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pypdfium2

from metaembed_rag.pages.folders import kind_of
from metaembed_rag.pages.pdf import PDFIUM_LOCK
from metaembed_rag.pages.texts import CHUNK_CHARACTERS


def count_pages(files: Iterable[Path]) -> int:
    """Estimate the pages of files without loading them.

    Exact for PDFs (about 1 ms a file), 1 for an image or a damaged file, and by size for texts.
    """
    return sum(_count(path) for path in files)


def _count(path: Path) -> int:
    kind = kind_of(path)
    try:
        if kind == "text":
            return max(1, path.stat().st_size // CHUNK_CHARACTERS)
        if kind == "pdf":
            with PDFIUM_LOCK, pypdfium2.PdfDocument(path) as document:
                return len(document)
    except (OSError, pypdfium2.PdfiumError):
        pass  # the reader will report the file; here it is one step of a progress bar
    return 1
