"""An index into one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from metaembed_rag.errors import PageError, StoreError
from metaembed_rag.maintenance.archive import (
    CALIBRATION,
    ArchiveWriter,
    picture_member,
    records_name,
    vectors_name,
    writing,
)
from metaembed_rag.maintenance.checking import Counter, alone
from metaembed_rag.maintenance.copies import calibration_problem
from metaembed_rag.maintenance.findings import PICTURE, RECORD, Finding
from metaembed_rag.maintenance.rows import Row, in_parts, pack_rows, without_writing
from metaembed_rag.maintenance.scan import AT_ONCE
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.inspection import GraphWatch
from metaembed_rag.store.pictures import PictureFolder, is_whole, own_picture
from metaembed_rag.store.raw import RawRecord
from metaembed_rag.store.reading import checked_record
from metaembed_rag.store.requests import slices

_ROWS, _BYTES = 1000, 2**26
"""Of a part at most."""


@dataclass(frozen=True)
class ExportReport:
    """What :meth:`metaembed_rag.PageIndex.export` wrote.

    Attributes:
        path: Of the file.
        pages: Number of pages in it.
        pictures: Number of pictures in it.
        bytes: Its size.
        left_out: Damaged records and pictures that are not in it.
    """

    path: Path
    pages: int
    pictures: int
    bytes: int
    left_out: Sequence[Finding] = ()


@dataclass(frozen=True)
class ExportOptions:
    """How an index is exported.

    Attributes:
        overwrite: Replace a file that is there.
        counter: Gives what is told the number of pages after each batch.
        lock_timeout: Seconds to wait for another writer.
    """

    overwrite: bool = False
    counter: Counter = field(default_factory=nullcontext)
    lock_timeout: float = 0.0


def export(
    store: ChromaStore,
    pictures: PictureFolder,
    where: str | os.PathLike[str],
    options: ExportOptions,
) -> ExportReport:
    """See :meth:`metaembed_rag.PageIndex.export`."""
    path = Path(where).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise StoreError(f"{path} names no file that can be made; name one in a folder that exists")
    if path.exists() and not options.overwrite:
        raise StoreError(f"{path} is there already; name another file, or have it replaced")
    with alone(store, options.lock_timeout), ExitStack() as held:
        _check_graph(store)
        progress = held.enter_context(options.counter)
        archive = held.enter_context(writing(path))
        run = _Export(store, pictures, archive, progress)
        pages, parts = run.write()
        archive.finish(store.about, pages, parts)
    return ExportReport(path, pages, run.pictures, path.stat().st_size, run.left_out)


def _check_graph(store: ChromaStore) -> None:
    """Refuse to ask what would end this process.

    Raises:
        StoreError: Chroma's graph is damaged.
    """
    places = store.places
    if places.folder is not None:
        GraphWatch(places.folder, places.collection).check()


class _Export:
    """One export. The writer lock is held, where there is one."""

    def __init__(
        self,
        store: ChromaStore,
        pictures: PictureFolder,
        archive: ArchiveWriter,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.left_out: list[Finding] = []
        self.pictures = 0
        self._store, self._folder, self._archive = store, pictures, archive
        self._progress = progress
        self._stamps: set[str] = set()
        self._unstamped: set[str] = set()

    def write(self) -> tuple[int, int]:
        """Write every page; the number of pages and of parts.

        Raises:
            StoreError: An index on a server was written to meanwhile.
        """
        ids = self._store.ids()
        pages = parts = 0
        for number, rows in enumerate(in_parts(self._rows(ids), _ROWS, _BYTES)):
            lines, arrays = pack_rows(rows)
            self._archive.add(records_name(number), lines)
            self._archive.add(vectors_name(number), arrays)
            for row in rows:
                self._add_picture(row)
            pages, parts = pages + len(rows), number + 1
        self._add_calibration()
        self._check_unchanged(ids)
        return pages, parts

    def _rows(self, ids: Sequence[str]) -> Iterator[Row]:
        for part in slices(len(ids), AT_ONCE):
            for raw in self._store.raw(ids[part]):
                if (row := self._row(raw)) is not None:
                    yield row
            if self._progress is not None:
                self._progress(len(ids[part]))

    def _row(self, raw: RawRecord) -> Row | None:
        """A page as it goes into the file; None for a record that cannot be read."""
        about, metadata = self._store.about, without_writing(raw.metadata)
        try:
            record = checked_record(raw.id, raw.metadata, about.unpack)
            records.check_metadata(record.page.metadata, raw.id)
        except (ValueError, PageError) as error:
            self._leave_out(RECORD, raw.id, f"its record is left out ({error})")
            return None
        stamp = record.stamp
        (self._stamps if stamp else self._unstamped).add(stamp or raw.id)
        name = record.page.image_path
        if name is not None and own_picture(name, raw.id, record.content_hash) is None:
            del metadata[records.IMAGE]
            self._leave_out(PICTURE, raw.id, "its picture is not named by its content")
        first = raw.vector
        if first is None or first.shape != (about.dimension,):  # Chroma has lost it
            first = about.unpack([record], 1).decode()[0, 0]
        return Row(raw.id, metadata, first)

    def _add_picture(self, row: Row) -> None:
        name = row.picture
        if name is None or picture_member(name) in self._archive:
            return
        data = self._picture(name)
        if data is None:
            self._leave_out(PICTURE, row.id, "its picture is missing or cut off")
            return
        self._archive.add(picture_member(name), data)
        self.pictures += 1

    def _picture(self, name: str) -> bytes | None:
        """The bytes of a picture; None where it is not there as a whole."""
        data = self._folder.read([name])[name]
        return data if data is not None and is_whole(data) else None

    def _add_calibration(self) -> None:
        path = self._store.places.calibration
        if path is not None and path.exists() and calibration_problem(self._store) is None:
            self._archive.add(CALIBRATION, path.read_bytes())

    def _check_unchanged(self, ids: Sequence[str]) -> None:
        """Where nobody can be kept from writing, see that nobody has."""
        store = self._store
        if store.places.folder is not None:
            return
        left_out = {one.id for one in self.left_out}
        new = set(store.written_since(self._stamps)) if self._stamps else set()
        if store.ids() != list(ids) or new - self._unstamped - left_out:
            raise StoreError(
                f"the index at {store.where} was written to while it was exported; export it again"
            )

    def _leave_out(self, kind: str, id: str, what: str) -> None:
        self.left_out.append(Finding(kind, what, "`metaembed repair` deals with it", id))
