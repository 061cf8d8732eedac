"""What was read of pictures and no record says: blank pages, and the texts of an unfinished run.

A record keeps the text of its page, so OCR need not read that again. A page with nothing to read
has no record; and a page that was read when the encoder failed has none yet. Both are kept here, so
that nothing unchanged is read by OCR twice; and so are descriptions of pictures until records have
them. The file is derived: deleting it loses only time.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from metaembed_rag.pages import Page
from metaembed_rag.pages.figure_texts import texts_of
from metaembed_rag.pages.ocr_languages import LANGUAGE
from metaembed_rag.pages.page import SCAN, default_id
from metaembed_rag.pages.reading import description_of, ocr_text_of
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.places import replace_file
from metaembed_rag.store.privacy import make_folder

_FORMAT = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BlankPages:
    """Which pages of a file have nothing to read.

    Attributes:
        page_count: Pages of the file.
        numbers: Of those with nothing to read, from 1.
    """

    page_count: int
    numbers: Sequence[int]


class Readings:
    """What was read of pictures, by their hashes, and which pages of files are blank.

    What another version of rapidocr read does not count. Its owner holds the writer's lock.

    Args:
        path: A file with one JSON object a line, made when there is something to keep; None keeps
            everything in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._texts: dict[str, str] = {}
        self._descriptions: dict[tuple[str, str], str] = {}
        self._files: dict[tuple[str, str], BlankPages] = {}
        self._seen: tuple[int, int] | None = None

    def refresh(self) -> None:
        """Read the file if another process has changed it."""
        state = self._state()
        if self._path is None or state == self._seen:
            return
        self._texts, self._files, self._seen = {}, {}, state
        self._descriptions = {}
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return
        entries = [entry for line in lines if (entry := _entry(line)) is not None]
        if not entries or entries[0] != _about():
            self._seen = None
            return
        for entry in entries[1:]:
            self._take(entry)

    def text(self, picture: str) -> str | None:
        """What was read of the picture with this hash: ``""`` for nothing, None if unknown."""
        return self._texts.get(picture)

    def blank_pages(self, digest: str, way: str) -> BlankPages | None:
        """The blank pages of the file with this digest, read that way: see :func:`way_of`."""
        return self._files.get((digest, way))

    def all_blank(self, way: str) -> list[str]:
        """Digests of the files that, read that way, have only blank pages."""
        return [
            digest
            for (digest, read), found in self._files.items()
            if read == way and len(found.numbers) == found.page_count
        ]

    def note_texts(self, texts: Mapping[str, str]) -> None:
        """Keep what was read of pictures, by their hashes."""
        new = {picture: text for picture, text in texts.items() if picture not in self._texts}
        self._append([{"picture": picture, "text": text} for picture, text in new.items()])

    def description(self, picture: str, by: str) -> str | None:
        """What somebody wrote about the picture with this hash, None if unknown.

        Args:
            picture: The hash.
            by: Who wrote it: model and prompt, as ``Describer.by`` has them.
        """
        return self._descriptions.get((picture, by))

    def note_description(self, picture: str, by: str, text: str) -> None:
        """Keep what somebody wrote about a picture, until a record has it."""
        self._append([_description_entry(picture, by, text)])

    def note_blank_pages(self, digest: str, way: str, found: BlankPages) -> None:
        """Keep which pages of a file are blank."""
        if self.blank_pages(digest, way) != found:
            self._append([_file_entry(digest, way, found)])

    def forget_texts(self) -> None:
        """Keep no text but that of nothing: the rest is in records now, or is to be nowhere."""
        if any(self._texts.values()) or self._descriptions:
            self._descriptions = {}
            self._texts = {picture: text for picture, text in self._texts.items() if not text}
            self._rewrite()

    def _take(self, entry: Mapping[str, Any]) -> None:
        if "description" in entry:
            self._descriptions[entry["picture"], entry["by"]] = entry["description"]
        elif "picture" in entry:
            self._texts[entry["picture"]] = entry["text"]
        elif "digest" in entry:
            key = entry["digest"], entry["way"]
            self._files[key] = BlankPages(entry["pages"], tuple(entry["blank"]))

    def _append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        for entry in entries:
            self._take(entry)
        if self._path is None or not entries:
            return
        if self._seen is None:
            self._rewrite()
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                # The line's end comes first: a line that a killed process left torn ends there.
                file.write("".join("\n" + json.dumps(entry) for entry in entries))
        except OSError as error:
            self._cannot(error)
        self._seen = self._state()

    def _rewrite(self) -> None:
        if self._path is None:
            return
        entries: list[Mapping[str, Any]] = [_about()]
        entries += [{"picture": picture, "text": text} for picture, text in self._texts.items()]
        entries += [_description_entry(*key, text) for key, text in self._descriptions.items()]
        entries += [_file_entry(*key, found) for key, found in self._files.items()]
        try:
            make_folder(self._path.parent)
            replace_file(self._path, "\n".join(map(json.dumps, entries)))
        except OSError as error:
            self._cannot(error)
        self._seen = self._state()

    def _cannot(self, error: OSError) -> None:
        _log.warning("what was read cannot be kept, blank pages will be read again: %s", error)

    def _state(self) -> tuple[int, int] | None:
        """Size and time of change of the file; None where there is none."""
        try:
            found = None if self._path is None else self._path.stat()
        except OSError:
            return None
        return None if found is None else (found.st_size, found.st_mtime_ns)


class RunReadings:
    """What OCR read before one run of adding pages, and what it reads in it.

    Args:
        readings: What is kept.
        store: Holds the records, whose texts may be of the same pictures.
    """

    def __init__(self, readings: Readings, store: ChromaStore) -> None:
        self._readings, self._store = readings, store
        self._blank: dict[str, BlankPages] = {}

    def description(self, page: Page, by: str) -> str | None:
        """What somebody wrote about a page's picture: in a run that did not end, or in this one.

        Or for a page that is stored, perhaps of another source. None if unknown.
        """
        picture = page.image_hash
        if not picture:
            return None
        text = self._readings.description(picture, by)
        return text if text is not None else self._description_in_records(picture, by)

    def note_description(self, page: Page, by: str, text: str) -> None:
        """Keep what was written about a page's picture, before anything else can fail."""
        if page.image_hash:
            self._readings.note_description(page.image_hash, by, text)

    def texts(self, pages: Iterable[Page], *, look_in_records: bool) -> dict[str, str]:
        """What was read of these pages' pictures, by page id; ``""`` for nothing.

        Only of pages without a text of their own, or with one beside the pixels of a picture, and
        whose ``image_hash`` is filled in.
        """
        known = {}
        for page in pages:
            is_to_be_read = not page.text.strip() or (page.parts and page.unread == SCAN)
            if page.image_hash and is_to_be_read:
                text = self._readings.text(page.image_hash)
                if text is None and look_in_records:
                    text = self._text_in_records(page.image_hash)
                if text is not None:
                    known[page.id] = text
        return known

    def figure(self, hash: str) -> str | None:
        """What was read of a picture inside of a page: in this run, or of a stored page.

        ``""`` for nothing, None if unknown.
        """
        text = self._readings.text(hash)
        if text is not None:
            return text
        same = {records.FIGURE_HASHES: {"$contains": hash}}
        found = self._store.get(self._store.ids(same)[:1]).values()
        return next((texts_of(record.page).get(hash) for record in found), None)

    def note_figure(self, hash: str, text: str) -> None:
        """Keep what was read of a picture inside of a page, before anything else can fail."""
        self._readings.note_texts({hash: text})

    def note(self, readable: Iterable[Page], blank: Iterable[Page]) -> None:
        """Keep what was read, before anything else can fail, and which pages are blank."""
        found = {page.image_hash: ocr_text_of(page) for page in readable}
        texts = {picture: text for picture, text in found.items() if text is not None}
        for page in blank:
            if not page.text.strip():
                texts[page.image_hash] = ""
            digest, count = page.source_digest, page.page_count
            if digest and count is not None and page.id == default_id(page.source, page.number):
                before = self._blank.get(digest, BlankPages(count, ()))
                numbers = sorted({*before.numbers, page.number})
                self._blank[digest] = BlankPages(count, tuple(numbers))
        self._readings.note_texts({picture: text for picture, text in texts.items() if picture})

    def finish(self, way: str) -> None:
        """Keep the blank pages of files; the texts are in records now."""
        for digest, found in self._blank.items():
            self._readings.note_blank_pages(digest, way, found)
        self._readings.forget_texts()

    def _description_in_records(self, picture: str, by: str) -> str | None:
        ways = [f"{by} {pages}" for pages in ("auto", "all")]
        same = {"$and": [{records.IMAGE_HASH: picture}, {records.DESCRIBED: {"$in": ways}}]}
        found = self._store.get(self._store.ids(same)).values()
        return next((text for record in found if (text := description_of(record.page))), None)

    def _text_in_records(self, picture: str) -> str | None:
        """What was read of a picture for a page that is stored, perhaps of another source."""
        same = {"$and": [{records.IMAGE_HASH: picture}, {records.OCR: True}]}
        for record in self._store.get(self._store.ids(same)[:1]).values():
            return ocr_text_of(record.page)
        return None


def way_of(mode: str, fingerprint: str, *others: str) -> str:
    """How files are read: what is blank in one mode or to one model need not be to another.

    Args:
        mode: What of a page is encoded.
        fingerprint: Of the model.
        others: What else makes text of pictures, where it does: who describes them, as
            ``Describer.way``, and what tells in words what they show; ``""`` for nobody.
    """
    return " ".join([mode, fingerprint, *filter(None, others)])


def _about() -> dict[str, Any]:
    """The first line: what the others were written and read by."""
    try:
        engine = version("rapidocr")
    except PackageNotFoundError:
        engine = ""
    language = os.environ.get(LANGUAGE, "")  # what one model cannot read another one can
    return {"format": _FORMAT, "rapidocr": f"{engine} {language}".strip()}


def _file_entry(digest: str, way: str, found: BlankPages) -> dict[str, Any]:
    numbers = list(found.numbers)
    return {"digest": digest, "way": way, "pages": found.page_count, "blank": numbers}


def _description_entry(picture: str, by: str, text: str) -> dict[str, Any]:
    return {"picture": picture, "by": by, "description": text}


_KINDS = {
    "picture": str,
    "by": str,
    "description": str,
    "text": str,
    "digest": str,
    "way": str,
    "pages": int,
    "blank": list,
}


def _entry(line: str) -> dict[str, Any] | None:
    """The object of a line; None where it is torn or of another kind."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    wrong = any(not isinstance(entry[key], _KINDS[key]) for key in entry.keys() & _KINDS.keys())
    described = {"picture", "by", "description"}
    kinds = ({"picture", "text"}, described, {"digest", "way", "pages", "blank"}, set(_about()))
    return None if wrong or entry.keys() not in kinds else entry
