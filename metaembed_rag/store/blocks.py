"""Checksums of mapped vectors, block by block, each compared once a process: when it is first read.

A block is a few neighbouring rows of one level, about 16 KB: small enough that a search which reads
one page in a hundred compares little, and large enough that finding out whether all was compared
takes little beside the search. The sums are CRC-32 of the standard library: other libraries have
faster ones, but each byte is compared once a process. What it costs is measured by
``benchmarks/search/checksums.py`` and shown in ``docs/reliability.md``.
"""

from __future__ import annotations

import itertools
import mmap
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import DamagedCacheError
from metaembed_rag.vectors.formats import Encoded

LAYOUT = np.dtype([("end", "<i8"), ("values", "<u4"), ("scales", "<u4")])
"""A block: the row behind its last one, and CRC-32 of its values and its scales."""

_BYTES = 16_384


def rows_a_block(bytes_a_row: int) -> int:
    """How many rows a block has at most."""
    return max(1, _BYTES // max(1, bytes_a_row))


def sums(vectors: Encoded, begin: int = 0) -> NDArray[np.void]:
    """The blocks of a level's rows.

    Args:
        vectors: Of one level, shape (rows, r, …).
        begin: Number of the first row.

    Returns:
        Of :data:`LAYOUT`, shape (blocks,).
    """
    rows = len(vectors)
    values, scales = _bytes(vectors.values), _bytes(_stored_scales(vectors))
    if not rows:
        return np.empty(0, LAYOUT)
    step = rows_a_block((len(values) + len(scales)) // rows)
    ends = [*range(step, rows, step), rows]
    made = [
        (begin + end, *_sums(values, scales, (start, end), rows))
        for start, end in itertools.pairwise([0, *ends])
    ]
    return np.array(made, dtype=LAYOUT)


class Blocks:
    """The blocks of one mapped level, and which of them were compared with their checksums.

    Args:
        name: The generation and the level, as in ``"ab12/level0"``.
        vectors: The level, mapped; shape (rows, r, …).
        known: Its blocks, of :data:`LAYOUT`.

    Raises:
        ValueError: The blocks are not those of so many rows.
    """

    def __init__(self, name: str, vectors: Encoded, known: NDArray[np.void]) -> None:
        self.known = known
        self._generation, _, self._name = name.rpartition("/")
        self._rows = len(vectors)
        self._ends = known["end"]
        if (self._ends[-1] if len(known) else 0) != self._rows or (np.diff(self._ends) <= 0).any():
            raise ValueError(f"the checksums of {self._name} are not of {self._rows} rows")
        self._values, self._scales = _bytes(vectors.values), _bytes(_stored_scales(vectors))
        self._files = [*_mapped(vectors.values), *_mapped(vectors.scales)]
        self._compared = np.zeros(self._rows, dtype=bool)
        self._all = not self._rows

    def adopt(self, before: Blocks) -> None:
        """Compare no block again that was compared when the files were shorter."""
        same = len(before.known)
        if np.array_equal(self.known[:same], before.known):
            self._compared[: before._rows] = before._compared
            self._all = bool(self._compared.all())

    def verify(self, rows: NDArray[np.int64] | None = None) -> None:
        """See that the files are as long as they were, and that rows are what was written.

        Rows whose block was compared before cost a look at a mask.

        Args:
            rows: Their numbers; None for all.

        Raises:
            DamagedCacheError: They are not. Nothing was read behind the end of a file.
        """
        self._check_sizes()
        if self._all:
            return
        for block in self._to_compare(rows):
            self._compare(block)
        if rows is None:
            self._all = True

    def _to_compare(self, rows: NDArray[np.int64] | None) -> Sequence[int]:
        wanted = np.flatnonzero(~self._compared) if rows is None else rows[~self._compared[rows]]
        if not len(wanted):
            return ()
        blocks: list[int] = np.unique(np.searchsorted(self._ends, wanted, side="right")).tolist()
        return blocks

    def _compare(self, block: int) -> None:
        start = int(self._ends[block - 1]) if block else 0
        end, *expected = self.known[block].tolist()
        if list(_sums(self._values, self._scales, (start, end), self._rows)) != expected:
            self._check_sizes()
            raise self._damage(f"rows {start} to {end - 1} of {self._name} are damaged")
        self._compared[start:end] = True

    def _check_sizes(self) -> None:
        """A mapped byte that its file no longer has would end the process (SIGBUS)."""
        for file, size in self._files:
            if file.size() < size:
                raise self._damage(f"a file of {self._name} is shorter than {size} bytes")

    def _damage(self, what: str) -> DamagedCacheError:
        return DamagedCacheError(what, self._generation)


def _sums(values: memoryview, scales: memoryview, rows: tuple[int, int], of: int) -> Iterator[int]:
    """CRC-32 of both parts of some of ``of`` rows."""
    for part in (values, scales):
        width = len(part) // of
        yield zlib.crc32(part[rows[0] * width : rows[1] * width])


def _stored_scales(vectors: Encoded) -> NDArray[Any]:
    """The scales that lie in a file: fp16 has none."""
    return vectors.scales if vectors.format.scaled else np.empty(0, np.float16)


def _bytes(array: NDArray[Any]) -> memoryview:
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memoryview(flat)


def _mapped(array: NDArray[Any]) -> Iterator[tuple[mmap.mmap, int]]:
    """The file that an array is mapped from, if it is, and how long it has to be."""
    if isinstance(array.base, mmap.mmap):
        yield array.base, array.nbytes
