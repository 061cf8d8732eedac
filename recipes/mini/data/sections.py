"""Documentation as sections: HTML, PDF and dictionaries become headings with their text.

A heading that says nothing of its own ("Description", "Notes") does not begin a section: what
follows belongs to the heading above. References, licences and lists of contents are left out, and
so are navigation and code.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from metaembed_rag.pages import page_texts

Texts = list[tuple[str, str]]
"""Headings ("" for none) and texts of a document, in their order."""

_MOST_HEADINGS = 6
"""A page of a PDF with more numbered headings is a list of contents."""

_SKIPPED = re.compile(
    r"script|style|head|nav|header|footer|pre|svg|math|form|select|button|figure|textarea|iframe"
    r"|noscript|object"
)
_BLOCK = re.compile(
    r"p|div|li|ul|ol|dl|dt|dd|table|tr|td|th|br|section|article|blockquote|center|hr|main"
)
_VOID = re.compile(r"area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr")
_NAVIGATION = re.compile(
    r"(?<![\w-])(sphinxsidebar\w*|nav(igation|header|footer|bar|path)?|footer|header|sidebar\w*"
    r"|related|toc\w*|contents|headerlink|breadcrumbs?|search\w*|copyright|indextable|highlight\S*"
    r"|programlisting|screen|synopsis|fragment|memproto|mathjax\S*|reflist|footnotes?|wy-nav-side"
    r"|table-of-contents|index-entry|ltx_page_\w+|wy-side-\S+|wy-breadcrumbs|rst-footer-buttons"
    r"|rst-versions|bd-(sidebar|toc|header|links)\S*|prev-next\S*|colophon)(?![\w-])",
    re.IGNORECASE,
)
_DROPPED = re.compile(
    r"(bibliographic )?references?|bibliography|literature|see also|related (to|topics|commands)|"
    r"authors?|maintainers?|credits|acknowledge?ments?|copy(right|ing)|licen[cs]e.*|legal.*|"
    r".*licen[cs]e|(table of )?contents|(\w+ )?index|navigation|search|keywords?|synopsis|history|"
    r"change ?log|release notes.*|what'?s new.*|new in .*|version.*|list of .*|indices and tables|"
    r"restrictions|default|source code|last (changed|updated).*|this page|quick search|syntax|"
    r"feedback|attributes?|classes|methods defined here|files?|prerequisites|"
    r"citations?|footnotes?|download|gnu .*",
    re.IGNORECASE,
)
_GENERIC = re.compile(
    r"name|descriptions?|introduction|overview|notes?|examples?|usage|details?|remarks?|general|"
    r"background|summary|parameters?|arguments?|options?|returns?( values?)?|purpose|methods?|"
    r"value|functions|implementation( notes)?|theory|definitions?|preface|abstract|warnings?|tips?|"
    r"caution|input|output|further (reading|details)|discussion|conclusions?|more|about|"
    r"motivation|caveats|the main idea|key ?words|specification|numerical aspects|further comments|"
    r"restrictions?|(known )?(bugs|issues|limitations|problems)|diagnostics?|example \d+|step \d+|"
    r"section .|arguments and (description|keywords).*|yields|raises|results?|rationale|tutorial",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"^\s*((?i:chapter|section|appendix|part) +[\dIVXA-Z]+[.:]?|[A-Z]?\d+(\.\d+)*\.?(?=\s)"
    r"|[A-Z](\.\d+)+\.?(?=\s)|[A-Z]\.(?=\s))[\s:.\u2014-]*"
)
_TURNING = re.compile(r"\bNext: .{0,200}\b(Up|Previous|Prev): ?.*$|^.{0,9}Next Up Previous ")
_MARKS = re.compile(r"[¶\uf0c1]|\[\s*(top|link|edit|index)\s*\]|(^|\s)#(?=\s|$)", re.IGNORECASE)
_PDF_HEADING = re.compile(
    r"^(?:\d{1,2}|[A-Z](?=\.\d))(?:\.\d{1,2}){0,3}\.?[ \t]+([A-Z][^\r\n]{3,80}[^\r\n.,;:])\r?$",
    re.M,
)
_FIELD = re.compile(r"[{}]|^\s*(\d+\.\s+)?<[\w ,]+>|\((19|20)\d\d-\d\d-\d\d\)|\[[^]]*\?\]")


@dataclass
class Section:
    """A heading, its level (1 the highest, 0 the document's title) and the text below it."""

    heading: str
    level: int
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text in one line."""
        return _one_line("".join(self.parts))


class _Sections(HTMLParser):
    """Collects the sections of an HTML page; broken nesting is tolerated."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.sections = [Section("", 0)]
        self._open: list[str] = []  # tags, outermost first
        self._hidden = 0  # how many open elements there were when a hidden one began; 0: none
        self._above = [self.sections[0]]  # the sections around, of rising level
        self._into: Section | None = self.sections[0]  # None: what follows is left out
        self._heading: list[str] | None = None
        self._title: list[str] | None = None
        self._before: list[str] = []  # text above the first heading
        self._seen_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._title = []
        if _BLOCK.fullmatch(tag):
            self._add(" ")
        if _VOID.fullmatch(tag):
            return
        self._open.append(tag)
        if not self._hidden and (_SKIPPED.fullmatch(tag) or _is_navigation(tag, attrs)):
            self._hidden = len(self._open)
        elif not self._hidden and re.fullmatch("h[1-6]", tag):
            self._heading = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if not _VOID.fullmatch(tag):
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title" and self._title is not None:
            self.sections[0].heading = self.sections[0].heading or _page_title("".join(self._title))
            self._title = None
        if tag not in self._open:
            return
        while self._open.pop() != tag:
            pass
        if len(self._open) < self._hidden:
            self._hidden = 0
        if self._heading is not None and re.fullmatch("h[1-6]", tag):
            heading, self._heading = _heading("".join(self._heading)), None
            self._begin(heading, int(tag[1]))
        self._add(" " if _BLOCK.fullmatch(tag) else "")

    def handle_data(self, data: str) -> None:
        if self._title is not None:
            self._title.append(data)
        elif not self._hidden:
            self._add(data)

    def _add(self, text: str) -> None:
        if self._heading is not None:
            self._heading.append(text)
        elif self._into is not None and not self._hidden:
            self._into.parts.append(text)

    def _begin(self, heading: str, level: int) -> None:
        if not self._seen_heading:
            self._before, self.sections[0].parts = self.sections[0].parts, []
            self._seen_heading = True
        while len(self._above) > 1 and self._above[-1].level >= level:
            self._above.pop()
        if _DROPPED.fullmatch(heading):
            self._into = None
        elif not heading or _GENERIC.fullmatch(heading):
            self._into = self._above[-1]
        else:
            self._into = Section(heading, level)
            self.sections.append(self._into)
            self._above.append(self._into)

    def finish(self) -> list[Section]:
        """Close the page; text above its first heading is navigation, unless there is no other."""
        self.close()
        if len(self.sections) == 1 and not self.sections[0].text:
            self.sections[0].parts = self._before
        return [section for section in self.sections if section.text]


def _is_navigation(tag: str, attrs: list[tuple[str, str | None]]) -> bool:
    if tag in ("body", "html", "main", "article"):
        return False
    telling: tuple[str, ...] = ("class", "role")
    if tag not in ("section", "div"):  # the id of a section is made from its heading
        telling += ("id",)
    return any(value and _NAVIGATION.search(value) for name, value in attrs if name in telling)


def _heading(text: str) -> str:
    return _NUMBER.sub("", _one_line(_MARKS.sub(" ", text)), count=1).strip(" .:-\u2014")


def _page_title(text: str) -> str:
    return _heading(re.split(r" [-\u2013\u2014|:] |\(", _one_line(text))[0])


def _one_line(text: str) -> str:
    text = _TURNING.sub("", " ".join(text.split()))
    return re.sub(r" (?=[,.;:)])", "", " ".join(_MARKS.sub(" ", text).split()))


def html_sections(page: str) -> list[Section]:
    """The sections of an HTML page that have text, in their order.

    What stands above the first heading is navigation and left out; below a heading that says
    nothing of its own, the text belongs to the section around it, at the top to the ``<title>``.
    """
    parser = _Sections()
    parser.feed(page)
    return parser.finish()


def read_sections(path: str, content: bytes) -> Texts:
    """Headings and texts of a file, by the ending of its path; ``.gz`` and ``.dz`` are unpacked.

    Args:
        path: Ends in ``.html``, ``.htm``, ``.pdf`` or ``.dict``, perhaps compressed.
        content: The file's bytes.

    Raises:
        PageError: A PDF that cannot be read.
    """
    if path.endswith((".gz", ".dz")):
        path, content = path[:-3], gzip.decompress(content)
    if path.endswith(".pdf"):
        return _pdf_pages(content)
    if path.endswith(".dict"):
        return dictionary_entries(content.decode("utf-8", "replace"))
    return [(section.heading, section.text) for section in html_sections(_decode(content))]


def _decode(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _pdf_pages(content: bytes) -> Texts:
    """The pages of a PDF under their first numbered heading; lists of contents are left out."""
    pages = []
    for _, text in page_texts(content):
        headings = [_heading(found) for found in _PDF_HEADING.findall(text) if " " in found.strip()]
        if len(headings) <= _MOST_HEADINGS and not re.search(r"(\. ?){8}", text):
            pages.append((headings[0] if headings else "", _one_line(_unbroken(text))))
    return pages


def _unbroken(text: str) -> str:
    return re.sub(r"(\w)[-\xad\u2010\ufffe\x02]\r?\n([a-z])", r"\1\2", text)


def dictionary_entries(text: str) -> Texts:
    """Headwords and definitions of a dictionary in dictd's format: headwords start a line."""
    found = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    entries = [entry.partition("\n") for entry in found if not re.match(r"00-|\s*$", entry)]
    return [(word.strip(), _one_line(_FIELD.sub("", body))) for word, _, body in entries]
