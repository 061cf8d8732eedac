"""Texts with sections -> pages; and every document whose text is read, told by its kind."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from metaembed_rag.errors import FileTooLargeError, UnreadableFileError
from metaembed_rag.pages.decoding import decode
from metaembed_rag.pages.documents.markup import declared_encoding, read_html, read_xml
from metaembed_rag.pages.documents.tables import chunks_of_rows, rows_of
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.texts import CHUNK_CHARACTERS, chunk

_WESTERN = frozenset({"ascii", "us-ascii", "iso-8859-1", "latin-1", "latin1"})
"""What programs declare that write Windows-1252."""


@dataclass(frozen=True)
class Extracted:
    """The text of a document.

    Attributes:
        chunks: Section and text of each page, in order.
        metadata: Of the whole document, such as its title.
    """

    chunks: Sequence[tuple[str, str]]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def pages(
        self,
        source: str,
        max_pages: int,
        *,
        first: int = 1,
        opened: Callable[[int], object] = lambda count: None,
    ) -> Iterator[Page]:
        """Yield a page for each chunk from the ``first``; a blank one where there is none.

        ``opened`` is told their number before.

        Raises:
            FileTooLargeError: There are more than ``max_pages``.
        """
        chunks = self.chunks or [("", "")]
        if len(chunks) > max_pages:
            raise FileTooLargeError(
                source,
                f"makes {len(chunks):,} pages of {CHUNK_CHARACTERS:,} characters, over the limit of"
                f" {max_pages:,}; split it, or raise max_pages",
            )
        opened(len(chunks))
        for number, (section, text) in enumerate(chunks[first - 1 :], start=first):
            own = {"section": section} if section else {}
            yield Page(
                source=source,
                number=number,
                text=text,
                metadata={**self.metadata, **own},
                page_count=len(chunks),
            )


def chunked(text: str, metadata: Mapping[str, str] | None = None) -> Extracted:
    """A text with Markdown's headings, cut into chunks at headings and paragraphs."""
    return Extracted(list(chunk(text, markdown=True)), metadata or {})


def of_html(data: bytes, source: str) -> Extracted:
    """The text of a page of the web, with its title and what it says of itself."""
    marked = read_html(decoded(data, source))
    return chunked(marked.text, marked.metadata)


def of_xml(data: bytes, source: str) -> Extracted:
    """The text between the marks of XML."""
    return Extracted(list(chunk(read_xml(decoded(data, source)).text, markdown=False)))


def of_csv(data: bytes, source: str) -> Extracted:
    """The rows of a table below its header; as a text where they make no table."""
    text = decode(data, source)
    try:
        return Extracted([("", rows) for rows in chunks_of_rows(rows_of(text, source))])
    except UnreadableFileError:
        return Extracted(list(chunk(text, markdown=False)))


def decoded(data: bytes, source: str) -> str:
    """The text of HTML or XML in the encoding that it declares, where that is true.

    Raises:
        UnreadableFileError: It is no text in any encoding.
    """
    declared = declared_encoding(data)
    marks = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    if declared and not data.startswith(marks):
        with suppress(LookupError, ValueError):  # no such encoding, or another one
            return data.decode("cp1252" if declared in _WESTERN else declared)
    return decode(data, source)
