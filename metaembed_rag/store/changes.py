"""Who has written since: the marks between which each write lies, and what a write changed.

A writer leaves a new mark in the index's folder after each write, and so does who makes an index:
a folder that was made anew has another mark than the one before. Two equal marks so say that no
process of this package wrote between, also days apart. While a write is under way a second file
says so; a writer that is killed leaves it there, and then nothing is known until the next write.
In memory the number of writes is the mark; a server has none.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Hashable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from metaembed_rag.errors import StoreError
from metaembed_rag.store.places import DATABASE, MARK, WRITING, read_mark, replace_file
from metaembed_rag.vectors.formats import Encoded

_SETTLED_NS = 2_000_000_000
"""After so long a file's time of change cannot be that of a later change too."""
_OVERHEAD = 300
"""Bytes of a change without vectors, and of a page in it: an id, a stamp, two places in lists."""


@dataclass
class Span:
    """The marks before and after one write; None where another write was under way, or none is.

    The mark that the write leaves joins ``seen``, before others can read it.
    """

    before: str | None
    seen: MutableSequence[str]
    after: str | None = field(default=None, init=False)


@dataclass(frozen=True)
class Change:
    """What one write changed in a store, told to those who keep a copy of its vectors.

    Attributes:
        before: The store's mark before the write; None where that was not known.
        after: Its mark afterwards.
        deleted: Ids of pages that were deleted.
        ids: Ids of pages whose vectors were written, without repeats.
        stamps: For each of ``ids``, of the request that wrote it.
        written: When, by the writer's clock, in seconds.
        vectors: All vectors of the pages of ``ids``, as the store's format holds them; None where
            they are to be read from their records.
    """

    before: str | None
    after: str | None
    deleted: Sequence[str] = ()
    ids: Sequence[str] = ()
    stamps: Sequence[str] = ()
    written: int = 0
    vectors: Encoded | None = None

    def __post_init__(self) -> None:
        if len(self.stamps) != len(self.ids):
            raise ValueError(f"{len(self.ids)} pages were written with {len(self.stamps)} stamps")
        if self.vectors is not None and len(self.vectors) != len(self.ids):
            raise ValueError(f"{len(self.ids)} pages have vectors of {len(self.vectors)}")

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        vectors = self.vectors
        arrays = 0 if vectors is None else vectors.values.nbytes + vectors.scales.nbytes
        return arrays + _OVERHEAD * (1 + len(self.ids) + len(self.deleted))


def are_all_between(changes: Sequence[Change], before: str, after: str | None) -> bool:
    """Whether nobody else wrote between two marks: each change begins where the last one ended."""
    ends = [before, *(change.after for change in changes)]
    starts = [*(change.before for change in changes), after]
    return None not in starts and ends == starts


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """A file of ours that is written or removed meanwhile.

    Raises:
        StoreError: That cannot be done.
    """
    try:
        yield path
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror or error}); make room or mend the folder's "
            f"permissions, and where it is a folder or a link, delete it; then try again"
        ) from error


class WriteLog:
    """The marks that writes to one store leave and see.

    Args:
        folder: The index's folder; None for a server and for memory.
        counted: Whether the number of this object's writes says it all: in memory.
    """

    def __init__(self, folder: Path | None, *, counted: bool) -> None:
        self._folder = folder
        self._counted = counted
        self._writes = 0
        self._under_way = 0
        self._is_doubtful = False
        self._lock = threading.Lock()

    @contextmanager
    def write(self, seen: MutableSequence[str]) -> Iterator[Span]:
        """Leave a new mark when a write is done, also when it failed half-way.

        Args:
            seen: The marks that whoever writes knows; the new one is put at its end.
        """
        with self._lock:
            span = Span(self.mark(), seen)
            if self._folder is not None:
                with _written(self._folder / WRITING) as path:
                    path.touch()
            self._under_way += 1
            self._is_doubtful = False
        try:
            yield span
        except StoreError:
            # Chroma may have it in its log, and take it from there when it is opened again: as
            # after a kill, nothing is known until the next write succeeds.
            self._is_doubtful = True
            raise
        finally:
            self._end(span)

    def mark(self) -> str | None:
        """The mark of the last write; None where a write may be half done, and for a server."""
        if self._counted:
            return None if self._under_way or self._is_doubtful else str(self._writes)
        if self._folder is None or (self._folder / WRITING).exists():
            return None
        return read_mark(self._folder) or None

    def revision(self) -> Hashable | None:
        """A value that changes with every write, from any process; None where none is cheap.

        While a folder's database has just been written, another write could leave the same time
        of change, and for a server nothing but its answers is known: then it is None.
        """
        if self._folder is None:
            return self._writes if self._counted else None
        try:
            stat = (self._folder / DATABASE).stat()
        except OSError:  # it has just gone
            return None
        if time.time_ns() - stat.st_mtime_ns < _SETTLED_NS:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_dev, stat.st_ino, read_mark(self._folder)

    def is_behind(self, seen: Sequence[str]) -> bool:
        """Whether somebody has written who is not among those whose marks were seen."""
        return self._folder is not None and read_mark(self._folder) not in seen

    def _end(self, span: Span) -> None:
        with self._lock:
            self._under_way -= 1
            self._writes += 1
            if self._folder is not None:
                mark = uuid.uuid4().hex
                span.seen.append(mark)
                with _written(self._folder / MARK) as path:
                    replace_file(path, mark)
                if not self._under_way and not self._is_doubtful:
                    with _written(self._folder / WRITING) as path:
                        path.unlink(missing_ok=True)
            span.after = self.mark()
