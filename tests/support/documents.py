"""The programs and commands that stand in the documents."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.house import ROOT

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "metaembed_rag/checkpoints/*/README.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # it tells of former commands
)

_BLOCK = re.compile(
    r"^(?P<mark><!-- not run: (?P<reason>.+?) -->\n\n?)?"
    r"(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"(?:^|&& )(?:\w+=\S+ )*metaembed (.+)")
_INLINE = re.compile(r"`(?:\w+=\S+ )*metaembed ([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document.

    Attributes:
        page: The document, below the repository.
        line: Of its first line of code.
        language: As the fence names it.
        code: What stands in it.
        reason: Why it is not run: ``<!-- not run: … -->`` stands before it; ``""`` where it is.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document, in its order."""
    text, page = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    return [
        Block(
            page,
            text.count("\n", 0, match.start("code")) + 1,
            match["language"],
            match["code"],
            match["reason"] or "",
        )
        for match in _BLOCK.finditer(text)
    ]


def programs() -> list[Block]:
    """All blocks of Python."""
    return [one for path in DOCUMENTS for one in blocks(path) if one.language == "python"]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Where a command of ``metaembed`` stands in a block, and its words."""
    for path in DOCUMENTS:
        for one in blocks(path):
            if one.language in ("", "sh", "bash", "console"):
                lines = one.code.replace("\\\n", " ").splitlines()
                for number, line in enumerate(lines):
                    if match := _COMMAND.search(line):
                        yield f"{one.page}:{one.line + number}", words(match[1])


def words(line: str) -> list[str]:
    """The words of a command up to a comment, or to what another program is to do with it."""
    found = shlex.split(re.sub(r"(^|\s)#.*", "", line))  # a # within a word begins no remark
    ends = [place for place, word in enumerate(found) if word in ("|", "&&", ";", ">", "<")]
    return found[: min(ends, default=len(found))]


def named_in_text() -> Iterator[tuple[str, str]]:
    """Where a command of ``metaembed`` stands as code within a text, and what follows its name."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        page = path.relative_to(ROOT).as_posix()
        for match in _INLINE.finditer(text):
            yield f"{page}:{text.count(chr(10), 0, match.start()) + 1}", match[1]
