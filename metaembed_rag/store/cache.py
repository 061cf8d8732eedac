"""A copy of an index's vectors that is mapped into memory, kept equal to the records in Chroma.

It is derived data: made from Chroma when it is absent, of another collection or model, or damaged,
and brought up to date when it is behind. Deleting it, even while it is in use, loses nothing.

Whether it is behind is decided by the records. Each request that writes pages gives them a stamp of
its own, and a row here remembers the stamp that its page had. What no known stamp covers is read
from Chroma, and only that; an equal number of pages then says that none was deleted. Looking for
unknown stamps looks at every record, so two things spare it: the database file's time
of change within a process, and the mark that the last write left in the folder between processes.
A server has neither and is asked each time, but only for records of the last minutes, and once a
minute for all: so what a writer wrote whose clock is far behind is noticed after a minute.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from metaembed_rag.errors import CacheError, DamagedCacheError, IndexLockedError
from metaembed_rag.store import places, records
from metaembed_rag.store.changes import Change, are_all_between
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.history import knows
from metaembed_rag.store.level_writer import CacheWriter, compact, write_manifest
from metaembed_rag.store.levels import CachedVectors, Header
from metaembed_rag.store.lock import held_in_turn
from metaembed_rag.store.privacy import make_folder
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import Encoded

_LOCK = ".lock"
_READ_AT_ONCE = 1000
_TRIES = 3
_PATIENCE, _STALLED = 600.0, 15.0
"""Seconds to wait for another process that brings the same cache up to date, and for one that does
not get on: it was stopped."""
_SKEW = 600
"""Seconds by which the clocks of a server's writers may differ."""
_LOOK_AT_ALL = 60.0
"""Seconds after which all records of a server are looked at again."""
_DEAD_SHARE, _DEAD_ROWS = 0.25, 256
"""Dead rows are dropped when they are more than this share, and more than this many."""

_log = logging.getLogger(__name__)


class VectorCache:
    """The mapped vectors of a store.

    Args:
        store: Holds the records.
        folder: Where the files lie; by default the store's place for them, or for memory a
            temporary folder.

    Raises:
        CacheError: There is no place for a temporary folder.
    """

    def __init__(self, store: ChromaStore, folder: Path | None = None) -> None:
        try:
            folder = folder or store.places.vectors
            self._is_temporary = folder is None
            self.folder = folder or places.temporary_folder("metaembed_cache_")
        except OSError as error:
            raise CacheError(f"no temporary folder can be made for the vectors: {error}") from error
        self._store = store
        self._lock = threading.Lock()
        self._vectors: CachedVectors | None = None
        self._revision: Hashable | None = None
        self._mark: str | None = None
        self._origin: Hashable | None = None
        self._look_at_all = 0.0
        self._damaged: set[str] = set()
        """Generations that are not what was written."""
        self._told = False

    @property
    def header(self) -> Header:
        """What the cache has to be of."""
        about = self._store.about
        id = self._store.collection_id
        return Header(id, about.fingerprint, about.format, about.dimension, about.vectors)

    def current(self) -> CachedVectors:
        """The vectors of all pages that the store holds now; made or brought up to date if needed.

        What it answers stays as it is, also while others write; ask again for news.

        Raises:
            IndexLockedError: Another process takes too long to bring it up to date.
            CacheError: The folder cannot be written.
            StoreError: The store cannot be read.
        """
        origin = self._store.origin()  # before the lock, which a fork may have left locked
        with self._lock:
            self._forget_before(origin)
            revision = self._store.revision()
            if self._vectors is not None and revision is not None and revision == self._revision:
                return self._vectors
            found = self._vectors or self._load()
            if found is None or not self._is_current(found):
                found = self._updated()
            self._vectors, self._revision = found, revision
            return found

    def apply(self, changes: Sequence[Change]) -> CachedVectors:
        """As :meth:`current`, for a writer, which hands over what it wrote.

        Vectors that are handed over are not read from Chroma; where nobody else wrote meanwhile,
        nothing is even looked for among the records.

        Args:
            changes: In the order in which they were made, with no write under way any more.
        """
        if not changes:
            return self.current()
        origin = self._store.origin()
        with self._lock:
            self._forget_before(origin)
            self._revision = None  # whatever happens, the next search looks
            self._vectors = self._updated(changes)
            return self._vectors

    def renew(self) -> CachedVectors:
        """As :meth:`current`; rows of pages that are gone are no longer in the files."""
        with self._lock:
            self._revision = None
            self._vectors = self._updated(tidy=True)
            return self._vectors

    def discard(self, error: DamagedCacheError) -> None:
        """Make it again the next time, because what was mapped is damaged; that is told once.

        Another process may have made it again meanwhile.
        """
        with self._lock:
            self._discard(error)

    def _discard(self, error: DamagedCacheError) -> None:
        self._tell(str(error))
        self._damaged.add(error.generation)
        self._vectors, self._revision = None, None

    def close(self) -> None:
        """Let the files go; those that would end with the process are removed."""
        with self._lock:
            self._vectors = None
            if self._is_temporary:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _forget_before(self, origin: Hashable) -> None:
        """Trust nothing that was mapped of another database: its stamps may be of a later time."""
        if origin != self._origin:
            self._vectors, self._revision, self._mark, self._look_at_all = None, None, None, 0.0
            self._store.look_at_doubtful()
        self._origin = origin

    def _is_current(self, found: CachedVectors) -> bool:
        if not knows(self._store.states(), found.manifest.state):
            return False
        mark = self._store.mark()
        marked = mark is not None and mark in (found.manifest.mark, self._mark)
        if marked and self._vectors is None:
            return True  # counting would be the first thing asked of Chroma, which would start it
        if found.header != self.header:
            return False
        if self._store.count() + self._damaged_since(found) != found.pages:
            return False
        if marked:
            return True
        if self._store.written_since(found.known_stamps(), after=self._after(found)):
            return False
        if mark is not None:
            self._remember(found, mark)
        return True

    def _damaged_since(self, found: CachedVectors) -> int:
        """How many records cannot be read that have rows here, of before they were damaged."""
        unreadable = list(self._store.unreadable)
        return int((found.rows(unreadable) >= 0).sum()) if unreadable else 0

    def _after(self, found: CachedVectors) -> int | None:
        """Which records of a server to look at; None, all of them, when that was long ago."""
        now = time.monotonic()
        if places.is_server(self._store.where) and now < self._look_at_all:
            return found.manifest.newest - _SKEW
        self._look_at_all = now + _LOOK_AT_ALL
        return None

    def _remember(self, current: CachedVectors, mark: str) -> None:
        """Note that nothing was missing at this mark, for this process and, if possible, others."""
        self._mark = mark
        try:
            with FileLock(self.folder / _LOCK, timeout=0):
                found = self._load()
                if found is not None and found.manifest == current.manifest:
                    state = self._state()
                    write_manifest(self.folder, replace(found.manifest, mark=mark, state=state))
        except (OSError, Timeout) as error:
            _log.info("the mark of %s is not kept: %s", self.folder, error)

    def _load(self, *, check_ids: bool = True) -> CachedVectors | None:
        """What the folder holds, if it is whole and of this collection."""
        try:
            found = CachedVectors.load(self.folder, self._vectors)
            if found.manifest.generation in self._damaged:
                return None
            if check_ids:  # there was a time when a page could get two rows
                found.check_ids()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._tell(str(error))
            return None
        if found.header != self.header:
            return None
        if not knows(self._store.states(), found.manifest.state):
            self._tell("the database was put back to an earlier state")
            return None
        self._told = False
        return found

    def _tell(self, why: str) -> None:
        """Warn that it is made again; once until it has been."""
        if not self._told:
            _log.warning("the vector cache %s is made again: %s", self.folder, why)
        self._told = True

    def _state(self) -> str:
        """The state that the database is in."""
        return (self._store.states() or [""])[-1]

    def _updated(self, changes: Sequence[Change] = (), *, tidy: bool = False) -> CachedVectors:
        """Bring the files up to date; again when somebody deletes them meanwhile."""
        for attempt in range(_TRIES):
            try:
                make_folder(self.folder)
                with held_in_turn(self.folder / _LOCK, _STALLED, _PATIENCE):
                    return self._update_whole(changes, tidy)
            except Timeout:
                raise IndexLockedError(
                    f"another process holds the lock of the vector cache {self.folder} and has "
                    f"written nothing for {_STALLED:.0f} s; stop it, and try again"
                ) from None
            except OSError as error:
                if isinstance(error, FileNotFoundError) and attempt < _TRIES - 1:
                    continue
                self._store.origin()  # where the whole index has gone, this says so
                raise CacheError(
                    f"the vector cache {self.folder} cannot be written: {error}; make room or mend "
                    f"the folder's permissions, and try again (deleting it loses nothing)"
                ) from error
        raise AssertionError("unreachable")

    def _update_whole(self, changes: Sequence[Change], tidy: bool) -> CachedVectors:
        """Bring the files up to date, from nothing where those before are damaged."""
        before = self._load()  # another process may have been here meanwhile
        try:
            return self._update(before, changes, tidy)
        except DamagedCacheError as error:
            if before is None:
                raise
            self._discard(error)
            return self._update(None, changes, tidy)

    def _update(
        self, before: CachedVectors | None, changes: Sequence[Change], tidy: bool
    ) -> CachedVectors:
        mark = self._store.mark()  # before reading, so that a later write is noticed
        was = before.manifest.mark if before else ""
        alone = bool(changes and was) and are_all_between(changes, was, mark)
        with CacheWriter(self.folder, self.header, before) as writer:
            update = _Update(self._store, writer, before, changes)
            update.run(alone)
            writer.commit(mark or "", update.unsettled(), update.newest, self._state())
            dead = writer.row_count - writer.pages
            bearable = 0 if tidy else max(_DEAD_ROWS, _DEAD_SHARE * writer.row_count)
        if dead > bearable:
            compact(self.folder, self._whole())
        self._mark = mark
        return self._whole()

    def _whole(self) -> CachedVectors:
        """What was just written."""
        found = self._load(check_ids=False)
        if found is None:
            raise FileNotFoundError(f"{self.folder} was deleted")
        return found


class _Update:
    """One bringing of a cache up to date: from what a writer hands over, the rest by reading.

    Each page gets at most one new row: an id that came twice would get two living ones.
    """

    def __init__(
        self,
        store: ChromaStore,
        writer: CacheWriter,
        before: CachedVectors | None,
        changes: Sequence[Change],
    ) -> None:
        self.store, self.writer, self.before = store, writer, before
        self.changes = changes
        self.newest = before.manifest.newest if before else 0
        self._last = {
            id: (number, place)
            for number, change in enumerate(changes)
            for place, id in [(-1, id) for id in change.deleted] + list(enumerate(change.ids))
        }
        """Which change was the last of each page, and its place there; -1 for a deletion."""
        self._new: dict[str, set[str]] = {}
        """Ids of new rows, by stamp."""

    def run(self, alone: bool) -> None:
        """Take what was handed over, and read what others have changed.

        Args:
            alone: Nobody but the writer who hands over has changed anything.
        """
        written = [id for id, (_, place) in self._last.items() if place >= 0]
        if alone:
            self._kill([id for id, (_, place) in self._last.items() if place < 0])
            self._take(written)
        else:
            self._look(set(written))
        self._kill_vanished()

    def _look(self, written: set[str]) -> None:
        """Find out which pages have changed; take those of ``written``, read the others."""
        known = self.before.known_stamps() if self.before else set()
        handed = {stamp for change in self.changes for stamp in change.stamps}
        # Of a page whose stamp is a handed one, the vectors are those of its last change here: a
        # writer's requests follow each other. Asked in this order, a page that somebody else
        # writes meanwhile is read or, with a stamp that is not known, looked for next time.
        foreign = self.store.written_since(known | handed)
        changed = self.store.written_since(known) if handed else foreign
        ours = (written & set(changed)) - set(foreign)
        self._take([id for id in changed if id in ours])
        self._read([id for id in dict.fromkeys([*foreign, *changed]) if id not in ours])

    def _take(self, ids: Sequence[str]) -> None:
        """Add rows of pages that were handed over, by their last change."""
        places: dict[int, list[int]] = {}
        for id in ids:
            number, place = self._last[id]
            places.setdefault(number, []).append(place)
        for number, chosen in sorted(places.items()):
            change = self.changes[number]
            wanted = [change.ids[place] for place in chosen]
            if change.vectors is None:
                self._read(wanted)
            else:
                stamps = [change.stamps[place] for place in chosen]
                self._append(wanted, stamps, change.vectors.pages(chosen), change.written)

    def _append(
        self, ids: Sequence[str], stamps: Sequence[str], vectors: Encoded, written: int
    ) -> None:
        """Add rows in place of those that the pages had."""
        self._kill(ids)
        for id, stamp in zip(ids, stamps, strict=True):
            self._new.setdefault(stamp, set()).add(id)
        self.newest = max(self.newest, written)
        self.writer.append(ids, stamps, vectors)

    def _read(self, ids: Sequence[str]) -> None:
        """Bring the rows of some pages up to date from their records, some at a time."""
        for start in range(0, len(ids), _READ_AT_ONCE):
            wanted = ids[start : start + _READ_AT_ONCE]
            found = self.store.get(wanted)
            self._kill([id for id in wanted if id not in found])
            new = [record for record in found.values() if not self._has(record)]
            if new:
                names, stamps = [one.page.id for one in new], [one.stamp for one in new]
                written = max(one.written for one in new)
                self._append(names, stamps, self.store.about.unpack(new), written)

    def _has(self, record: Record) -> bool:
        """Whether the cache has these very vectors, though their stamp is not a known one."""
        if self.before is None:
            return False
        at = self.before.rows([record.page.id])
        if at[0] < 0:
            return False
        if record.stamp:
            return self.before.stamps(at) == [record.stamp]
        now = self.store.about.unpack([record])
        had = self.before.take(at, self.store.about.vectors)
        return np.array_equal(had.values, now.values) and np.array_equal(had.scales, now.scales)

    def _kill(self, ids: Sequence[str]) -> None:
        if self.before is not None:
            self.writer.kill(self.before.rows(ids))

    def _kill_vanished(self) -> None:
        """Kill rows of pages that the store no longer has; new ones are left for the next time."""
        if self.before is None or self.store.count() == self.writer.pages:
            return
        there = set(self.store.ids())
        self._kill([id for id in self.before.ids[self.before.alive] if id not in there])

    def unsettled(self) -> set[str]:
        """Stamps of requests of which not all pages were read as that request left them.

        Reading takes several requests, so a write meanwhile can be seen in part. A stamp with fewer
        rows than its request wrote must not be on any other page; where it is, its pages are
        looked at again next time.
        """
        rows = self.before.rows_a_stamp() if self.before else {}
        doubtful = set(self.before.manifest.unsettled) if self.before else set()
        out = set()
        for stamp in (self._new.keys() | doubtful) - {""}:
            count = rows.get(stamp, 0) + len(self._new.get(stamp, ()))
            if count != records.request_size(stamp) and not self._is_all(stamp):
                out.add(stamp)
        return out

    def _is_all(self, stamp: str) -> bool:
        """Whether every page that has this stamp now was read with it."""
        there = self.store.with_stamp(stamp)
        missing = [id for id in there if id not in self._new.get(stamp, ())]
        if self.before is None:
            return not missing
        rows = self.before.rows(missing)
        return bool((rows >= 0).all()) and set(self.before.stamps(rows)) <= {stamp}
