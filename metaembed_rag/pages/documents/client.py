"""Documents -> pages, each kind in the process that it needs.

Office documents become PDF by LibreOffice, where it is on the machine, and are read as PDFs are;
else a worker process reads their text, as it reads HTML, XML, e-mails and books. Tables are read
here, as texts are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metaembed_rag.errors import (
    EncryptedFileError,
    MissingExtraError,
    PageError,
    UnreadableFileError,
    is_installed,
    require,
)
from metaembed_rag.pages.documents import soffice
from metaembed_rag.pages.documents.archives import check_container
from metaembed_rag.pages.documents.formats import SHEETS, is_encrypted, suffix_by_content
from metaembed_rag.pages.documents.notes import notes_of_slides, with_notes
from metaembed_rag.pages.documents.pages import of_csv
from metaembed_rag.pages.documents.sheets import pages_of_sheets
from metaembed_rag.pages.limits import Limits
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.pdf_client import read_pdf
from metaembed_rag.pages.worker_client import Readers, Reading, Work
from metaembed_rag.pages.workers import Pool

WORKERS = Pool("metaembed_rag.pages.documents.worker")
"""Those of this process."""
READERS = Readers(WORKERS, "documents")

_PATIENCE = 3.0
"""Times the seconds of a page, by the clock, that LibreOffice may take for a document: 500 pages
of text take 20 s."""
_NOT_HERE = frozenset({".eml", ".epub"})
"""Formats that a file may be in, although its name is that of an Office document."""


def read_document(
    kind: str, data: bytes, source: str, limits: Limits, *, max_side: int
) -> Iterator[Page | PageError]:
    """Yield the pages of a document, or the error of a page that cannot be read.

    Args:
        kind: Of the values of `KINDS`: ``office``, ``html``, ``xml``, ``csv``, ``mail`` or
            ``book``.
        data: The bytes of the file.
        source: Its name.
        limits: Of the file, and of the work for it.
        max_side: Longest side of a page's picture in pixels.

    Raises:
        PageError: The file cannot be read.
    """
    if kind == "csv":
        return of_csv(data, source).pages(source, limits.max_pages)
    if kind != "office":
        return _read_text(kind, "", data, source, limits)
    suffix = suffix_by_content(data)
    if is_encrypted(data):
        raise EncryptedFileError(source, "it is encrypted: save a copy without a password")
    if suffix == ".html":  # programs export such tables as .xls
        return _read_text("html", "", data, source, limits)
    if not suffix or suffix in _NOT_HERE:
        raise UnreadableFileError(
            source,
            "is damaged, or no document of an Office program whatever its name says; open it there "
            "to check",
        )
    if data.startswith(b"PK"):
        check_container(data, source, limits.max_memory)
    if soffice.program() is not None:
        return _draw(suffix, data, source, limits, max_side)
    if suffix != ".odp" and not is_installed("kreuzberg"):
        raise UnreadableFileError(source, _missing())
    return _read_text("office", suffix, data, source, limits)


def _missing() -> str:
    """What to install for Office documents."""
    try:
        require("kreuzberg")
    except MissingExtraError as error:
        return (
            f"is not read, because there is neither LibreOffice on this machine nor the library for"
            f" its text; install LibreOffice, or {str(error).partition(': ')[2]}"
        )
    return ""


def _draw(
    suffix: str, data: bytes, source: str, limits: Limits, max_side: int
) -> Iterator[Page | PageError]:
    """The pages of an Office document as they look."""
    bounds = soffice.Bounds(_PATIENCE * limits.max_page_seconds, limits.max_memory)
    given = (data, suffix, source, bounds)

    def pages_of(pdf: bytes) -> Iterator[Page | PageError]:
        within, most = limits.of_work(), limits.max_pages
        how = {"max_side": max_side, "max_pages": most, "figures": limits.draws_figures()}
        return read_pdf(pdf, source, within, password=None, **how)

    if suffix not in SHEETS:
        notes = notes_of_slides(data, hidden=False) if suffix == ".pptx" else []
        return with_notes(pages_of(soffice.to_pdf(*given)), notes)
    sheets = soffice.sheets_to_csv(*given)
    return pages_of_sheets(
        sheets, source, limits.max_pages, lambda: pages_of(soffice.sheets_to_pdf(*given))
    )


def _read_text(
    kind: str, suffix: str, data: bytes, source: str, limits: Limits
) -> Iterator[Page | PageError]:
    arguments: dict[str, Any] = {
        "kind": kind,
        "suffix": suffix,
        "max_pages": limits.max_pages,
        "most": limits.max_memory,
    }
    within = limits.of_work()
    if within is None or not READERS.can_start():
        from metaembed_rag.pages.documents.worker import read_text

        return read_text(data, source, **arguments)
    what = "this document"
    return Reading(READERS, Work(data, source, within, what, what, True, 0, arguments)).all()
