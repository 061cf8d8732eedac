"""What is wrong with an index, and what was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DATABASE, GRAPH, COUNT, LOCK = "database", "graph", "count", "lock"
RECORD, VECTORS, CONTENT, PICTURE = "record", "vectors", "content", "picture"
CACHE, WORDS, CALIBRATION, FILES = "cache", "words", "calibration", "files"

KINDS = {
    DATABASE: "the file of Chroma's database is damaged",
    GRAPH: "the graph of nearest neighbours, which Chroma's own search uses, is damaged",
    COUNT: "Chroma's number of records, its list of ids and the records disagree",
    LOCK: "the lock of the index cannot be taken",
    RECORD: "a record cannot be read: it is damaged, or another program's",
    VECTORS: "a page's vectors are not what an encoder makes, or not those of its first one",
    CONTENT: "a page's text, picture or settings are not those that were encoded",
    PICTURE: "a picture is missing, damaged or of another page",
    CACHE: "the mapped copy of the vectors is damaged, or differs from the records",
    WORDS: "the index of words is damaged, or differs from the records",
    CALIBRATION: "the calibration cannot be read",
    FILES: "a file is left over",
}
"""What kinds of findings there are, and what they mean."""

OF_PAGES = frozenset({RECORD, VECTORS, CONTENT})
"""Kinds for which the page has to be indexed again."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: One of :data:`KINDS`.
        what: What was found, in words.
        todo: What to do about it.
        id: Of the page; ``""`` where it is of no single page.
    """

    kind: str
    what: str
    todo: str
    id: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of finding")

    def __str__(self) -> str:
        of = f"{self.id}: " if self.id else ""
        return f"{self.kind}: {of}{self.what}; {self.todo}"


@dataclass(frozen=True)
class CheckReport:
    """What :meth:`metaembed_rag.PageIndex.check` found.

    Attributes:
        pages: Records that were looked at.
        pictures: Pictures that were looked at.
        findings: What is wrong, by kind and page.
        notes: What is in order and only untidy: left-over files, copies that are behind and are
            brought up to date by the next search.
        seconds: How long it took.
    """

    pages: int
    pictures: int
    findings: Sequence[Finding] = ()
    notes: Sequence[Finding] = ()
    seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True)
class RepairReport:
    """What :meth:`metaembed_rag.PageIndex.repair` did, or would do.

    Attributes:
        dropped: Records that were taken out, with the reason.
        restored: Ids of pages whose picture was made again from their file.
        rewritten: Ids of pages whose vector in Chroma's graph was written again.
        rebuilt: What was made again from the records: ``"graph"``, ``"cache"``, ``"words"``.
        removed: Files that were left over.
        left: What is still wrong, with what to do.
        dry_run: Whether nothing was changed.
    """

    dropped: Sequence[Finding] = ()
    restored: Sequence[str] = ()
    rewritten: Sequence[str] = ()
    rebuilt: Sequence[str] = ()
    removed: Sequence[str] = ()
    left: Sequence[Finding] = ()
    dry_run: bool = False
