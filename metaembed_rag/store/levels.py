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
        ├── level0.sums     the checksums of its blocks; see :mod:`metaembed_rag.store.blocks`
        ├── level1.values   …
        ├── ids.text, ids.ends      page ids one after the other, and where each ends
        ├── stamps.text, rows.stamps  stamps, a line each, and which one each row has
        └── dead.<name>     rows that are no page any more

A writer appends behind what counts, then replaces the manifest: a reader sees all of it or none,
and a reader with an older manifest keeps what it has, since no row is ever changed. No file is ever
cut off: where a killed writer has left more than counts, the next one copies what counts.

What is read of the levels is compared with its checksums when it is first read. Versions that knew
no checksums of blocks left one of each whole file: there, a level is one block.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.store.blocks import LAYOUT, Blocks
from metaembed_rag.vectors.formats import Encoded, unit_scales, vector_format
from metaembed_rag.vectors.integers import first_vectors, side_by_side

VERSION = 1
MANIFEST = "manifest.json"
IDS, ENDS, STAMPS, ROW_STAMPS = "ids.text", "ids.ends", "stamps.text", "rows.stamps"
SMALL_FILES = {IDS, ENDS, STAMPS, ROW_STAMPS}
"""Files whose checksum is taken on every opening; ``benchmarks/search/checksums.py`` times it."""
_TRIES = 5


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
        state: The last state of the source's database that was seen; ``""`` for none.
    """

    header: Header
    generation: str
    rows: int
    files: Mapping[str, tuple[int, int]]
    dead: str = ""
    mark: str = ""
    unsettled: tuple[str, ...] = ()
    newest: int = 0
    state: str = ""

    def to_json(self) -> str:
        """Text with a checksum of its own.

        Versions that know no states take mark and state for one mark, which is never the last one;
        so they look at the records.
        """
        values = asdict(self)
        state = values.pop("state")
        values["mark"] += f" {state}" if state else ""
        text = json.dumps(values, sort_keys=True)
        return json.dumps({"manifest": text, "crc32": zlib.crc32(text.encode())})

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: It is damaged, or of another version.
        """
        outer = json.loads(text)
        whole = isinstance(outer, dict) and outer.keys() == {"manifest", "crc32"}
        if not whole or zlib.crc32(str(outer["manifest"]).encode()) != outer["crc32"]:
            raise ValueError("the manifest is damaged")
        values = json.loads(outer["manifest"])
        if values["header"].get("version") != VERSION:
            raise ValueError("the manifest is of another version")
        values["header"] = Header(**values["header"])
        values["files"] = {name: (size, crc) for name, (size, crc) in values["files"].items()}
        values["unsettled"] = tuple(values["unsettled"])
        values["mark"], _, values["state"] = values["mark"].partition(" ")
        return cls(**values)


class CachedVectors:
    """The vectors of all pages as they were at one moment. Use :meth:`load`.

    Rows are in the order in which they were written. Some may be dead: pages that were deleted or
    replaced; a scan passes over them and has to leave out those that :attr:`alive` calls False.
    Mapped pages belong to the system, which takes them back when it needs memory. Until then they
    count as resident: 832 MB after a scan of 100,000 pages of 64 x 128 in int8.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.header = manifest.header
        self.manifest = manifest
        self.format = vector_format(self.header.format)
        self.ends = level_ends(self.header.vectors)
        self._folder = folder / manifest.generation
        self._check_sizes()
        small = {name: self._read(name) for name in sorted(SMALL_FILES | ({manifest.dead} - {""}))}
        self._text, self._id_ends = small[IDS], np.frombuffer(small[ENDS], dtype="<i8")
        self.every_stamp = small[STAMPS].decode().splitlines()
        self._row_stamps = np.frombuffer(small[ROW_STAMPS], dtype="<i4")
        self.alive = np.ones(manifest.rows, dtype=bool)
        if manifest.dead:
            self.alive[np.frombuffer(small[manifest.dead], dtype="<i8")] = False
        self.pages = int(self.alive.sum())
        mapped = [self._map(number) for number in range(len(self.ends))]
        of = manifest.generation
        self._blocks = [
            Blocks(f"{of}/level{number}", *self._summed(number, level))
            for number, level in enumerate(mapped)
        ]
        pairs = zip(mapped, self._blocks, strict=True)
        self._levels = [replace(one, guard=blocks.verify) for one, blocks in pairs]

    @classmethod
    def load(cls, folder: Path, before: CachedVectors | None = None) -> CachedVectors:
        """Map what a folder's manifest says.

        Args:
            folder: With the manifest.
            before: What was mapped of it before: what was compared then is not compared again.

        Raises:
            ValueError: It is damaged or of another version.
            OSError: It is not there.
        """
        for attempt in range(_TRIES):
            text = (folder / MANIFEST).read_text(encoding="utf-8")
            try:
                found = cls(folder, Manifest.from_json(text))
                if before is not None and before.manifest.generation == found.manifest.generation:
                    for new, old in zip(found._blocks, before._blocks, strict=True):
                        new.adopt(old)
                return found
            except (OSError, ValueError, KeyError, TypeError) as error:
                # A writer may have replaced manifest and files since the manifest was read.
                unchanged = (folder / MANIFEST).read_text(encoding="utf-8") == text
                if unchanged or attempt == _TRIES - 1:
                    raise ValueError(str(error)) from error
        raise AssertionError("unreachable")

    def __len__(self) -> int:
        """Rows, with the dead ones."""
        return self.manifest.rows

    @cached_property
    def ids(self) -> NDArray[np.object_]:
        """The page id of each row, dead ones too; shape (rows,)."""
        spans = itertools.pairwise([0, *self._id_ends.tolist()])
        if self._text.isascii():
            text = self._text.decode("ascii")
            found = [text[start:end] for start, end in spans]
        else:
            found = [self._text[start:end].decode() for start, end in spans]
        return np.array([*found, None], dtype=object)[:-1]  # (rows,), also for no row

    def rows(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """The row of each page, -1 for one that is not there; shape (ids,)."""
        return np.array([self._places.get(id, -1) for id in ids], dtype=np.int64)

    def stamps(self, rows: NDArray[np.int64]) -> list[str]:
        """The stamp of each row."""
        numbers = self._row_stamps[rows].tolist()
        return ["" if number < 0 else self.every_stamp[number] for number in numbers]

    def known_stamps(self) -> set[str]:
        """Stamps of living rows, those left out of which pages may be missing."""
        numbers = np.unique(self._row_stamps[self.alive]).tolist()
        known = {self.every_stamp[number] for number in numbers if number >= 0}
        return known - set(self.manifest.unsettled)

    def rows_a_stamp(self) -> Counter[str]:
        """How many rows each stamp has, dead ones too."""
        numbers, counts = np.unique(self._row_stamps, return_counts=True)
        pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
        return Counter({self.every_stamp[number]: count for number, count in pairs if number >= 0})

    def levels(self, r_c: int) -> list[Encoded]:
        """The levels that hold the first ``r_c`` vectors, mapped, the last one cut to them."""
        return first_vectors(self._levels, r_c)

    def take(self, rows: NDArray[np.int64], r_c: int) -> Encoded:
        """The first ``r_c`` vectors of some rows, copied side by side; shape (rows, r_c, width)."""
        return side_by_side(self.levels(r_c), rows)

    def verify(self) -> None:
        """Compare all levels with their checksums; what was compared before is not again.

        Raises:
            DamagedCacheError: They are not what was written.
        """
        for blocks in self._blocks:
            blocks.verify()

    @property
    def has_sums(self) -> bool:
        """Whether there are checksums of blocks; versions that knew none left them out."""
        return all(sums_name(number) in self.manifest.files for number in range(len(self.ends)))

    def has_more(self) -> bool:
        """Whether a writer that was killed has left more than counts."""
        files = self.manifest.files.items()
        longer = any((self._folder / name).stat().st_size > size for name, (size, _) in files)
        uncounted = {path.name for path in self._folder.iterdir()} - self.manifest.files.keys()
        return longer or not uncounted.isdisjoint(map(sums_name, range(len(self.ends))))

    def check_ids(self) -> None:
        """See that each page has one living row; needs :attr:`ids`.

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
        for name, bytes_ in row_bytes(self.header).items():
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

    def _summed(self, number: int, level: Encoded) -> tuple[Encoded, NDArray[np.void]]:
        """A level, and what is known of its blocks."""
        name = sums_name(number)
        if name in self.manifest.files:
            return level, np.frombuffer(self._read(name), LAYOUT)
        parts = [f"level{number}.values", f"level{number}.scales"]
        crcs = [self.manifest.files.get(part, (0, 0))[1] for part in parts]
        whole = [(len(level), *crcs)] if len(level) else []
        return level, np.array(whole, dtype=LAYOUT)

    def _map(self, number: int) -> Encoded:
        count = self.ends[number] - (0, *self.ends)[number]
        dimension, rows = self.header.dimension, self.manifest.rows
        shape = (rows, count, self.format.width(dimension))
        values = _mapped(self._folder / f"level{number}.values", self.format.dtype, shape)
        scales = unit_scales(values)
        if self.format.scaled:
            scales = _mapped(self._folder / f"level{number}.scales", np.dtype("<f2"), shape[:2])
        return Encoded(self.format, dimension, values, scales)


def sums_name(level: int) -> str:
    """The file of a level's checksums."""
    return f"level{level}.sums"


def row_bytes(header: Header) -> dict[str, int]:
    """Bytes a row of each file whose rows have one size."""
    format = vector_format(header.format)
    width = format.width(header.dimension) * format.dtype.itemsize
    ends = level_ends(header.vectors)
    bytes_ = {ENDS: 8, ROW_STAMPS: 4}
    for number, (start, end) in enumerate(itertools.pairwise((0, *ends))):
        bytes_[f"level{number}.values"] = (end - start) * width
        if format.scaled:
            bytes_[f"level{number}.scales"] = (end - start) * 2
    return bytes_


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if not shape[0]:
        return np.empty(shape, dtype=dtype)  # nothing cannot be mapped
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)
