"""Questions that people asked and the answers they got: the FAQs of Debian's packages.

HTML (headings, terms, table rows and bold paragraphs that are questions), plain text (a paragraph
that ends in a question mark, and what follows), and manual pages whose headings are questions.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recipes.mini.data.debian import deb_files
from recipes.mini.data.handbooks import split_text
from recipes.mini.data.manuals import Manual
from recipes.mini.data.roff import read_manual_page
from recipes.mini.data.sections import html_sections

PACKAGES = (
    "apache2-doc", "bacula-doc", "bochs-doc", "bogofilter-common", "borgbackup-doc", "debian-faq",
    "doxygen-doc", "elinks-doc", "emacs-common", "exim4-doc-html", "fetchmail", "ffmpeg-doc",
    "fontforge-doc", "gammu-doc", "harden-doc", "libstdc++-12-doc", "mailman3-doc", "mplayer-doc",
    "mutt", "ntpsec-doc", "perl-doc", "privoxy", "python-celery-doc", "python-django-doc",
    "python-requests-doc", "python-sqlalchemy-doc", "python3.11-doc", "rkhunter", "shorewall-doc",
    "zsh-common", "zsh-doc", "linux-doc-6.1", "nut-doc", "postgresql-doc-15", "sqlite3-doc",
    "wireshark-doc", "povray-doc", "asymptote-doc", "r-doc-html", "libboost1.74-doc",
    "debian-handbook", "developers-reference", "dvdisaster-doc", "bup-doc", "buildbot-doc",
)  # fmt: skip
"""Where the questions are from; licences as in each package's ``copyright`` file (GPL, FDL, BSD,
MIT, Apache, PSF, Artistic and the like)."""

_FILES = re.compile(
    r"\.x?html?(\.gz)?$|/faq[^/]*(\.txt)?(\.gz)?$|/(META-)?FAQ(\.gz)?$|efaq\.info\.gz$",
    re.IGNORECASE,
)
_OTHER_LANGUAGE = re.compile(
    r"/(?!en\b)[a-z]{2}([-_][A-Z]{2})?/|[._-](bg|cs|de|es|fr|it|ja|ko|nl|pl|pt|ru|tr|vi|zh)"
    r"([-_.]\w+)?\.html?|_sources/|translations/|genindex|changelog|/index-\w+"
)
_PERL = re.compile(r"/man1/(perlfaq\d)\.1\.gz$")
_START = re.compile(
    r"(how|what|why|when|where|which|who|can|could|do|does|did|is|are|should|will|would|may|must|am"
    r"|has|have|i )\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"^\s*((Q|Question|FAQ)?\s*[\d.()a-z]{0,8}[.):]\s+|Q(uestion)?\s*[:.]\s*"
    r"|\(FAQ [\w.]+\)\s*|\[?\d[\d.]*[\])]?\s+)",
    re.IGNORECASE,
)
_ASKS = re.compile(r"\?.{0,200}?</(h\d|dt|b|strong|td|tr)\s*>", re.IGNORECASE | re.DOTALL)
_ASKS_WITHOUT_MARK = re.compile(
    r"(how (do|can|to|does|is)|why (do|does|is|are)|what (is|are|does)) ", re.IGNORECASE
)
_MIN_ANSWER = 60
_QUESTION_WORDS = (3, 40)


@dataclass(frozen=True)
class Answered:
    """A question, its answer, and the file both are in."""

    document: str
    question: str
    answer: str


def read_faqs(debs: Iterable[Path]) -> list[Answered]:
    """The questions and answers of ``.deb`` files, each question of a document once.

    Raises:
        DatasetError: A package cannot be read.
    """
    found: dict[tuple[str, str], Answered] = {}
    for deb in debs:
        for path, content in deb_files(deb, ""):
            for question, answer in _answers(path, content):
                found.setdefault((question.lower(), answer[:80]), Answered(path, question, answer))
    return list(found.values())


def _answers(path: str, content: bytes) -> Iterator[tuple[str, str]]:
    perl = _PERL.search(path)
    if not perl and (not _FILES.search(path) or _OTHER_LANGUAGE.search(path)):
        return
    text = _decode(gzip.decompress(content) if path.endswith(".gz") else content)
    if perl:
        pairs = perl_answers(text, perl[1])
    elif re.search(r"\.x?html?(\.gz)?$", path):
        pairs = html_answers(text)
    else:
        pairs = text_answers(text)
    for question, answer in pairs:
        asked = clean_question(question)
        parts = split_text(answer)
        if asked and parts and len(parts[0]) >= _MIN_ANSWER:
            yield asked, parts[0]


def html_answers(page: str) -> Iterator[tuple[str, str]]:
    """The sections of an HTML page whose heading, term, bold paragraph or row asks something."""
    if not _ASKS.search(page):
        return  # parsing a page takes long, and most pages of a manual ask nothing
    for pattern in (
        r"<dt\b[^>]*>(.{8,600}?\?\s*(?:<[^>]{0,80}>\s*)*)</dt>",
        r'<tr class="question"[^>]*>(.{8,900}?\?\s*(?:<[^>]{0,80}>\s*)*)</tr>',
        r"<p\b[^>]*>\s*<(?:b|strong)\b[^>]*>(.{8,400}?\?\s*(?:<[^>]{0,80}>\s*)*)</(?:b|strong)>\s*</p>",
    ):
        page = re.sub(pattern, _as_heading, page, flags=re.DOTALL | re.IGNORECASE)
    for section in html_sections(page):
        yield section.heading, section.text


def _as_heading(found: re.Match[str]) -> str:
    shown = re.sub(r"<[^>]*>", " ", found[1])
    return f"<h6>{shown}</h6>" if len(shown.split()) <= _QUESTION_WORDS[1] else found[0]


def text_answers(text: str) -> Iterator[tuple[str, str]]:
    """Of plain text every short paragraph that ends in a question mark, and what follows it."""
    question, answer = "", []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        if re.match(r"\x1f|File: ", line):  # a node of an info file begins
            line = ""
        line = line.strip("*=-_ ")
        if line.endswith("?") and clean_question(line):
            yield question, " ".join(answer)
            question, answer = line, []
        elif re.fullmatch(r"[\d. ]*[A-Z][^.?!]{0,60}", line):  # the heading of a chapter
            yield question, " ".join(answer)
            question, answer = "", []
        elif line:
            answer.append(re.sub(r"^A(nswer)?[:.]\s+", "", line))
    yield question, " ".join(answer)


def perl_answers(source: str, name: str) -> Iterator[tuple[str, str]]:
    """The questions of a page of ``perlfaq``; a page that is held out as manual page has none."""
    if Manual(f"{name}.1", "", "").part != "train":
        return
    page = read_manual_page(source.replace("\n.SS ", "\n.SH "), name=name, section="1")
    yield from page.sections if page else ()


def clean_question(heading: str) -> str | None:
    """A heading as a question, without number or mark; None where it is none."""
    question = _NUMBER.sub("", " ".join(heading.split()), count=1).strip(" \"'*")
    fewest, most = _QUESTION_WORDS
    asks = question.endswith("?") and (_START.match(question) or len(question) > 25)
    asks = asks or _ASKS_WITHOUT_MARK.match(question)
    if not asks or " ? " in question or not question.isascii():
        return None
    return question if fewest <= len(question.split()) <= most else None


def _decode(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
