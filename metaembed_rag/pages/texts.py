"""Text and Markdown -> pages of about 1,800 characters, cut at headings and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from metaembed_rag.errors import FileTooLargeError
from metaembed_rag.pages.decoding import decode
from metaembed_rag.pages.page import Page

CHUNK_CHARACTERS = 1_800
"""Longest chunk: about 400 to 450 tokens of English, below every encoder's length here."""

_FULL_ENOUGH = 600  # a heading starts a new chunk only when the one before is this long


@dataclass(frozen=True)
class _Block:
    """A paragraph, a fenced block or a heading, with the title of the section that it is in."""

    text: str
    section: str
    is_heading: bool = False


def read_text_file(data: bytes, source: str, max_pages: int) -> Iterator[Page]:
    """Yield the chunks of a text or Markdown file; one of blank space only gives a blank page.

    Raises:
        UnreadableFileError: It is not a text.
        FileTooLargeError: It makes more than ``max_pages`` chunks.
    """
    text = decode(data, source)
    markdown = is_markdown(source)
    chunks = list(chunk(text, markdown=markdown)) or [("", "")]
    if len(chunks) > max_pages:
        raise FileTooLargeError(
            source,
            f"makes {len(chunks):,} pages of {CHUNK_CHARACTERS:,} characters, over the limit of"
            f" {max_pages:,}; split it, or raise max_pages",
        )
    for number, (section, body) in enumerate(chunks, start=1):
        yield Page(
            source=source,
            number=number,
            text=body,
            metadata={"section": section} if section else {},
            page_count=len(chunks),
        )


def is_markdown(source: str) -> bool:
    """Whether the name of a text says that it is Markdown."""
    return source.lower().endswith((".md", ".markdown"))


def chunk(text: str, *, markdown: bool) -> Iterator[tuple[str, str]]:
    """Yield ``(section, text)`` of at most `CHUNK_CHARACTERS`, in order, with no word left out.

    A chunk ends before a block that would make it too long, and before a heading once it holds
    600 characters; its section is the one that its first paragraph is in.
    """
    blocks = _markdown_blocks(text) if markdown else _paragraphs(text)
    held: list[_Block] = []
    size = 0
    for block in _short(blocks):
        too_long = size + len(block.text) > CHUNK_CHARACTERS
        if held and (too_long or (block.is_heading and size >= _FULL_ENOUGH)):
            tail = _trailing_headings(held) if too_long else []
            yield _join(held[: len(held) - len(tail)])
            held, size = tail, sum(len(other.text) + 2 for other in tail)
        held.append(block)
        size += len(block.text) + 2
    if held:
        yield _join(held)


def _trailing_headings(held: list[_Block]) -> list[_Block]:
    """Headings at the end of a chunk belong to what follows; unless there is nothing else."""
    cut = len(held)
    while cut and held[cut - 1].is_heading:
        cut -= 1
    return held[cut:] if cut else []


def _join(held: list[_Block]) -> tuple[str, str]:
    body = next((block for block in held if not block.is_heading), held[0])
    return body.section, "\n\n".join(block.text for block in held)


def _paragraphs(text: str) -> Iterator[_Block]:
    for paragraph in re.split(r"\n[^\S\n]*\n", text):
        yield from _flush([paragraph], "")


_HEADING = re.compile(r" {0,3}#{1,6}\s")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})\s*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


def _markdown_blocks(text: str) -> Iterator[_Block]:
    """Paragraphs and headings (``# title`` and underlined ones); fenced blocks stay whole."""
    section = ""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
            lines.append(line)
            continue
        if fence:
            lines.append(line)
            if mark and mark[1].startswith(fence):
                fence = ""
            continue
        heading = _HEADING.match(line)
        underlined = bool(_UNDERLINE.match(line)) and len(lines) == 1 and bool(lines[0].strip())
        if heading or underlined:
            yield from _flush([] if underlined else lines, section)
            section = _title(line) if heading else lines[0].strip()
            yield _Block(line.strip() if heading else f"{lines[0]}\n{line}", section, True)
            lines = []
        elif line.strip():
            lines.append(line)
        else:
            yield from _flush(lines, section)
            lines = []
    yield from _flush(lines, section)


def _title(heading: str) -> str:
    """``## title ##`` -> ``title``.

    By hand: the regular expression for it took 33 s for a heading of 3,000 spaces.
    """
    return heading.strip().lstrip("#").strip().rstrip("#").rstrip()


def _flush(lines: list[str], section: str) -> Iterator[_Block]:
    if any(line.strip() for line in lines):
        yield _Block("\n".join(lines).strip("\n").rstrip(), section)


_BREAKS = ("\n", ". ", "? ", "! ", "; ", ", ", " ")


def _short(blocks: Iterator[_Block]) -> Iterator[_Block]:
    """Cut blocks that are longer than a chunk at a line, else a sentence, else a word."""
    for block in blocks:
        text, start = block.text, 0
        while len(text) - start > CHUNK_CHARACTERS:
            cut = _cut(text[start : start + CHUNK_CHARACTERS])
            yield _Block(text[start : start + cut].rstrip(), block.section, block.is_heading)
            start = _next_word(text, start + cut)
        if start < len(text):
            yield _Block(text[start:], block.section, block.is_heading)


def _next_word(text: str, start: int) -> int:
    """The place from ``start`` on where neither a line ends nor a space stands."""
    while start < len(text) and text[start] in "\n ":
        start += 1
    return start


def _cut(window: str) -> int:
    """Where to cut a text that goes on after this window of `CHUNK_CHARACTERS`."""
    for mark in _BREAKS:
        at = window.rfind(mark, CHUNK_CHARACTERS // 2)
        if at != -1:
            return at + len(mark)
    return CHUNK_CHARACTERS
