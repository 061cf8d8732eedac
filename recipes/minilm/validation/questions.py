"""The committed questions, and the documents whose pages are searched."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaembed_rag.errors import DatasetError
from recipes.mini.data.rows import read_jsonl

FOLDER = Path(__file__).parent

KINDS = ("how", "why", "what", "which", "where", "can", "fact", "keywords")
"""The forms of questions; ``"fact"`` asks for a detail of a page, ``"keywords"`` is no sentence."""

DESCRIPTIONS = "debian_packages"
"""The source of package descriptions, each of which is a document of one page."""

_STOP_WORD = re.compile(
    r"a|about|above|after|again|all|although|also|am|an|and|any|are|as|at|back|"
    r"be|because|been|before|being|below|between|both|but|by|can|could|did|do|"
    r"does|doing|don|down|during|each|few|for|from|get|had|has|have|having|he|"
    r"her|here|him|his|how|i|if|in|into|is|it|its|itself|just|let|may|me|"
    r"might|more|most|must|my|no|nor|not|now|of|off|on|once|one|only|or|other|"
    r"our|out|over|own|same|shall|should|so|some|such|than|that|the|their|them|"
    r"then|there|these|they|this|those|through|to|too|two|under|until|up|upon|"
    r"use|used|uses|using|very|was|we|were|what|when|where|which|while|who|whom|"
    r"whose|why|will|with|within|without|would|you|your|yours"
)
_ENDINGS = ("ings", "ing", "ies", "ied", "es", "ed", "s", "e", "y")


@dataclass(frozen=True)
class Question:
    """One question and the pages that answer it.

    Attributes:
        id: ``"q001"`` and so on.
        question: In everyday words, without any word of the heading.
        source: The Debian package that holds the document, or :data:`DESCRIPTIONS`.
        document: Path inside the package, as in the recipe's extracted text; the described package
            for a description.
        page: The page, or the section, that answers best; it counts from 1.
        heading: Titles of that page; of the last titled page before it where it has none.
        answers: Every page that answers, as :func:`reference` names it, the best one first.
        digests: Of the text of each answer, so that another version of a package is noticed.
        kind: One of :data:`KINDS`.

    Raises:
        DatasetError: Something is empty or malformed.
    """

    id: str
    question: str
    source: str
    document: str
    page: int
    heading: str
    answers: tuple[str, ...]
    digests: tuple[str, ...]
    kind: str

    def __post_init__(self) -> None:
        if not self.question.strip() or self.kind not in KINDS:
            raise DatasetError(f"{self.id}: no question, or a kind that is none of {KINDS}")
        if len(self.digests) != len(self.answers):
            raise DatasetError(f"{self.id}: {len(self.answers)} answers need as many digests")
        if reference(self.source, self.document, self.page) not in self.answers[:1]:
            raise DatasetError(f"{self.id}: the first of its answers is not its page")


@dataclass(frozen=True)
class Document:
    """A document of the corpus.

    Attributes:
        package: The Debian package that holds it, or :data:`DESCRIPTIONS`.
        path: Path inside the package, or the described package.
        pages: Numbers of the pages that are searched, ascending.

    Raises:
        DatasetError: The pages are none, not ascending, or below 1.
    """

    package: str
    path: str
    pages: tuple[int, ...]

    def __post_init__(self) -> None:
        if list(self.pages) != sorted({page for page in self.pages if page > 0}) or not self.pages:
            raise DatasetError(f"{self.path}: pages must be ascending numbers from 1")

    @property
    def references(self) -> list[str]:
        """The references of its pages."""
        return [reference(self.package, self.path, page) for page in self.pages]


def reference(package: str, path: str, page: int) -> str:
    """The name of a page in the corpus, such as ``"nut-doc:/usr/share/doc/nut-doc/FAQ.html#3"``."""
    return f"{package}:{path}#{page}"


def read_questions(file: Path = FOLDER / "questions.jsonl") -> list[Question]:
    """The committed questions.

    Raises:
        DatasetError: A line is malformed.
    """
    return [_question(file, row) for row in read_jsonl(file)]


def _question(file: Path, row: dict[str, Any]) -> Question:
    lists = {name: tuple(row.get(name, ())) for name in ("answers", "digests")}
    try:
        return Question(**row | lists)
    except TypeError as error:
        raise DatasetError(f"{file}: {row.get('id')}: {error}") from error


def read_documents(file: Path = FOLDER / "corpus.json") -> list[Document]:
    """The documents of the corpus, the package descriptions among them.

    Raises:
        DatasetError: The file is malformed.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["documents"]
        return [Document(row["package"], row["path"], tuple(row["pages"])) for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{file} is no list of documents: {error!r}") from error


def heading_words(question: str, heading: str) -> set[str]:
    """Words that a question shares with a heading, stop words aside; endings do not count."""
    return _content_words(question) & _content_words(heading)


def _content_words(text: str) -> set[str]:
    words = re.findall(r"[^\W_]+", text.lower())
    return {_stem(word) for word in words if len(word) > 1 and not _STOP_WORD.fullmatch(word)}


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
