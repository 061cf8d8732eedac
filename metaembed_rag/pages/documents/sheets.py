"""Workbooks by LibreOffice: a page a sheet with its picture, where that can be read; else rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from metaembed_rag.errors import PageError
from metaembed_rag.pages.documents.pages import Extracted, of_csv
from metaembed_rag.pages.documents.tables import rows_of
from metaembed_rag.pages.page import Page

_MOST_CHARACTERS = 4_000
"""Of a sheet that is one page: about as many as stand on a printed page."""
_OF_ALL = frozenset({"title", "author", "subject", "keywords"})
"""Metadata that are said of the whole workbook."""
_ONE_COLOR = 8
"""Steps of 256 in which a picture of nothing may differ."""
_MOST_ROWS, _MOST_COLUMNS = 70, 16
"""Of a sheet whose letters can still be read on a picture of 896 pixels."""


def pages_of_sheets(
    sheets: Sequence[tuple[str, bytes]],
    source: str,
    max_pages: int,
    drawn: Callable[[], Iterable[Page | PageError]],
) -> Iterator[Page]:
    """Yield the pages of a workbook.

    Args:
        sheets: Name and CSV of each sheet, in order.
        source: The name of the file.
        max_pages: It may have.
        drawn: A picture of every sheet, in the same order; asked only where one is of use.

    Raises:
        FileTooLargeError: It has more pages.
    """
    whole = [_whole(csv) for _, csv in sheets]
    pictures = list(drawn()) if any(text is not None for text in whole) else []
    if len(pictures) != len(sheets):  # which is whose cannot be told
        pictures = [PageError(source, "")] * len(sheets)
    chunks: list[tuple[str, str]] = []
    shown: dict[int, Page] = {}
    metadata: dict[str, Any] = {}
    for (name, csv), text, picture in zip(sheets, whole, pictures, strict=True):
        if isinstance(picture, Page) and (text or (text == "" and _shows(picture))):
            # A sheet without cells may be a chart.
            chunks.append((name, text or picture.text))
            shown[len(chunks)] = picture
            metadata |= {name: one for name, one in picture.metadata.items() if name in _OF_ALL}
        else:
            chunks += [(name, rows) for _, rows in of_csv(csv, source).chunks]
    for page in Extracted(chunks, metadata).pages(source, max_pages):
        yield replace(page, image=shown[page.number].image) if page.number in shown else page


def _whole(csv: bytes) -> str | None:
    """All cells of a sheet that is small enough to be one page, ``""`` for none; None of others."""
    text = csv.decode("utf-8", "replace")
    if len(text) > _MOST_CHARACTERS:
        return None
    rows = [row for row in rows_of(text, "") if any(row)]
    if len(rows) > _MOST_ROWS or any(len(row) > _MOST_COLUMNS for row in rows):
        return None
    return "\n".join(" | ".join(row).rstrip(" |") for row in rows)


def _shows(page: Page) -> bool:
    """Whether anything is on the picture of a page."""
    if page.image is None:
        return False
    return any(high - low > _ONE_COLOR for low, high in page.image.getextrema())  # type: ignore
