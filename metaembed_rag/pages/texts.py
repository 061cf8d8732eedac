"""Text and Markdown -> pages of about 1,800 characters, cut at headings and paragraphs."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from metaembed_rag.errors import FileTooLargeError, UnreadableFileError
from metaembed_rag.pages.page import Page

CHUNK_CHARACTERS = 1_800
"""Longest chunk: about 400 to 450 tokens of English, below every encoder's length here."""

_FULL_ENOUGH = 600  # a heading starts a new chunk only when the one before is this long

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class _Block:
    """A paragraph, a fenced block or a heading, with the title of the section that it is in."""

    text: str
    section: str
    is_heading: bool = False


def read_text_file(data: bytes, source: str, max_pages: int) -> Iterator[Page]:
    """Yield the chunks of a text or Markdown file.

    Raises:
        UnreadableFileError: It is blank, or not a text.
        FileTooLargeError: It makes more than ``max_pages`` chunks.
    """
    text = decode(data, source)
    markdown = source.lower().endswith((".md", ".markdown"))
    chunks = list(chunk(text, markdown=markdown))
    if not chunks:
        raise UnreadableFileError(source, "holds nothing but blank space; delete it or fill it")
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


def decode(data: bytes, source: str) -> str:
    """Bytes -> text: by the byte order mark, else UTF-8, else UTF-16, else Windows-1252 or Latin-1.

    Raises:
        UnreadableFileError: The bytes are not a text.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _plain(data.decode(encoding, "replace"), source)
    for encoding in ("utf-8", *_utf16_without_mark(data), "cp1252", "latin-1"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return _plain(text, source)
    raise UnreadableFileError(source, "is not a text (it has zero bytes); check its kind")


def _utf16_without_mark(data: bytes) -> list[str]:
    """UTF-16 of mostly Latin letters has a zero in every second byte."""
    zeros = {"utf-16-le": data[1::2].count(0), "utf-16-be": data[0::2].count(0)}
    return [encoding for encoding, count in zeros.items() if count > len(data) // 2 / 2]


def _plain(text: str, source: str) -> str:
    if text.count("\N{REPLACEMENT CHARACTER}") > len(text) / 10:
        raise UnreadableFileError(
            source, "is not a text in its declared encoding; save it as UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")


def chunk(text: str, *, markdown: bool) -> Iterator[tuple[str, str]]:
    """Yield ``(section, text)`` of at most `CHUNK_CHARACTERS`, in order, with no word left out.

    A chunk ends before a block that would make it too long, and before a heading once it holds
    600 characters; its section is the one that its first paragraph is in.
    """
    blocks = _markdown_blocks(text) if markdown else _paragraphs(text)
    held: list[_Block] = []
    for block in _short(blocks):
        size = sum(len(other.text) + 2 for other in held)
        too_long = size + len(block.text) > CHUNK_CHARACTERS
        if held and (too_long or (block.is_heading and size >= _FULL_ENOUGH)):
            tail = _trailing_headings(held) if too_long else []
            yield _join(held[: len(held) - len(tail)])
            held = tail
        held.append(block)
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


_HEADING = re.compile(r" {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
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
            section = heading[1] if heading else lines[0].strip()
            yield _Block(line.strip() if heading else f"{lines[0]}\n{line}", section, True)
            lines = []
        elif line.strip():
            lines.append(line)
        else:
            yield from _flush(lines, section)
            lines = []
    yield from _flush(lines, section)


def _flush(lines: list[str], section: str) -> Iterator[_Block]:
    if any(line.strip() for line in lines):
        yield _Block("\n".join(lines).strip("\n").rstrip(), section)


_BREAKS = ("\n", ". ", "? ", "! ", "; ", ", ", " ")


def _short(blocks: Iterator[_Block]) -> Iterator[_Block]:
    """Cut blocks that are longer than a chunk at a line, else a sentence, else a word."""
    for block in blocks:
        text = block.text
        while len(text) > CHUNK_CHARACTERS:
            cut = _cut(text)
            yield _Block(text[:cut].rstrip(), block.section, block.is_heading)
            text = text[cut:].lstrip("\n ")
        if text:
            yield _Block(text, block.section, block.is_heading)


def _cut(text: str) -> int:
    window = text[:CHUNK_CHARACTERS]
    for mark in _BREAKS:
        at = window.rfind(mark, CHUNK_CHARACTERS // 2)
        if at != -1:
            return at + len(mark)
    return CHUNK_CHARACTERS
