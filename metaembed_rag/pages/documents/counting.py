"""About how many pages a document will have, for the total of a progress bar."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from metaembed_rag.pages.documents.archives import DAMAGE
from metaembed_rag.pages.texts import CHUNK_CHARACTERS

_SLIDE_OR_SHEET = re.compile(r"(ppt/slides/slide|xl/worksheets/sheet)\d+\.xml")
_CHAPTER = (".xhtml", ".html", ".htm")
_MARKED_TIMES = 2
"""How many times as long HTML is as its words."""


def count_document(path: Path, kind: str) -> int:
    """About how many pages a document has: slides and sheets by number, other texts by size.

    1 for those that cannot be told, among them letters and reports, and for damaged ones.
    """
    try:
        size = path.stat().st_size
        if kind in ("office", "book"):
            return max(1, _in_container(path)) if zipfile.is_zipfile(path) else 1
    except DAMAGE:
        return 1  # the reader will say why
    return max(1, size // (CHUNK_CHARACTERS * (1 if kind == "csv" else _MARKED_TIMES)))


def _in_container(path: Path) -> int:
    with zipfile.ZipFile(path) as container:
        entries = container.infolist()
    units = sum(_SLIDE_OR_SHEET.fullmatch(entry.filename) is not None for entry in entries)
    words = sum(entry.file_size for entry in entries if entry.filename.endswith(_CHAPTER))
    return units or words // (CHUNK_CHARACTERS * _MARKED_TIMES)
