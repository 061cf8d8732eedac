"""Writing the files of the mapped vectors: behind what counts, and then a new manifest.

How the files lie and who may read them meanwhile is told in :mod:`metaembed_rag.store.levels`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import uuid
import zlib
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.store.blocks import sums
from metaembed_rag.store.levels import (
    ENDS,
    IDS,
    MANIFEST,
    ROW_STAMPS,
    SMALL_FILES,
    STAMPS,
    CachedVectors,
    Header,
    Manifest,
    level_ends,
    row_bytes,
    sums_name,
)
from metaembed_rag.store.places import replace_file
from metaembed_rag.store.privacy import make_folder
from metaembed_rag.vectors.formats import Encoded

_COPIED_AT_ONCE = 1000
_BYTES_AT_ONCE = 4_000_000


@dataclass
class _Growing:
    """An open file of which the first ``size`` bytes count."""

    file: BinaryIO
    size: int = 0
    crc: int = 0
    changed: bool = field(default=False, init=False)

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)
        self.changed = self.changed or bool(data)

    def settle(self) -> None:
        """Bring it to the disk before a manifest names it."""
        if self.changed:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.changed = False


class CacheWriter:
    """Appends pages to a folder's files; what it did counts from :meth:`commit` on.

    One at a time may write: the caller holds a lock. A context manager, so that files are closed.

    Args:
        folder: Made when it is not there.
        header: What the vectors are of.
        start: What to append to; without it, a new generation begins.
    """

    def __init__(self, folder: Path, header: Header, start: CachedVectors | None = None) -> None:
        self.folder, self.header = folder, header
        goes_on = start is not None and not start.has_more()
        self.generation = start.manifest.generation if start and goes_on else uuid.uuid4().hex
        self.row_count = len(start) if start else 0
        self._dead = set(np.flatnonzero(~start.alive).tolist()) if start else set()
        self._dead_name = start.manifest.dead if start else ""
        self._numbers = {stamp: n for n, stamp in enumerate(start.every_stamp)} if start else {}
        make_folder(folder / self.generation)
        if start and not goes_on:
            _copy_what_counts(start, folder / self.generation)
        known = start.manifest.files if start else {}
        levels = range(len(level_ends(header.vectors)))
        names = sorted(SMALL_FILES | row_bytes(header).keys() | set(map(sums_name, levels)))
        self._files = {name: self._open(name, *known.get(name, (0, 0))) for name in names}
        if start and not start.has_sums:
            with ExitStack() as undo:
                undo.callback(self._close)
                self._sum_up(start)
                undo.pop_all()

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        for growing in self._files.values():
            growing.file.close()

    @property
    def pages(self) -> int:
        """Living rows."""
        return self.row_count - len(self._dead)

    def append(self, ids: Sequence[str], stamps: Sequence[str], vectors: Encoded) -> None:
        """Add pages behind those that are there.

        Args:
            ids: Their ids; rows of the same ids before have to be killed.
            stamps: Of the requests that wrote them; ``""`` for none.
            vectors: All of their vectors, in the header's format.
        """
        edges = itertools.pairwise((0, *level_ends(self.header.vectors)))
        for number, (begin, end) in enumerate(edges):
            values = np.ascontiguousarray(vectors.values[:, begin:end])
            scales = np.ascontiguousarray(vectors.scales[:, begin:end])
            self._write(f"level{number}.values", values)
            if vectors.format.scaled:
                self._write(f"level{number}.scales", scales)
            self._write(sums_name(number), sums(vectors.copied(values, scales), self.row_count))
        names = [id.encode() for id in ids]
        ends = self._files[IDS].size + np.cumsum([len(name) for name in names], dtype="<i8")
        self._files[IDS].write(b"".join(names))
        self._write(ENDS, ends)
        self._write(ROW_STAMPS, np.array([self._number(s) for s in stamps], dtype="<i4"))
        self.row_count += len(ids)

    def kill(self, rows: Iterable[int]) -> None:
        """Declare rows dead; those that are below 0, or dead already, do not matter."""
        before = len(self._dead)
        self._dead.update(int(row) for row in rows if row >= 0)
        if len(self._dead) > before:
            self._dead_name = ""  # what that file says is no longer all

    def commit(
        self, mark: str = "", unsettled: Collection[str] = (), newest: int = 0, state: str = ""
    ) -> None:
        """Make everything count, and remove the files of generations before.

        The arguments are those of :class:`metaembed_rag.store.levels.Manifest`.

        Raises:
            OSError: The disk is full, or the folder has gone.
        """
        for growing in self._files.values():
            growing.settle()
        files = {name: (growing.size, growing.crc) for name, growing in self._files.items()}
        if self._dead:
            files |= self._write_dead()
        manifest = Manifest(
            self.header,
            self.generation,
            self.row_count,
            files,
            self._dead_name,
            mark,
            tuple(sorted(unsettled)),
            newest,
            state,
        )
        write_manifest(self.folder, manifest)
        self._remove_old()

    def _open(self, name: str, size: int, crc: int) -> _Growing:
        path = self.folder / self.generation / name
        file = path.open("r+b" if path.exists() else "w+b")
        file.seek(size)
        return _Growing(file, size, crc)

    def _sum_up(self, start: CachedVectors) -> None:
        """Write the checksums of rows that a version without them has left.

        Raises:
            DamagedCacheError: They are not what that version wrote.
        """
        start.verify()
        for number, level in enumerate(start.levels(self.header.vectors)):
            self._write(sums_name(number), sums(level))

    def _write(self, name: str, values: NDArray[Any]) -> None:
        self._files[name].write(values.tobytes())

    def _number(self, stamp: str) -> int:
        if not stamp:
            return -1
        if stamp not in self._numbers:
            self._numbers[stamp] = len(self._numbers)
            self._files[STAMPS].write(f"{stamp}\n".encode())
        return self._numbers[stamp]

    def _write_dead(self) -> dict[str, tuple[int, int]]:
        data = np.array(sorted(self._dead), dtype="<i8").tobytes()
        if not self._dead_name:
            self._dead_name = f"dead.{uuid.uuid4().hex}"
            replace_file(self.folder / self.generation / self._dead_name, data, lasting=True)
        return {self._dead_name: (len(data), zlib.crc32(data))}

    def _remove_old(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and path.name != self.generation:
                shutil.rmtree(path, ignore_errors=True)
        for path in (self.folder / self.generation).glob("dead.*"):
            if path.name != self._dead_name:
                path.unlink(missing_ok=True)


def _copy_what_counts(start: CachedVectors, folder: Path) -> None:
    """Copy the counted part of each file: the files may be mapped, and so are never cut off."""
    before = folder.parent / start.manifest.generation
    for name, (size, _) in start.manifest.files.items():
        with (before / name).open("rb") as old, (folder / name).open("wb") as new:
            for begin in range(0, size, _BYTES_AT_ONCE):
                new.write(old.read(min(_BYTES_AT_ONCE, size - begin)))
            new.flush()
            os.fsync(new.fileno())


def compact(folder: Path, old: CachedVectors) -> None:
    """Write the living rows as a new generation, in their order, without the dead ones."""
    living = np.flatnonzero(old.alive)
    with CacheWriter(folder, old.header) as writer:
        for start in range(0, len(living), _COPIED_AT_ONCE):
            rows = living[start : start + _COPIED_AT_ONCE]
            vectors = old.take(rows, old.header.vectors)
            writer.append(old.ids[rows].tolist(), old.stamps(rows), vectors)
        was = old.manifest
        writer.commit(was.mark, was.unsettled, was.newest, was.state)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace a folder's manifest: a reader finds the old one or the new one, whole."""
    replace_file(folder / MANIFEST, manifest.to_json(), lasting=True)
