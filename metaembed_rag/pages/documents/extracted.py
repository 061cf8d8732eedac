"""The text of Office documents by kreuzberg (extra ``office``), where there is no LibreOffice."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from metaembed_rag.errors import EncryptedFileError, UnreadableFileError, require
from metaembed_rag.pages.documents.archives import DAMAGE, damaged
from metaembed_rag.pages.documents.formats import SHEETS
from metaembed_rag.pages.documents.markup import read_xml
from metaembed_rag.pages.documents.notes import notes_of_slides
from metaembed_rag.pages.documents.pages import Extracted, chunked
from metaembed_rag.pages.documents.tables import chunks_of_rows
from metaembed_rag.pages.texts import chunk

_OPEN = "application/vnd.oasis.opendocument."
_MICROSOFT = "application/vnd.openxmlformats-officedocument."
_MIME_TYPES = {
    ".docx": f"{_MICROSOFT}wordprocessingml.document",
    ".pptx": f"{_MICROSOFT}presentationml.presentation",
    ".xlsx": f"{_MICROSOFT}spreadsheetml.sheet",
    ".odt": f"{_OPEN}text",
    ".ods": f"{_OPEN}spreadsheet",
    ".doc": "application/msword",
    ".ppt": "application/vnd.ms-powerpoint",
    ".xls": "application/vnd.ms-excel",
    ".rtf": "application/rtf",
}
_SLIDES = frozenset({".pptx", ".ppt"})
_MARKS = "\n\n\ue000{page_num}\ue001\n\n"
"""Around the number of a slide, before it: characters that no text has."""
_MARK = re.compile("\ue000\\d+\ue001")
_PICTURE = re.compile(r"!\[([^\]\n]*)\]\([^)\n]*\)")
_NUMBER = re.compile(r"<text:page-number[^>]*>[^<]*</text:page-number>")
_SLIDE = re.compile(r"<draw:page[\s>]")


def of_office(data: bytes, suffix: str, source: str) -> Extracted:
    """The text of an Office document: a slide a page, a sheet a page or several, else chunks.

    Args:
        data: The bytes of the file.
        suffix: Of its format; see :func:`.formats.suffix_by_content`.
        source: Its name.

    Raises:
        UnreadableFileError: It is damaged.
        EncryptedFileError: It needs a password.
        MissingExtraError: kreuzberg is not installed.
    """
    if suffix == ".odp":
        return Extracted(list(_slides_of_odp(data, source)))
    result = _extracted(data, suffix, source)
    metadata = _metadata(result.metadata)
    if suffix in SHEETS:
        return Extracted(list(_sheets(result)), metadata)
    if suffix in _SLIDES:
        notes = notes_of_slides(data, hidden=True) if suffix == ".pptx" else []
        return Extracted(list(_slides(result.content, notes)), metadata)
    return chunked(_PICTURE.sub(r"\1", result.content), metadata)


def _extracted(data: bytes, suffix: str, source: str) -> Any:
    kreuzberg = require("kreuzberg")
    errors = require("kreuzberg.exceptions")
    slides = kreuzberg.PageConfig(insert_page_markers=True, marker_format=_MARKS)
    config = kreuzberg.ExtractionConfig(
        use_cache=False,  # it would keep documents in the user's cache folder
        disable_ocr=True,
        # Its plain text has the notes too, but on other slides than theirs.
        output_format="markdown",
        pages=slides if suffix in _SLIDES else None,
    )
    try:
        with _panics_are_errors():
            return kreuzberg.extract_bytes_sync(data, _MIME_TYPES[suffix], config=config)
    except (errors.KreuzbergError, ValueError, RuntimeError, OSError) as error:
        if "password" in str(error).lower() or "encrypt" in str(error).lower():
            raise EncryptedFileError(source, "it is encrypted: save a copy without one") from None
        raise UnreadableFileError(
            source, f"is damaged ({_short(error)}); open it in an Office program to check"
        ) from None


@contextmanager
def _panics_are_errors() -> Iterator[None]:
    """What ends a thread of Rust is no Exception in Python, and has no name to be caught by.

    Raises:
        ValueError: In its place; damaged ``.xls`` files do it.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(str(error)) from None


def _slides(content: str, notes: list[str]) -> Iterator[tuple[str, str]]:
    """Title and text of each slide with its notes; chunks where the format does not part them."""
    _, *slides = _MARK.split(content)
    if not slides:
        yield from chunk(content, markdown=False)
    if len(notes) != len(slides):
        notes = [""] * len(slides)
    for slide, note in zip(slides, notes, strict=True):
        text = slide.strip()
        said = [text, f"Notes: {note}" if note else ""]
        yield text.partition("\n")[0].lstrip("# "), "\n\n".join(filter(None, said))


def _sheets(result: Any) -> Iterator[tuple[str, str]]:
    """Name and rows of each sheet."""
    names = result.metadata.get("sheet_names") or []
    for table in result.tables:
        at = (table.page_number or 1) - 1
        name = names[at] if at < len(names) else ""
        rows = ([" ".join(cell.split()) for cell in row] for row in table.cells)
        yield from ((name, text) for text in chunks_of_rows(rows))


def _slides_of_odp(data: bytes, source: str) -> Iterator[tuple[str, str]]:
    """Title and text of each slide of an OpenDocument presentation, which kreuzberg does not read.

    Raises:
        UnreadableFileError: It is damaged.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as container:
            content = container.read("content.xml").decode("utf-8", "replace")
    except DAMAGE as error:
        raise damaged(source, error) from None
    for slide in _SLIDE.split(_NUMBER.sub("", content))[1:]:
        text = read_xml(f"<draw:page {slide}").text
        yield text.partition("\n")[0], text


def _metadata(said: Any) -> dict[str, str]:
    """Title, author, subject and keywords, as of PDFs."""
    found = {"title": said.get("title"), "subject": said.get("subject")}
    found["author"] = ", ".join(said.get("authors") or [])
    found["keywords"] = ", ".join(said.get("keywords") or [])
    return {name: " ".join(str(one).split())[:500] for name, one in found.items() if one}


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
