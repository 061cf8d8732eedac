"""Uploaded files: what they may be called, where they lie, and into the index."""

from __future__ import annotations

import os
import re
import shutil
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from metaembed_rag.errors import PageError, ServerError
from metaembed_rag.index import PageIndex
from metaembed_rag.ingest import AddReport
from metaembed_rag.pages import KINDS, Limits
from metaembed_rag.pages.load import count_pages
from metaembed_rag.store.privacy import make_folder

_ARRIVING = ".arriving"
"""Folder of what is being received; nothing in it is in an index."""
_BEFORE = ".before"
"""Behind the name of a file that is being replaced, and a dot before it."""
_YOUNG = 3600.0
"""Seconds for which a file may be on its way."""
_LONGEST = 120
"""Bytes of a name; file systems take 255, and a copy may want to be called something longer."""
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that mean a device on Windows."""
_NEVER = frozenset('<>:"|?*')
"""Characters that Windows takes in no name."""


def safe_name(given: str | None) -> str:
    """What an uploaded file is called: the last part of its name, without what could do harm.

    Folders, control characters, changes of the direction of writing, dots and blanks at the
    beginning and devices of Windows are left out of it or changed.

    Args:
        given: As the client calls it: it may be anything.

    Raises:
        PageError: Nothing is left of it, or it is no kind of file that is read.
    """
    shown = repr((given or "")[:80])
    last = unicodedata.normalize("NFC", given or "").replace("\\", "/").rpartition("/")[2]
    kept = (c for c in last if c.isprintable() and unicodedata.category(c)[0] != "C")
    name = "".join("_" if c in _NEVER else c for c in kept).strip(" ").lstrip(". ").rstrip(". ")
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem.strip(" ._"):
        raise PageError(shown, "is no name of a file; give one such as report.pdf")
    suffix = f".{suffix}"
    if suffix.lower() not in KINDS:
        readable = ", ".join(sorted(one[1:] for one in KINDS))
        raise PageError(shown, f"is of no kind that is read: {readable}")
    if _DEVICES.match(name):
        stem = f"_{stem}"
    room = _LONGEST - len(suffix.encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ") + suffix


@dataclass(frozen=True)
class Received:
    """A file that has arrived whole, and is not in the index yet.

    Attributes:
        name: What it will be called.
        path: Where it lies.
    """

    name: str
    path: Path


class UploadFolder:
    """The folder of uploaded files, which are the index's own copies of the user's documents.

    A file that comes again under its name takes the place of the one before, and so do its pages.
    ``metaembed index FOLDER`` brings an index in line with the folder, as with any other.

    Args:
        folder: Made when the first file comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def holds(self, source: str) -> bool:
        """Whether a page's source is a file that was uploaded."""
        path = PurePosixPath(source)
        return path.is_absolute() and path.parent == PurePosixPath(self.folder.as_posix())

    def receive(self, given: str | None, file: BinaryIO) -> Received:
        """Keep what a client sent, to be indexed in its turn.

        Raises:
            PageError: Its name is none, or of a kind that is not read; or it is empty.
            OSError: The disk is full, or the folder cannot be written.
        """
        name = safe_name(given)
        arriving = self.folder / _ARRIVING
        make_folder(arriving)
        path = arriving / f"{uuid.uuid4().hex}{PurePosixPath(name).suffix.lower()}"
        try:
            with path.open("xb") as kept:
                shutil.copyfileobj(file, kept)
                kept.flush()
                os.fsync(kept.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if not path.stat().st_size:
            path.unlink()
            raise PageError(name, "is empty (0 bytes)")
        return Received(name, path)

    def tidy(self) -> None:
        """Remove what a server that was killed had received, and put back what it had replaced.

        What is young may be another server's that runs.
        """
        for file in (self.folder / _ARRIVING).glob("*"):
            if _is_old(file):
                file.unlink(missing_ok=True)
        for before in self.folder.glob(f".*{_BEFORE}"):
            if _is_old(before):
                self._settle(before.with_name(before.name[1 : -len(_BEFORE)]), before)

    def index(
        self,
        received: Received,
        index: PageIndex,
        progress: Callable[[int], None],
        limits: Limits,
        patience: float,
    ) -> AddReport:
        """Put a file in its place, and its pages into the index.

        A file of which no page can be read does not stay, and what it was to replace does.

        Args:
            received: What has arrived.
            index: Where its pages go.
            progress: Told of pages as :meth:`PageIndex.add` tells of them; may raise to stop.
            limits: Of reading.
            patience: Seconds to wait for another process that writes.
        """
        stored = False

        def told(pages: int) -> None:
            nonlocal stored
            stored = True
            progress(pages)

        place = self.folder / received.name
        before = place.with_name(f".{received.name}{_BEFORE}")
        if place.exists():
            place.replace(before)
        try:
            received.path.replace(place)
            os.utime(place)  # never as old as what it replaces: its content is to be looked at
            report = index.sync([place], progress=told, limits=limits, lock_timeout=patience)
        except BaseException:
            if not stored:  # another process was writing, for one: it is as if nothing was sent
                place.unlink(missing_ok=True)
            self._settle(place, before)
            raise
        if report.skipped and not report.acknowledged:
            place.unlink(missing_ok=True)
        self._settle(place, before)
        return report

    def remove(self, sources: Iterable[str]) -> int:
        """Remove uploaded files, so that no later run brings their pages back; how many."""
        removed = 0
        for source in sources:
            if self.holds(source) and Path(source).is_file():
                Path(source).unlink()
                removed += 1
        return removed

    def _settle(self, place: Path, before: Path) -> None:
        """Where a new file stands in its place the one before goes, else it comes back."""
        if not before.exists():
            return
        if place.exists():
            before.unlink()
        else:
            before.replace(place)


def _is_old(file: Path) -> bool:
    return time.time() - file.lstat().st_mtime > _YOUNG


def pages_of(received: Received) -> int | None:
    """About how many pages a file has; None where that cannot be told."""
    found: Sequence[Path] = [received.path]
    try:
        return count_pages(found)
    except (PageError, OSError):
        return None


def check_files(names: Sequence[str | None], most: int = 200) -> None:
    """Refuse an upload without files, or of too many at once.

    Raises:
        ServerError: It says so.
    """
    if not names:
        raise ServerError('send files as multipart/form-data under the name "files"')
    if len(names) > most:
        raise ServerError(f"at most {most} files at a time, not {len(names)}")
