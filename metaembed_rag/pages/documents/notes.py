"""What stands below the slides of a PowerPoint file, which neither PDF nor kreuzberg keep."""

from __future__ import annotations

import html
import posixpath
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO

from metaembed_rag.errors import PageError
from metaembed_rag.pages.documents.archives import DAMAGE
from metaembed_rag.pages.page import SCAN, Page

_MOST_BYTES = 4_000_000
"""Of one part of the file."""
_MOST_SLIDES = 5_000
_SLIDE_ID = re.compile(r"<p:sldId\s[^>]*?r:id=\"([^\"]+)\"")
_RELATION = re.compile(r"<Relationship\s[^>]*>")
_ATTRIBUTE = re.compile(r"\b(Id|Target|Type)=\"([^\"]*)\"")
_HIDDEN = re.compile(r"<p:sld\s[^>]*\bshow=\"(0|false)\"")
_FIELD = re.compile(r"<a:fld\b.*?</a:fld>", re.DOTALL)
_PARAGRAPH = re.compile(r"<a:p[ >].*?</a:p>", re.DOTALL)
_RUN = re.compile(r"<a:t(?:\s[^>]*)?>([^<]*)</a:t>")


def notes_of_slides(data: bytes, *, hidden: bool) -> list[str]:
    """The notes of each slide of a ``.pptx``, in order; ``""`` where it has none.

    Args:
        data: The bytes of the file; of another or a damaged one there are none.
        hidden: Count slides that are not shown.
    """
    with suppress(*DAMAGE), zipfile.ZipFile(BytesIO(data)) as container:
        return list(_notes(container, hidden))
    return []


def with_notes(pages: Iterable[Page | PageError], notes: list[str]) -> Iterator[Page | PageError]:
    """Pages of slides with their notes below the text, where there is a note for each page."""
    for page in pages:
        fits = isinstance(page, Page) and page.page_count == len(notes)
        note = notes[page.number - 1] if isinstance(page, Page) and fits else ""
        if isinstance(page, Page) and note:
            # A slide that is a picture is still to be read by OCR.
            unread = page.unread if page.text.strip() or page.image is None else SCAN
            text = "\n\n".join(filter(None, [page.text, f"Notes: {note}"]))
            page = replace(page, text=text, unread=unread)
        yield page


def _notes(container: zipfile.ZipFile, hidden: bool) -> Iterator[str]:
    order = _SLIDE_ID.findall(_part(container, "ppt/presentation.xml"))
    slides = {id: path for id, path, _ in _relations(container, "ppt/presentation.xml")}
    for id in order[:_MOST_SLIDES]:
        path = slides.get(id, "")
        if not hidden and _HIDDEN.search(_part(container, path)):
            continue
        found = (to for _, to, kind in _relations(container, path) if kind.endswith("/notesSlide"))
        yield _words(_part(container, next(found, "")))


def _words(notes: str) -> str:
    """The paragraphs of a page of notes, without the number of the slide."""
    paragraphs = _PARAGRAPH.findall(_FIELD.sub("", notes))
    said = (html.unescape("".join(_RUN.findall(one))).strip() for one in paragraphs)
    return "\n".join(filter(None, said))


def _relations(container: zipfile.ZipFile, path: str) -> Iterator[tuple[str, str, str]]:
    """Id, path and type of each part that a part leads to."""
    folder, name = posixpath.split(path)
    for one in _RELATION.findall(_part(container, f"{folder}/_rels/{name}.rels")):
        said = dict(_ATTRIBUTE.findall(one))
        to = posixpath.normpath(posixpath.join("/", folder, said.get("Target", "")))
        yield said.get("Id", ""), to.lstrip("/"), said.get("Type", "")


def _part(container: zipfile.ZipFile, path: str) -> str:
    """The text of a part; ``""`` where there is none."""
    with suppress(KeyError), container.open(path) as part:
        return part.read(_MOST_BYTES).decode("utf-8", "replace")
    return ""
