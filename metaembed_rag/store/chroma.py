"""Chroma as the source of truth: one record a page, on a folder, a server or in memory."""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import IndexNotFoundError, StoreError
from metaembed_rag.metadata.filters import normalize_where
from metaembed_rag.store import records
from metaembed_rag.store.access import PLAIN, ServerAccess
from metaembed_rag.store.changes import Change, Span, WriteLog
from metaembed_rag.store.collection import (
    LANGUAGE_KEY,
    PICTURES_KEY,
    CollectionModel,
    check_same,
    create,
    existing,
    note,
    recorded,
)
from metaembed_rag.store.connect import chroma_errors, connect, is_new_folder, one_maker, one_place
from metaembed_rag.store.history import Sessions, states_in
from metaembed_rag.store.link import Connection, Link
from metaembed_rag.store.lock import WriterLock
from metaembed_rag.store.matching import Matching, fits
from metaembed_rag.store.page_fields import PageFields
from metaembed_rag.store.places import MEMORY, Places, is_server
from metaembed_rag.store.privacy import keep_private
from metaembed_rag.store.raw import RawRecord, read_raw
from metaembed_rag.store.reading import DoubtfulIds, RecordReader
from metaembed_rag.store.records import Record, StampedText
from metaembed_rag.store.requests import slices, slices_to_read, slices_to_write
from metaembed_rag.store.server import UNLIMITED, send_halving
from metaembed_rag.store.stamps import StampQuestions
from metaembed_rag.store.table import RecordTable, bare_rows
from metaembed_rag.store.texts import PageTexts

_TEXTS_AT_ONCE = 1000
_IDS_AT_ONCE = 10_000
_Row = tuple[str, Mapping[str, Any] | None]


class ChromaStore(StampQuestions):
    """One collection of pages. Use :meth:`open`.

    Reading needs no lock. Writing to a folder takes the folder's writer lock, because several
    writing processes damage a local Chroma; a server does its own locking. It is closed by
    :meth:`close`, or with the last reference to it.
    """

    def __init__(
        self, where: str, connection: Connection, connect_again: Callable[[str], Any]
    ) -> None:
        self.where = where
        namespace = getattr(connection.client, "namespace", "")
        self.places = Places.of(where, str(connection.collection.name), namespace)
        self._link = Link(self.places, connect_again, connection, recorded, check_same)
        self._close = weakref.finalize(self, self._link.close)
        self._close.atexit = False
        self._lock = WriterLock(self.places.folder)
        is_shared = getattr(connection.client, "is_shared", False)
        self._writes = WriteLog(self.places.folder, counted=where == MEMORY and not is_shared)
        self._sessions = Sessions(self.places)
        self._most_records = UNLIMITED
        self._texts = PageTexts(weakref.proxy(self))
        self.fields = PageFields(weakref.proxy(self))
        self._table = RecordTable(alone=not is_server(where) and not is_shared)
        self._reader = RecordReader(where, self.about.unpack, DoubtfulIds(self.places.doubtful))

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str],
        new: Callable[[], CollectionModel] | None,
        *,
        collection: str = "pages",
        access: ServerAccess = PLAIN,
    ) -> ChromaStore:
        """Open a collection; make it when there is none.

        Args:
            where: A folder, ``http(s)://host:port`` of a Chroma server, ``":memory:"``, or an open
                client of Chroma.
            new: Says what a new collection holds; called only when one is made. Without it, only
                an existing collection is opened.
            collection: Its name.
            access: How a server is asked.

        Raises:
            IndexNotFoundError: There is none and ``new`` is None.
            StoreError: Chroma cannot open it, or it is of a newer format.
        """
        where, access = one_place(where, access)
        # What cannot be made is refused before anything is written.
        about = new() if new is not None and is_new_folder(where) else None
        may_make = new is not None
        again = partial(connect, create=False, access=access)
        with chroma_errors(where), one_maker(where, create=may_make) as alone, ExitStack() as undo:
            client = connect(where, create=may_make, access=access)
            undo.callback(client.close)
            found = existing(client, collection)
            if found is not None:
                store = cls(where, Connection(client, found), again)
            elif new is None:
                places = Places.of(where, collection, getattr(client, "namespace", ""))
                raise IndexNotFoundError(
                    f"no index named {collection!r} at {places.spoken}; make one with "
                    f"{places.how_to_make} or PageIndex.open(…).add(…)"
                )
            else:
                made = Connection(client, create(client, collection, about or new()))
                store = cls(where, made, again)
                if alone:
                    store._leave_mark(made)
            undo.pop_all()
        return store

    @property
    def about(self) -> CollectionModel:
        """What the collection says about the vectors in it."""
        return self._link.about

    @property
    def collection_id(self) -> str:
        """Chroma's id of the collection; another one of the same name has another."""
        return str(self._collection.id)

    def note_pictures(self, url: str) -> None:
        """Say in the collection where its pages' pictures lie; the writer lock is held."""
        self._link.ask(lambda one: note(one.client, self.places.collection, PICTURES_KEY, url))

    def note_language(self, name: str) -> None:
        """Say in the collection how words are read; the writer lock is held."""
        self._link.ask(lambda one: note(one.client, self.places.collection, LANGUAGE_KEY, name))

    @property
    def unreadable(self) -> Mapping[str, Mapping[str, Any]]:
        """What Chroma holds of records that could not be read; see :class:`RecordReader`."""
        return self._reader.unreadable

    def look_at_doubtful(self) -> None:
        """Look at the records that another process could not read: they are ``unreadable``, too."""
        if doubtful := self._reader.doubtful.read() - self.unreadable.keys():
            self.get(sorted(doubtful))
            self._reader.forget(doubtful - self.unreadable.keys())

    @property
    def _collection(self) -> Any:
        """The collection of now, for what it says of itself."""
        with self._link.asking(records=False) as connection:
            return connection.collection

    def origin(self) -> Hashable:
        """What changes when another database or collection lies at the place: then nothing that
        was derived from the one before holds, whatever its pages say.

        Raises:
            StoreError: There is none any more, or one that cannot go on for the first.
        """
        with self._link.asking(records=False) as connection:
            return connection.origin

    def check_open(self) -> None:
        """See that it can be asked.

        Raises:
            IndexClosedError: It was closed, or opened in the process that this was forked from.
        """
        self._link.check_open()

    def close(self) -> None:
        """Release files and threads, after the questions under way; again is no error."""
        self._close()

    def reconnect(self) -> None:
        """Connect anew to what lies at the place, having seen everything that is stored."""
        self._link.reconnect()

    @contextmanager
    def writing(self, timeout: float = 0.0) -> Iterator[None]:
        """Hold the writer lock, having seen all writes; threads of one process take turns.

        Raises:
            IndexLockedError: Another process holds it for longer than ``timeout`` seconds.
            StoreError: There is no index any more, another one, or another one in the middle.
        """
        self.origin()  # nothing is locked where there is no index any more
        with self._lock.held(timeout):
            self._link.find_again()
            self._link.see_writes(self._writes.is_behind)
            with self._link.pinned(), self._sessions.one():
                yield
            if self.places.folder is not None:
                keep_private(self.places.folder)

    def upsert(
        self,
        ids: Sequence[str],
        first_vectors: NDArray[np.float32],
        metadatas: Sequence[Mapping[str, Any]],
    ) -> Change:
        """Write records: page and vectors together, so that no half page can exist.

        Args:
            ids: Page ids, without repeats.
            first_vectors: Float32 unit vectors, shape (pages, D): the (1, 1) representation.
            metadatas: From :func:`records.to_metadata`.

        Returns:
            What was written and with which stamps; the vectors are the caller's to add.
        """
        stamps: list[str] = []
        written = int(time.time())

        def send(part: slice) -> None:
            count = len(ids[part])
            stamp = records.new_stamp(count)
            sealed = [records.sealed(one, stamp, written) for one in metadatas[part]]
            self._table.upsert(connection.collection, ids[part], first_vectors[part], sealed)
            stamps.extend([stamp] * count)

        with self._writing() as (connection, span):
            for part in self._slices_to_write(connection, metadatas):
                self._most_records = min(self._most_records, send_halving(part, send, ids))
        self._reader.forget(ids)
        return Change(span.before, span.after, (), list(ids), stamps, written)

    def update_metadata(self, ids: Sequence[str], metadatas: Sequence[Mapping[str, Any]]) -> Change:
        """Replace metadata keys of records, leaving their vectors; a None value removes a key."""
        now = {records.NOTED: int(time.time())}

        def send(part: slice) -> None:
            noted = [{**one, **now} for one in metadatas[part]]
            self._table.update(connection.collection, ids[part], noted)

        with self._writing() as (connection, span):
            for part in self._slices_to_write(connection, metadatas):
                self._most_records = min(self._most_records, send_halving(part, send, ids))
        return Change(span.before, span.after)

    def delete(self, ids: Sequence[str]) -> Change:
        """Delete records; ids that do not exist do not matter."""

        def send(part: slice) -> None:
            self._table.delete(connection.collection, ids[part])

        with self._writing() as (connection, span):
            for part in slices(len(ids), connection.client.get_max_batch_size()):
                send_halving(part, send, ids)
        self._reader.forget(ids)
        return Change(span.before, span.after, list(ids))

    def tidy(self) -> None:
        """See that nothing of pages that are gone is left beside those that are there."""
        with self._writing() as (connection, _):
            self._table.tidy(connection.collection)

    def count(self) -> int:
        """Number of pages, those left out that are known to be unreadable."""
        return self._link.ask(lambda one: int(one.collection.count())) - len(self.unreadable)

    def ids(self, where: Mapping[str, Any] | None = None) -> list[str]:
        """Ids of all pages, or of those that match a filter, sorted; unreadable ones, too."""
        matching = Matching(self._asked, self._texts.matching, self.fields.matching)
        found = matching.ids(normalize_where(where))
        if where is None:
            self._reader.forget(self.unreadable.keys() - found)
        return sorted(found)

    def there(self, ids: Sequence[str]) -> list[str]:
        """Those of these ids that exist, without repeats, whether they can be read or not."""
        every = list(dict.fromkeys(ids))  # Chroma refuses repeats

        def asked(connection: Connection) -> list[str]:
            parts = slices(len(every), connection.client.get_max_batch_size())
            get = connection.collection.get
            return [id for part in parts for id in get(ids=every[part], include=[])["ids"]]

        return self._link.ask(asked)

    def some_metadata(self, most: int) -> list[Mapping[str, Any]]:
        """What Chroma holds of ``most`` pages; long texts may lie elsewhere."""
        found = self._link.ask(lambda one: one.collection.get(limit=most, include=["metadatas"]))
        return [metadata or {} for metadata in found["metadatas"]]

    def get(self, ids: Sequence[str], *, vectors: bool = True) -> dict[str, Record]:
        """The records of those ids that exist and can be read, by id.

        Those that cannot be read are damaged, or another program's: they are noted, and told once.
        Without ``vectors`` those are not read where they lie apart.
        """
        out: dict[str, Record] = {}
        self._each(ids, lambda rows: out.update(self._reader.read(rows)), vectors)
        return out

    def stored(self, ids: Sequence[str], *, bare: bool = False) -> dict[str, Mapping[str, Any]]:
        """What Chroma holds of those ids that exist, whether it is a record or not.

        What is ``bare`` lacks long texts that lie elsewhere, and is there sooner.
        """
        out: dict[str, Mapping[str, Any]] = {}
        self._each(ids, lambda rows: out.update((id, one or {}) for id, one in rows), bare=bare)
        return out

    def _each(
        self,
        ids: Sequence[str],
        take: Callable[[Sequence[_Row]], None],
        vectors: bool = True,
        bare: bool = False,
    ) -> None:
        """Hand over ids and metadata, as many at a time as an answer may hold."""
        unique = list(dict.fromkeys(ids))
        in_base64 = self.about.bytes_per_page * 4 // 3

        def asked(connection: Connection) -> None:
            def send(part: slice) -> None:
                of = connection.collection
                few = bare_rows if bare else partial(self._table.rows, vectors=vectors)
                take(few(of, unique[part]))

            most = connection.client.get_max_batch_size()
            for part in slices_to_read(len(unique), most, in_base64):
                send_halving(part, send, unique)

        self._link.ask(asked)

    def raw(self, ids: Sequence[str], *, vectors: bool = True) -> list[RawRecord]:
        """What Chroma holds under those ids that exist, damaged or not; see :func:`read_raw`."""
        in_base64 = self.about.bytes_per_page * 4 // 3
        table = self._table
        return self._link.ask(lambda one: read_raw(one, table, ids, in_base64, vectors=vectors))

    def candidates(
        self, first_vector: NDArray[np.float32], count: int, where: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """At most ``count`` records by Chroma's ANN search of first vectors, nearest first.

        Args:
            first_vector: The query's, float32 unit vector of shape (D,).
            where: A Chroma filter.
        """
        self.check_open()
        if not self._lock.is_held:
            self._link.see_writes(self._writes.is_behind)
        where = normalize_where(where)
        parts: list[dict[str, Any]] = [{"where": where}]
        if where is not None and not fits(where):
            ids = self.ids(where)
            parts = [{"ids": ids[part]} for part in slices(len(ids), _IDS_AT_ONCE)]
        near: dict[str, tuple[float, Any]] = {}
        for part in parts:
            near |= self._nearest(first_vector, count, part)
        order = sorted(near, key=lambda id: near[id][0])
        found = self._reader.read((id, near[id][1]) for id in order)
        return [found[id] for id in order if id in found][:count]

    def _nearest(
        self, first_vector: NDArray[np.float32], count: int, among: Mapping[str, Any]
    ) -> dict[str, tuple[float, Any]]:
        """Distance and metadata of the nearest pages, in Chroma's order."""
        wanted = {
            "query_embeddings": first_vector[None],
            "n_results": count + len(self.unreadable),  # which may be among them
            **among,
        }
        return self._link.ask(lambda one: self._table.nearest(one.collection, wanted))

    def _asked(self, where: Mapping[str, Any] | None) -> set[str]:
        """Ids of the pages that pass a filter that Chroma takes in one question."""
        return set(self._link.ask(lambda one: one.collection.get(where=where, include=[]))["ids"])

    def texts(self) -> Iterator[StampedText]:
        """The text of every page, some pages in memory at a time."""
        ids = self.ids()
        for part in slices(len(ids), _TEXTS_AT_ONCE):
            for id, record in self.get(ids[part], vectors=False).items():
                count = records.request_size(record.stamp) if record.stamp else 1
                language = str(record.page.metadata.get("language") or "")
                yield StampedText(id, record.page.text, record.stamp, count, language)

    def revision(self) -> Hashable | None:
        """A value that changes with every write; see :meth:`WriteLog.revision`."""
        self.origin()
        return self._writes.revision()

    def states(self) -> list[str]:
        """The states that the database has been in; see :mod:`metaembed_rag.store.history`."""
        name = self.places.collection
        if self.places.folder is None:
            return []
        return states_in(self._link.ask(lambda one: one.client.get_collection(name)).metadata)

    def mark(self) -> str | None:
        """The mark of the last write; see :meth:`WriteLog.mark`."""
        return self._writes.mark()

    @contextmanager
    def _writing(self) -> Iterator[tuple[Connection, Span]]:
        """Requests that write, between two marks.

        Raises:
            StoreError: One failed; those before it are kept.
        """
        with self._link.writing() as connection, self._writes.write(connection.seen) as span:
            try:
                with chroma_errors(self.where), self._link.replaying.held():
                    self._sessions.begin(connection)
                    yield connection, span
            except StoreError as error:
                if not is_server(self.where):
                    raise
                raise StoreError(
                    f"{error}; what was acknowledged before is stored, and the same call goes on "
                    f"there"
                ) from error

    @contextmanager
    def changing_files(self) -> Iterator[None]:
        """Change the database's files without Chroma; everybody connects again afterwards."""
        with self._writes.write(deque()):  # a mark that nobody has seen
            yield
        self.reconnect()

    def _leave_mark(self, connection: Connection) -> None:
        """Mark a new index, so that others see it is not the one that lay here before."""
        with self._writes.write(connection.seen):
            pass

    def _slices_to_write(
        self, connection: Connection, metadatas: Sequence[Mapping[str, Any]]
    ) -> Iterator[slice]:
        limit = connection.client.get_max_batch_size()
        return slices_to_write(
            metadatas, lambda: min(limit, self._most_records), self.about.dimension
        )
