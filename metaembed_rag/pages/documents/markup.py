"""HTML and XML -> text with headings, by Python's own parser: nothing in it is run or fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

_UNSEEN = frozenset({"script", "style", "template", "noscript", "svg", "math", "iframe", "object"})
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "base", "col", "source", "wbr"})
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "caption", "center", "details"),
        *("dialog", "div", "dl", "fieldset", "figcaption", "figure", "footer", "form", "head"),
        *("header", "hr", "html", "legend", "main", "menu", "nav", "ol", "p", "pre", "section"),
        *("summary", "table", "tbody", "tfoot", "thead", "title", "ul"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "br", "li", "tr", "dt", "dd", "option"),
    }
)
_TIGHT = frozenset({"br", "li", "tr", "dt", "dd", "option"})
"""Blocks that end a line, and no paragraph."""
_CELLS = frozenset({"td", "th"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_FIELDS = {
    "author": "author",
    "description": "description",
    "keywords": "keywords",
    "dc.title": "title",
    "dc.creator": "author",
    "og:title": "title",
}
_SPACES = re.compile(r"\s+")
_LONGEST = 500
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
_HEAD = 2_048


@dataclass
class Marked:
    """What a page of the web says.

    Attributes:
        text: Paragraphs with an empty line between them; headings as Markdown has them.
        metadata: ``title``, ``author``, ``description``, ``keywords``, where it says them.
    """

    text: str
    metadata: dict[str, str] = field(default_factory=dict)


def read_html(text: str) -> Marked:
    """The words of HTML, in their order; headings are lines that begin with ``#``."""
    reader = _Reader(_BLOCKS)
    reader.feed(text)
    reader.close()
    return reader.marked()


def read_xml(text: str) -> Marked:
    """The words of any XML, each element a line; names, attributes and entities are left out."""
    reader = _Reader(None)
    reader.feed(text)
    reader.close()
    return reader.marked()


def declared_encoding(data: bytes) -> str:
    """The encoding that HTML or XML says it is in; ``""`` where it says none."""
    head = data[:_HEAD]
    found = _CHARSET.search(head) or _DECLARED.search(head)
    return "" if found is None else found[1].decode("ascii", "ignore").lower()


class _Reader(HTMLParser):
    """Collects lines.

    Args:
        blocks: Elements that begin a line of their own; None for all.
    """

    def __init__(self, blocks: frozenset[str] | None) -> None:
        super().__init__(convert_charrefs=True)
        self._blocks = blocks
        self._lines: list[str] = []
        self._line: list[str] = []
        self._unseen: list[str] = []
        self._preformatted = 0
        self._heading = self._title = ""
        self._in_title = False
        self._metadata: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            self._meta({name: value or "" for name, value in attrs})
        elif tag == "img":
            self._line.append(f" {dict(attrs).get('alt') or ''} ")
        if self._unseen or (tag in _UNSEEN and self._blocks is not None):
            self._unseen += [tag] * (tag not in _VOID)
            return
        self._begin(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            if tag in self._unseen:  # what is inside and was not closed ends with it
                del self._unseen[self._unseen.index(tag) :]
            return
        self._in_title = self._in_title and tag != "title"
        if tag in _CELLS:
            self._line.append(" | ")
        if self._is_block(tag):
            self._end_line(paragraph=tag not in _TIGHT)
        if tag in _HEADINGS:
            self._heading = ""
        if tag == "pre":
            self._preformatted = max(0, self._preformatted - 1)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._in_title:
            self._title += data
        elif self._preformatted:
            first, *rest = data.split("\n")
            self._line.append(first)
            for line in rest:
                self._end_line(paragraph=False)
                self._line.append(line)
        else:
            self._line.append(_SPACES.sub(" ", data))

    def marked(self) -> Marked:
        """What was read."""
        self._end_line(paragraph=False)
        title = " ".join(self._title.split())[:_LONGEST]
        metadata = {**self._metadata, **({"title": title} if title else {})}
        return Marked("\n".join(self._lines).strip("\n"), metadata)

    def _is_block(self, tag: str) -> bool:
        return self._blocks is None or tag in self._blocks

    def _begin(self, tag: str) -> None:
        if self._is_block(tag):
            self._end_line(paragraph=tag not in _TIGHT)
        if tag == "title" and self._blocks is not None:
            self._in_title = True
        elif tag in _HEADINGS:
            self._heading = "#" * int(tag[1]) + " "
        elif tag == "li":
            self._line.append("- ")
        elif tag == "pre":
            self._preformatted += 1

    def _meta(self, said: dict[str, str]) -> None:
        name = _FIELDS.get((said.get("name") or said.get("property") or "").lower())
        value = " ".join(said.get("content", "").split())[:_LONGEST]
        if name and value:
            self._metadata.setdefault(name, value)

    def _end_line(self, *, paragraph: bool) -> None:
        line = "".join(self._line).rstrip()
        line = (line if self._preformatted else line.strip()).removesuffix(" |").rstrip()
        self._line = []
        if line and line != "-":
            self._lines.append(f"{self._heading}{line}")
        if paragraph and self._lines and self._lines[-1]:
            self._lines.append("")
