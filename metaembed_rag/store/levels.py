"""The vectors of pages in files that are mapped into memory, level by level.

A level holds the vectors that one budget reads and the one before does not: of 64 vectors the
first, 2 to 4, 5 to 8, 9 to 16, and 17 to 64. A coarse budget so touches coarse bytes only. All
processes that map the files share their pages of memory.

::

    folder/
    ├── manifest.json       what counts: how many rows, which files, their sizes and checksums
    └── <generation>/       files that only grow
        ├── level0.values   (rows, 1, width), as the vector format stores them
        ├── level0.scales   (rows, 1) float16; fp16 has none
        ├── level1.values   …
        ├── ids.text, ids.ends      page ids one after the other, and where each ends
        ├── stamps.text, rows.stamps  stamps, a line each, and which one each row has
        └── dead.<name>     rows that are no page any more

A writer appends behind what counts, then replaces the manifest: a reader sees all of it or none,
and a reader with an older manifest keeps what it has, since no row is ever changed. What a killed
writer appended is cut off by the next one.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import uuid
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.vectors.formats import Encoded, VectorFormat, vector_format

VERSION = 1
MANIFEST = "manifest.json"
_IDS, _ENDS, _STAMPS, _ROW_STAMPS = "ids.text", "ids.ends", "stamps.text", "rows.stamps"
_SMALL = {_IDS, _ENDS, _STAMPS, _ROW_STAMPS}
"""Files whose checksum is taken on every opening: 5 MB for 100,000 pages, 3 ms."""
_TRIES = 5
_COPIED_AT_ONCE = 1000


def level_ends(vectors: int) -> tuple[int, ...]:
    """The number of vectors up to the end of each level, for pages of ``vectors`` vectors."""
    inner = [r_c for _, r_c in RetrievalBudget.PAPER if r_c < vectors]
    return (*inner, vectors)


@dataclass(frozen=True)
class Header:
    """What a folder's vectors are of; another header means other vectors.

    Attributes:
        collection: Chroma's id of the collection.
        fingerprint: Of the model.
        format: Name of the vector format.
        dimension: D.
        vectors: R.
        version: Of the layout of the files.
    """

    collection: str
    fingerprint: str
    format: str
    dimension: int
    vectors: int
    version: int = VERSION


@dataclass(frozen=True)
class Manifest:
    """What counts of a folder.

    Attributes:
        header: What the vectors are of.
        generation: Name of the sub-folder with the files.
        rows: Rows, with the dead ones.
        files: Size and CRC-32 of the part of each file that counts.
        dead: Name of the file with the dead rows; ``""`` for none.
        mark: What the maker of the files remembers of their source; ``""`` for nothing.
        unsettled: Stamps of which pages may be missing.
        newest: When the latest page was written, in seconds; 0 where that is not known.
    """

    header: Header
    generation: str
    rows: int
    files: Mapping[str, tuple[int, int]]
    dead: str = ""
    mark: str = ""
    unsettled: tuple[str, ...] = ()
    newest: int = 0

    def to_json(self) -> str:
        """Text with a checksum of its own."""
        text = json.dumps(asdict(self), sort_keys=True)
        return json.dumps({"manifest": text, "crc32": zlib.crc32(text.encode())})

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: It is damaged, or of another version.
        """
        outer = json.loads(text)
        if not isinstance(outer, dict) or outer.keys() != {"manifest", "crc32"}:
            raise ValueError("the manifest is damaged")
        inner = str(outer["manifest"])
        if zlib.crc32(inner.encode()) != outer["crc32"]:
            raise ValueError("the manifest is damaged")
        values = json.loads(inner)
        if values["header"].get("version") != VERSION:
            raise ValueError("the manifest is of another version")
        values["header"] = Header(**values["header"])
        values["files"] = {name: (size, crc) for name, (size, crc) in values["files"].items()}
        values["unsettled"] = tuple(values["unsettled"])
        return cls(**values)


class CachedVectors:
    """The vectors of all pages as they were at one moment. Use :meth:`load`.

    Rows are in the order in which they were written. Some may be dead: pages that were deleted or
    replaced; a scan passes over them and has to leave out those that :attr:`alive` calls False.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.header = manifest.header
        self.manifest = manifest
        self.format = vector_format(self.header.format)
        self.ends = level_ends(self.header.vectors)
        self._folder = folder / manifest.generation
        self._check_sizes()
        small = {name: self._read(name) for name in sorted(_SMALL | ({manifest.dead} - {""}))}
        self._text, self._id_ends = small[_IDS], np.frombuffer(small[_ENDS], dtype="<i8")
        self._stamps = small[_STAMPS].decode().splitlines()
        self._row_stamps = np.frombuffer(small[_ROW_STAMPS], dtype="<i4")
        self.alive = np.ones(manifest.rows, dtype=bool)
        if manifest.dead:
            self.alive[np.frombuffer(small[manifest.dead], dtype="<i8")] = False
        self.pages = int(self.alive.sum())
        self._levels = [self._map(number) for number in range(len(self.ends))]

    @classmethod
    def load(cls, folder: Path) -> CachedVectors:
        """Map what a folder's manifest says.

        Raises:
            ValueError: It is damaged or of another version.
            OSError: It is not there.
        """
        for attempt in range(_TRIES):
            text = (folder / MANIFEST).read_text(encoding="utf-8")
            try:
                return cls(folder, Manifest.from_json(text))
            except (OSError, ValueError, KeyError, TypeError) as error:
                # A writer may have replaced manifest and files since the manifest was read.
                unchanged = (folder / MANIFEST).read_text(encoding="utf-8") == text
                if unchanged or attempt == _TRIES - 1:
                    raise ValueError(f"{folder}: {error}") from error
        raise AssertionError("unreachable")

    def __len__(self) -> int:
        """Rows, with the dead ones."""
        return self.manifest.rows

    @cached_property
    def ids(self) -> NDArray[np.object_]:
        """The page id of each row, dead ones too; shape (rows,)."""
        ends = self._id_ends.tolist()
        starts = [0, *ends][: len(ends)]
        if self._text.isascii():
            text = self._text.decode("ascii")
            found = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        else:
            data = self._text
            found = [data[start:end].decode() for start, end in zip(starts, ends, strict=True)]
        return np.array([*found, None], dtype=object)[:-1]  # (rows,), also for no row

    def rows(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """The row of each page, -1 for one that is not there; shape (ids,)."""
        return np.array([self._places.get(id, -1) for id in ids], dtype=np.int64)

    def stamps(self, rows: NDArray[np.int64]) -> list[str]:
        """The stamp of each row."""
        numbers = self._row_stamps[rows].tolist()
        return ["" if number < 0 else self._stamps[number] for number in numbers]

    def known_stamps(self) -> set[str]:
        """Stamps of living rows, those left out of which pages may be missing."""
        numbers = np.unique(self._row_stamps[self.alive])
        return {self._stamps[n] for n in numbers.tolist() if n >= 0} - set(self.manifest.unsettled)

    def rows_a_stamp(self) -> Counter[str]:
        """How many rows each stamp has, dead ones too."""
        numbers, counts = np.unique(self._row_stamps, return_counts=True)
        pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
        return Counter({self._stamps[number]: count for number, count in pairs if number >= 0})

    def level(self, number: int) -> Encoded:
        """One level, mapped: values (rows, vectors of the level, width), scales beside them."""
        return self._levels[number]

    def levels(self, r_c: int) -> list[Encoded]:
        """The levels that hold the first ``r_c`` vectors, mapped, the last one cut to them."""
        starts = (0, *self.ends[:-1])
        pairs = zip(starts, self._levels, strict=True)
        return [level.first(r_c - start) for start, level in pairs if start < r_c]

    def take(self, rows: NDArray[np.int64], r_c: int) -> Encoded:
        """The first ``r_c`` vectors of some rows, copied side by side; shape (rows, r_c, width)."""
        parts = self.levels(r_c)
        values = np.concatenate([part.values[rows] for part in parts], axis=1)
        scales = np.concatenate([part.scales[rows] for part in parts], axis=1)
        return Encoded(self.format, self.header.dimension, values, scales)

    def release(self) -> None:
        """Give back the memory of what was read; it is mapped again when it is next read.

        Mapped pages belong to the system, which takes them back when it needs memory. Until then
        they count as resident: 832 MB after a scan of 100,000 pages of 64 x 128 in int8.
        """
        for level in self._levels:
            for values in (level.values, level.scales):
                mapped = getattr(values, "_mmap", None)
                if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                    mapped.madvise(mmap.MADV_DONTNEED)

    def verify(self) -> None:
        """Compare every byte with its checksum; reads all files.

        Raises:
            ValueError: A file is damaged.
        """
        for name in self.manifest.files:
            self._read(name)

    def check_ids(self) -> None:
        """See that each page has one living row: of 100,000, 16 ms after :attr:`ids`.

        Raises:
            ValueError: One has several, of which all but one are out of date.
        """
        if len(self._places) != self.pages:
            raise ValueError(f"{self.pages} rows are of only {len(self._places)} pages")

    @cached_property
    def _places(self) -> dict[str, int]:
        living = np.flatnonzero(self.alive)
        return dict(zip(self.ids[living].tolist(), living.tolist(), strict=True))

    def _check_sizes(self) -> None:
        manifest, rows = self.manifest, self.manifest.rows
        for name, bytes_ in _row_bytes(self.header).items():
            size, _ = manifest.files[name]
            if size != rows * bytes_:
                raise ValueError(f"{name} counts {size} bytes, not {rows} rows of {bytes_}")
        for name, (size, _) in manifest.files.items():
            if (self._folder / name).stat().st_size < size:
                raise ValueError(f"{name} is shorter than {size} bytes")

    def _read(self, name: str) -> bytes:
        """The part of a file that counts."""
        size, crc = self.manifest.files[name]
        with (self._folder / name).open("rb") as file:
            data = file.read(size)
        if zlib.crc32(data) != crc:
            raise ValueError(f"{name} is damaged")
        return data

    def _map(self, number: int) -> Encoded:
        count = self.ends[number] - (0, *self.ends)[number]
        dimension, rows = self.header.dimension, self.manifest.rows
        shape = (rows, count, self.format.width(dimension))
        values = _mapped(self._folder / f"level{number}.values", self.format.dtype, shape)
        if not self.format.scaled:
            ones = np.broadcast_to(np.float16(1), (rows, count))
            return Encoded(self.format, dimension, values, ones)
        scales = _mapped(self._folder / f"level{number}.scales", np.dtype("<f2"), (rows, count))
        return Encoded(self.format, dimension, values, scales)


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
        self.format: VectorFormat = vector_format(header.format)
        self.generation = start.manifest.generation if start else uuid.uuid4().hex
        self.row_count = len(start) if start else 0
        self._dead = set(np.flatnonzero(~start.alive).tolist()) if start else set()
        self._dead_name = start.manifest.dead if start else ""
        self._dead_changed = False
        self._numbers = {stamp: n for n, stamp in enumerate(start._stamps)} if start else {}
        (folder / self.generation).mkdir(parents=True, exist_ok=True)
        known = start.manifest.files if start else {}
        names = sorted(_SMALL | _row_bytes(header).keys())
        self._files = {name: self._open(name, *known.get(name, (0, 0))) for name in names}

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for growing in self._files.values():
            growing.file.close()

    @property
    def pages(self) -> int:
        """Living rows."""
        return self.row_count - len(self._dead)

    @property
    def dead(self) -> int:
        """Dead rows."""
        return len(self._dead)

    def append(self, ids: Sequence[str], stamps: Sequence[str], vectors: Encoded) -> None:
        """Add pages behind those that are there.

        Args:
            ids: Their ids; rows of the same ids before have to be killed.
            stamps: Of the requests that wrote them; ``""`` for none.
            vectors: All of their vectors, in the header's format.
        """
        begin = 0
        for number, end in enumerate(level_ends(self.header.vectors)):
            self._write(f"level{number}.values", vectors.values[:, begin:end])
            if self.format.scaled:
                self._write(f"level{number}.scales", vectors.scales[:, begin:end])
            begin = end
        names = [id.encode() for id in ids]
        ends = self._files[_IDS].size + np.cumsum([len(name) for name in names], dtype="<i8")
        self._files[_IDS].write(b"".join(names))
        self._write(_ENDS, ends)
        self._write(_ROW_STAMPS, np.array([self._number(s) for s in stamps], dtype="<i4"))
        self.row_count += len(ids)

    def kill(self, rows: Iterable[int]) -> None:
        """Declare rows dead; those that are below 0, or dead already, do not matter."""
        before = len(self._dead)
        self._dead.update(int(row) for row in rows if row >= 0)
        self._dead_changed = self._dead_changed or len(self._dead) > before

    def commit(self, mark: str = "", unsettled: Collection[str] = (), newest: int = 0) -> None:
        """Make everything count, and remove the files of generations before.

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
        )
        write_manifest(self.folder, manifest)
        self._remove_old()

    def _open(self, name: str, size: int, crc: int) -> _Growing:
        path = self.folder / self.generation / name
        file = path.open("r+b" if path.exists() else "w+b")
        file.truncate(size)  # what a killed writer left
        file.seek(size)
        return _Growing(file, size, crc)

    def _write(self, name: str, values: NDArray[Any]) -> None:
        self._files[name].write(values.tobytes())

    def _number(self, stamp: str) -> int:
        if not stamp:
            return -1
        if stamp not in self._numbers:
            self._numbers[stamp] = len(self._numbers)
            self._files[_STAMPS].write(f"{stamp}\n".encode())
        return self._numbers[stamp]

    def _write_dead(self) -> dict[str, tuple[int, int]]:
        data = np.array(sorted(self._dead), dtype="<i8").tobytes()
        if self._dead_changed or not self._dead_name:
            self._dead_name = f"dead.{uuid.uuid4().hex}"
            _write_whole(self.folder / self.generation / self._dead_name, data)
            self._dead_changed = False
        return {self._dead_name: (len(data), zlib.crc32(data))}

    def _remove_old(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and path.name != self.generation:
                shutil.rmtree(path, ignore_errors=True)
        for path in (self.folder / self.generation).glob("dead.*"):
            if path.name != self._dead_name:
                path.unlink(missing_ok=True)


def compact(folder: Path, old: CachedVectors) -> None:
    """Write the living rows as a new generation, in their order, without the dead ones."""
    living = np.flatnonzero(old.alive)
    with CacheWriter(folder, old.header) as writer:
        for start in range(0, len(living), _COPIED_AT_ONCE):
            rows = living[start : start + _COPIED_AT_ONCE]
            vectors = old.take(rows, old.header.vectors)
            writer.append(old.ids[rows].tolist(), old.stamps(rows), vectors)
        writer.commit(old.manifest.mark, old.manifest.unsettled, old.manifest.newest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace a folder's manifest: a reader finds the old one or the new one, whole."""
    unfinished = folder / f".{uuid.uuid4().hex}"
    try:
        _write_whole(unfinished, manifest.to_json().encode())
        unfinished.replace(folder / MANIFEST)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_whole(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _row_bytes(header: Header) -> dict[str, int]:
    """Bytes a row of each file whose rows have one size."""
    format = vector_format(header.format)
    width = format.width(header.dimension) * format.dtype.itemsize
    ends = level_ends(header.vectors)
    bytes_ = {_ENDS: 8, _ROW_STAMPS: 4}
    for number, (start, end) in enumerate(zip((0, *ends), ends, strict=False)):
        bytes_[f"level{number}.values"] = (end - start) * width
        if format.scaled:
            bytes_[f"level{number}.scales"] = (end - start) * 2
    return bytes_


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if not shape[0]:
        return np.empty(shape, dtype=dtype)  # nothing cannot be mapped
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)
