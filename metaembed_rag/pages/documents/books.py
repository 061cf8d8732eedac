"""EPUB: the chapters of a book in the order in which they are read."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from urllib.parse import unquote

from metaembed_rag.errors import UnreadableFileError
from metaembed_rag.pages.documents.archives import DAMAGE, check_container, damaged
from metaembed_rag.pages.documents.markup import read_html
from metaembed_rag.pages.documents.pages import Extracted, chunked, decoded

_CONTAINER = "META-INF/container.xml"
_FIELDS = {"dc:title": "title", "dc:creator": "author", "dc:language": "language"}
_LONGEST = 500


class _Package(HTMLParser):
    """What the package of a book lists.

    Attributes:
        paths: Of its files, by the names that the package gives them.
        order: Names of the chapters as they are read.
        root: Where the package itself is, said by the container.
        metadata: Title, author and language.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paths: dict[str, str] = {}
        self.order: list[str] = []
        self.root = ""
        self.metadata: dict[str, str] = {}
        self._field = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self._field = _FIELDS.get(tag, "")
        if tag == "item":
            self.paths[said.get("id", "")] = said.get("href", "")
        elif tag == "itemref":
            self.order.append(said.get("idref", ""))
        elif tag == "rootfile":
            self.root = self.root or said.get("full-path", "")

    def handle_endtag(self, tag: str) -> None:
        self._field = ""

    def handle_data(self, data: str) -> None:
        value = " ".join(data.split())[:_LONGEST]
        if self._field and value:
            self.metadata.setdefault(self._field, value)


def of_book(data: bytes, source: str, most: int) -> Extracted:
    """The text of a book, chapter by chapter.

    Args:
        data: The bytes of the EPUB.
        source: Its name.
        most: Bytes that it may unpack to.

    Raises:
        UnreadableFileError: It is damaged, or no EPUB.
        FileTooLargeError: It would unpack to too much.
    """
    check_container(data, source, most)
    try:
        with zipfile.ZipFile(BytesIO(data)) as book:
            root = _package(book, _CONTAINER, source).root
            package = _package(book, root, source)
            chapters = list(_chapters(book, root, package, source))
    except DAMAGE as error:
        raise damaged(source, error) from None
    if not chapters:
        raise UnreadableFileError(source, "is an EPUB without chapters; copy or save it again")
    chunks = [piece for text in chapters for piece in chunked(text).chunks]
    return Extracted(chunks, package.metadata)


def _package(book: zipfile.ZipFile, path: str, source: str) -> _Package:
    package = _Package()
    package.feed(decoded(book.read(path), source))
    package.close()
    return package


def _chapters(book: zipfile.ZipFile, root: str, package: _Package, source: str) -> Iterator[str]:
    """The text of each chapter that is in the book; paths lead only to files in it."""
    held = set(book.namelist())
    for name in package.order:
        href = unquote(package.paths.get(name, "").partition("#")[0])
        path = posixpath.normpath(posixpath.join(posixpath.dirname(root), href))
        if path in held:
            marked = read_html(decoded(book.read(path), source))
            title = marked.metadata.get("title", "")
            has_heading = any(line.startswith("#") for line in marked.text.split("\n")[:3])
            yield marked.text if has_heading or not title else f"# {title}\n\n{marked.text}"
