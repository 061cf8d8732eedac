"""The program that reads the text of documents in a process of its own, started by `client`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from metaembed_rag.pages.documents.books import of_book
from metaembed_rag.pages.documents.extracted import of_office
from metaembed_rag.pages.documents.mail import of_mail
from metaembed_rag.pages.documents.pages import Extracted, of_html, of_xml
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.worker_program import Server, serve

_READERS: dict[str, Callable[[bytes, str], Extracted]] = {
    "html": of_html,
    "xml": of_xml,
    "mail": of_mail,
}


def read_text(
    data: bytes,
    source: str,
    *,
    kind: str,
    suffix: str,
    max_pages: int,
    most: int,
    first: int = 1,
    opened: Callable[[int], object] = lambda count: None,
) -> Iterator[Page]:
    """Yield the pages of a document's text, from the ``first``.

    Args:
        data: The bytes of the file.
        source: Its name.
        kind: Of the values of `KINDS`.
        suffix: The format of an Office document; ``""`` of others.
        max_pages: It may have.
        most: Bytes that a container may unpack to.
        first: The number of the first page that is wanted.
        opened: Told the number of pages when it is known.

    Raises:
        PageError: The file cannot be read.
    """
    if kind == "office":
        found = of_office(data, suffix, source)
    elif kind == "book":
        found = of_book(data, source, most)
    else:
        found = _READERS[kind](data, source)
    yield from found.pages(source, max_pages, first=first, opened=opened)


def _pages(server: Server, data: bytes, arguments: dict[str, Any]) -> None:
    server.pages(read_text(data, opened=server.opened, **arguments))


if __name__ == "__main__":
    serve({"pages": _pages})
