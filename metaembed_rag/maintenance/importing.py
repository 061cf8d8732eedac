"""One file into an index; it takes up where it was ended, and encodes nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from metaembed_rag.errors import CacheError, IndexLockedError, StoreError
from metaembed_rag.maintenance.archive import (
    CALIBRATION,
    ArchiveReader,
    picture_member,
    records_name,
    vectors_name,
)
from metaembed_rag.maintenance.rows import Row, is_same, unpack_rows
from metaembed_rag.search.calibration import Calibration, CalibrationFile, about_vectors
from metaembed_rag.store.access import PLAIN, ServerAccess
from metaembed_rag.store.cache import VectorCache
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.connect import one_place
from metaembed_rag.store.given import ChromaClient
from metaembed_rag.store.places import MEMORY
from metaembed_rag.store.remote_pictures import PictureSettings, open_pictures

_TELLING = {
    "fingerprint": "model",
    "dimension": "dimension",
    "vectors": "number of vectors",
    "format": "format of vectors",
}
_NEW_PLACE = "import into a new folder or collection"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportReport:
    """What :meth:`metaembed_rag.PageIndex.import_` did.

    Attributes:
        pages: Number of pages in the index now, all of them from the file.
        added: Those that this call has written; the others were there before.
        pictures: Pictures that this call has written.
    """

    pages: int
    added: int
    pictures: int


@dataclass(frozen=True)
class ImportOptions:
    """How a file is imported.

    Attributes:
        collection: Name of the collection.
        pictures: Folder or address of a store for the pictures; None for the usual place.
        access: How a server is asked.
        progress: Called with the number of pages after each part.
        lock_timeout: Seconds to wait for another writer.
    """

    collection: str = "pages"
    pictures: str | Path | None = None
    access: ServerAccess = PLAIN
    progress: Callable[[int], None] | None = None
    lock_timeout: float = 0.0

    @property
    def of_pictures(self) -> PictureSettings:
        """Where the pictures are written to."""
        return PictureSettings(self.pictures, timeout=self.access.timeout)


def count_pages(path: str | os.PathLike[str]) -> int:
    """The number of pages that a file says it holds.

    Raises:
        StoreError: It is no export of an index.
    """
    with ArchiveReader(Path(path).expanduser()) as archive:
        return archive.manifest.pages


def import_file(
    path: str | os.PathLike[str],
    where: str | os.PathLike[str] | ChromaClient,
    options: ImportOptions,
) -> ImportReport:
    """See :meth:`metaembed_rag.PageIndex.import_`."""
    place, access = one_place(where, options.access)
    if place == MEMORY:
        raise StoreError("an index in memory would be gone at once; import into a folder")
    with ArchiveReader(Path(path).expanduser()) as archive:
        archive.verify()
        given = _Given(archive)
        given.check()  # before anything is written
        store = ChromaStore.open(
            place,
            lambda: replace(archive.manifest.about, pictures=options.of_pictures.url),
            collection=options.collection,
            access=access,
        )
        try:
            with store.writing(options.lock_timeout):
                return _Import(given, store, options).run()
        finally:
            store.close()


class _Given:
    """The pages of a file."""

    def __init__(self, archive: ArchiveReader) -> None:
        self.archive = archive
        self.parts = archive.manifest.parts

    def part(self, number: int) -> list[Row]:
        """The pages of one part.

        Raises:
            StoreError: They are none.
        """
        lines = self.archive.read(records_name(number))
        arrays = self.archive.read(vectors_name(number))
        try:
            return unpack_rows(lines, arrays, self.archive.manifest.about)
        except ValueError as error:
            raise StoreError(f"{self.archive.path} is damaged: {error}") from error

    def check(self) -> None:
        """See that all pages can be stored, and that they are as many as the file says.

        Raises:
            StoreError: They cannot, or are not.
        """
        ids = [row.id for number in range(self.parts) for row in self.part(number)]
        if len(set(ids)) != len(ids) or len(ids) != self.archive.manifest.pages:
            raise StoreError(f"{self.archive.path} is damaged: it holds pages twice, or too few")
        self.calibration()

    def calibration(self) -> Calibration | None:
        """The calibration, where there is one.

        Raises:
            StoreError: It is none.
        """
        if not self.archive.has(CALIBRATION):
            return None
        try:
            return Calibration.from_json(self.archive.read(CALIBRATION).decode())
        except ValueError as error:
            raise StoreError(f"{self.archive.path} is damaged: {error}") from error


class _Import:
    """One import. The writer lock is held, where there is one."""

    def __init__(self, given: _Given, store: ChromaStore, options: ImportOptions) -> None:
        self._given, self._store, self._options = given, store, options
        self._pictures = open_pictures(store, options.of_pictures)
        self._there: set[str] = set()
        self._saved = 0

    def run(self) -> ImportReport:
        """Write what is not there yet.

        Raises:
            StoreError: There is something else.
        """
        self._check_same(self._given.archive.manifest.about)
        self._check_content()
        for number in range(self._given.parts):
            rows = self._given.part(number)
            for row in rows:
                self._save_picture(row)
            self._write([row for row in rows if row.id not in self._there])
            if self._options.progress is not None:
                self._options.progress(len(rows))
        self._finish()
        pages = self._given.archive.manifest.pages
        return ImportReport(pages, pages - len(self._there), self._saved)

    def _check_same(self, given: CollectionModel) -> None:
        """Refuse an index of other vectors."""
        has = self._store.about
        for name, words in _TELLING.items():
            if getattr(given, name) != getattr(has, name):
                raise StoreError(
                    f"the index at {self._store.where} is of another {words} "
                    f"({getattr(has, name)!r}) than the file ({getattr(given, name)!r}): "
                    f"{_NEW_PLACE}"
                )

    def _check_content(self) -> None:
        """Refuse an index with other pages; note those that an import before has written."""
        others = set(self._store.ids())
        for number in range(self._given.parts) if others else ():
            rows = {row.id: row for row in self._given.part(number)}
            found = self._store.stored([id for id in rows if id in others])
            for id, metadata in found.items():
                if not is_same(rows[id], metadata):
                    raise self._refused(id)
            self._there |= found.keys()
            others -= found.keys()
        if others:
            raise self._refused(min(others))

    def _refused(self, id: str) -> StoreError:
        return StoreError(
            f"the index at {self._store.where} holds other pages than the file, such as {id!r}: "
            f"{_NEW_PLACE}"
        )

    def _write(self, rows: Sequence[Row]) -> None:
        if rows:
            first = np.stack([row.first for row in rows])
            self._store.upsert([row.id for row in rows], first, [row.metadata for row in rows])

    def _save_picture(self, row: Row) -> None:
        """Write a picture before the record that names it, whole or not at all."""
        name = row.picture
        if name is None or not self._given.archive.has(picture_member(name)):
            return
        data = self._given.archive.read(picture_member(name))
        if self._pictures.read([name])[name] == data:
            return
        try:
            self._pictures.write(name, data)
        except OSError as error:
            path = self._pictures.path(name)
            raise StoreError(f"the picture {path} cannot be written: {error.strerror}") from error
        self._saved += 1

    def _finish(self) -> None:
        """What is beside the pages: the calibration, and the mapped copy for the first search."""
        calibration, places = self._given.calibration(), self._store.places
        if calibration is not None:
            CalibrationFile(places.calibration, about_vectors(self._store.about)).save(calibration)
        cache = VectorCache(self._store)
        try:
            cache.current()
        except (CacheError, IndexLockedError) as error:
            _log.warning("the next search makes the mapped copy of the vectors: %s", error)
        finally:
            cache.close()
