"""Chroma as the source of truth: one record a page, on a folder, a server or in memory."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from chromadb.errors import NotFoundError
from numpy.typing import NDArray

from metaembed_rag.errors import IndexNotFoundError, ModelMismatchError, StoreError
from metaembed_rag.options import normalize_where
from metaembed_rag.store import records
from metaembed_rag.store.changes import Change, Span, WriteLog
from metaembed_rag.store.connect import (
    chroma_errors,
    connect,
    disconnect,
    is_new_folder,
    one_maker,
    one_spelling,
)
from metaembed_rag.store.link import Connection, Link
from metaembed_rag.store.lock import WriterLock
from metaembed_rag.store.places import MEMORY, Places
from metaembed_rag.store.records import Record, StampedText
from metaembed_rag.vectors import formats

FORMAT = 2
"""Version of the records' layout; a collection of a newer one is refused. 1 knows int8 only."""

_FORMAT_KEY = "metaembed:format"
_KEYS = {
    "model": "metaembed:model",
    "fingerprint": "metaembed:fingerprint",
    "dimension": "metaembed:dimension",
    "vectors": "metaembed:vectors",
    "format": "metaembed:vector_format",
    "pooling": "metaembed:pooling",
}
_TELLING = {
    "fingerprint": "model",
    "dimension": "dimension",
    "vectors": "number of vectors",
    "format": "format of vectors",
}
"""What has to stay as it was when an index is made again, as messages call it."""
_EF_SEARCH = 400
"""HNSW's search width. Chroma raises it to the number of candidates asked for when that is more."""
_MAX_BYTES = 16_000_000
"""Bytes of one request; servers refuse bodies of about 40 MB."""
_TEXTS_AT_ONCE = 1000
_MAX_STAMPS = 20_000
"""SQLite takes about 32,000 values in one filter."""


@dataclass(frozen=True)
class CollectionModel:
    """What a collection says about the vectors in it.

    Attributes:
        model: Name under which the encoder was loaded.
        fingerprint: Of the encoder's weights and templates.
        dimension: D.
        vectors: Vectors stored a page, R.
        format: How they are stored; see :mod:`metaembed_rag.vectors.formats`.
        pooling: How they were made of token vectors; ``""`` where the model makes them itself.
    """

    model: str
    fingerprint: str
    dimension: int
    vectors: int
    format: str = formats.DEFAULT
    pooling: str = ""

    def cut(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of a model's vectors, float32 (pages, R, D), those values that the collection holds.

        They are unit vectors again, and not yet rounded to the format.
        """
        return formats.cut_dimension(vectors[:, : self.vectors], self.dimension)

    def unpack(self, found: Sequence[Record], vectors: int | None = None) -> formats.Encoded:
        """The first ``vectors`` vectors of each record's page; without a number, all of them."""
        payloads = [record.payload for record in found]
        format = formats.vector_format(self.format)
        return formats.unpack(payloads, format, self.dimension, vectors or self.vectors)

    @property
    def bytes_per_page(self) -> int:
        """Bytes of a page's vectors, before base64."""
        return self.vectors * formats.vector_format(self.format).bytes_per_vector(self.dimension)


class ChromaStore:
    """One collection of pages. Use :meth:`open`.

    Reading needs no lock. Writing to a folder takes the folder's writer lock, because several
    writing processes damage a local Chroma; a server does its own locking. It is closed by
    :meth:`close`, or with the last reference to it.
    """

    def __init__(
        self, where: str, headers: Mapping[str, str] | None, connection: Connection
    ) -> None:
        self.where = where
        self.places = Places.of(where, str(connection.collection.name))
        self._link = Link(self.places, headers, connection, _recorded, _check_same)
        self._close = weakref.finalize(self, self._link.close)
        self._close.atexit = False
        self._lock = WriterLock(self.places.folder)
        self._writes = WriteLog(self.places.folder, counted=where == MEMORY)

    @classmethod
    def open(
        cls,
        where: str | Path,
        new: Callable[[], CollectionModel] | None,
        *,
        collection: str = "pages",
        headers: Mapping[str, str] | None = None,
    ) -> ChromaStore:
        """Open a collection; make it when there is none.

        Args:
            where: A folder, ``http(s)://host:port`` of a Chroma server, or ``":memory:"``.
            new: Says what a new collection holds; called only when one is made. Without it, only
                an existing collection is opened.
            collection: Its name.
            headers: HTTP headers for a server behind a reverse proxy.

        Raises:
            IndexNotFoundError: There is none and ``new`` is None.
            StoreError: Chroma cannot open it, or it is of a newer format.
        """
        where = one_spelling(where)
        # What cannot be made is refused before anything is written.
        about = new() if new is not None and is_new_folder(where) else None
        may_make = new is not None
        with chroma_errors(where), one_maker(where, create=may_make) as alone, ExitStack() as undo:
            client = connect(where, create=may_make, headers=headers)
            undo.callback(disconnect, client)
            found = _existing(client, collection)
            if found is not None:
                store = cls(where, headers, Connection(client, found))
            elif new is None:
                raise IndexNotFoundError(
                    f"no index named {collection!r} at {where}; make one with "
                    f"`metaembed index PATH --index {where}` or PageIndex.open(…).add(…)"
                )
            else:
                made = Connection(client, _create(client, collection, about or new()))
                store = cls(where, headers, made)
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

    @property
    def _collection(self) -> Any:
        """The collection of now, for a single question."""
        with self._link.asking() as connection:
            return connection.collection

    def origin(self) -> Hashable:
        """What changes when another database or collection lies at the place: then nothing that
        was derived from the one before holds, whatever its pages say.

        Raises:
            StoreError: There is none any more, or one that cannot go on for the first.
        """
        with self._link.asking() as connection:
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

    def released(self) -> AbstractContextManager[None]:
        """The folder is let go meanwhile, so that its files can be worked on.

        Raises:
            StoreError: Another index object of this process has it open.
        """
        return self._link.released()

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
            with self._link.pinned():
                yield

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
        with self._writing() as (connection, span):
            for part in self._batches(connection, metadatas):
                count = len(ids[part])
                stamp = records.new_stamp(count)
                mark = {records.STAMP: stamp, records.WRITTEN: written}
                connection.collection.upsert(
                    ids=list(ids[part]),
                    embeddings=np.ascontiguousarray(first_vectors[part]),
                    metadatas=[{**metadata, **mark} for metadata in metadatas[part]],
                )
                stamps += [stamp] * count
        return Change(span.before, span.after, (), list(ids), stamps, written)

    def update_metadata(self, ids: Sequence[str], metadatas: Sequence[Mapping[str, Any]]) -> Change:
        """Replace metadata keys of records, leaving their vectors; a None value removes a key."""
        with self._writing() as (connection, span):
            for part in self._batches(connection, metadatas):
                connection.collection.update(
                    ids=list(ids[part]), metadatas=[dict(m) for m in metadatas[part]]
                )
        return Change(span.before, span.after)

    def delete(self, ids: Sequence[str]) -> Change:
        """Delete records; ids that do not exist do not matter."""
        with self._writing() as (connection, span):
            size = connection.client.get_max_batch_size()
            for start in range(0, len(ids), size):
                connection.collection.delete(ids=list(ids[start : start + size]))
        return Change(span.before, span.after, list(ids))

    def count(self) -> int:
        """Number of pages."""
        return self._link.ask(lambda connection: int(connection.collection.count()))

    def ids(self, where: Mapping[str, Any] | None = None) -> list[str]:
        """Ids of all pages, or of those that match a filter, sorted."""
        wanted: dict[str, Any] = {"where": normalize_where(where), "include": []}
        return sorted(self._link.ask(lambda one: one.collection.get(**wanted))["ids"])

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """The records of those ids that exist, by id.

        Chroma answers in an order of its own and leaves missing ids out, hence a dictionary.
        """
        unique = list(dict.fromkeys(ids))  # Chroma refuses repeats
        return self._link.ask(lambda connection: self._read(connection, unique))

    def _read(self, connection: Connection, ids: Sequence[str]) -> dict[str, Record]:
        out: dict[str, Record] = {}
        limit = connection.client.get_max_batch_size()
        encoded = self.about.bytes_per_page * 4 // 3
        size = max(1, min(limit, _MAX_BYTES // (encoded + 4096)))
        for start in range(0, len(ids), size):
            found = connection.collection.get(
                ids=list(ids[start : start + size]), include=["metadatas"]
            )
            pairs = zip(found["ids"], found["metadatas"], strict=True)
            out |= {id: records.from_metadata(id, metadata) for id, metadata in pairs}
        return out

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
        found = self._link.ask(
            lambda connection: connection.collection.query(
                query_embeddings=first_vector[None],
                n_results=count,
                where=normalize_where(where),
                include=["metadatas"],
            )
        )
        # Chroma's search still knows pages that another process has deleted, but not what they are.
        pairs = zip(found["ids"][0], found["metadatas"][0], strict=True)
        return [records.from_metadata(*pair) for pair in pairs if pair[1] is not None]

    def written_since(self, stamps: Collection[str], *, after: int | None = None) -> list[str]:
        """Ids of pages that were last written by none of the requests with these stamps.

        Together with :meth:`count` it says exactly whether a copy made from records with these
        stamps is current: nothing was written since, and nothing is missing. It looks at every
        record (11 ms for 5,000); with ``after``, only at those that were written later than that
        by their writers' clocks (2 ms).
        """
        if not stamps:
            return self.ids()
        every = sorted(stamps)
        parts = [every[at : at + _MAX_STAMPS] for at in range(0, len(every), _MAX_STAMPS)]
        later = {} if after is None else {records.WRITTEN: {"$gt": after}}
        found = [set(self.ids({**later, records.STAMP: {"$nin": part}})) for part in parts]
        return sorted(set.intersection(*found))

    def with_stamp(self, stamp: str) -> list[str]:
        """Ids of pages that were last written by the request with this stamp."""
        return self.ids({records.STAMP: stamp})

    def texts(self) -> Iterator[StampedText]:
        """The text of every page, some pages in memory at a time."""
        ids = self.ids()
        for start in range(0, len(ids), _TEXTS_AT_ONCE):
            for id, record in self.get(ids[start : start + _TEXTS_AT_ONCE]).items():
                count = records.request_size(record.stamp) if record.stamp else 1
                yield StampedText(id, record.page.text, record.stamp, count)

    def revision(self) -> Hashable | None:
        """A value that changes with every write; see :meth:`WriteLog.revision`."""
        self.origin()
        return self._writes.revision()

    def mark(self) -> str | None:
        """The mark of the last write; see :meth:`WriteLog.mark`."""
        return self._writes.mark()

    @contextmanager
    def _writing(self) -> Iterator[tuple[Connection, Span]]:
        """One request that writes, between two marks."""
        with self._link.asking() as connection, self._writes.write(connection.seen) as span:
            yield connection, span

    def _leave_mark(self, connection: Connection) -> None:
        """Mark a new index, so that others see it is not the one that lay here before."""
        with self._writes.write(connection.seen):
            pass

    def _batches(
        self, connection: Connection, metadatas: Sequence[Mapping[str, Any]]
    ) -> Iterator[slice]:
        """Slices under both of Chroma's limits, records and bytes."""
        limit = connection.client.get_max_batch_size()
        start, size = 0, 0
        for end, metadata in enumerate(metadatas):
            bytes_ = self.about.dimension * 8 + sum(
                len(v) if isinstance(v, str) else 16 for v in metadata.values()
            )
            if end > start and (size + bytes_ > _MAX_BYTES or end - start >= limit):
                yield slice(start, end)
                start, size = end, 0
            size += bytes_
        if start < len(metadatas):
            yield slice(start, len(metadatas))


def _existing(client: Any, name: str) -> Any | None:
    try:
        return client.get_collection(name, embedding_function=None)
    except NotFoundError:
        return None


def _create(client: Any, name: str, about: CollectionModel) -> Any:
    version = 1 if about.format == formats.DEFAULT else FORMAT  # older readers take it for int8
    metadata = {_FORMAT_KEY: version, **{key: getattr(about, f) for f, key in _KEYS.items()}}
    return client.get_or_create_collection(
        name,
        embedding_function=None,
        metadata=metadata,
        configuration={"hnsw": {"space": "ip", "ef_search": _EF_SEARCH}},
    )


def _recorded(collection: Any, where: str) -> CollectionModel:
    metadata = collection.metadata or {}
    version = metadata.get(_FORMAT_KEY)
    if version is None:
        raise StoreError(
            f"the Chroma collection {collection.name!r} at {where} was not made by metaembed_rag; "
            f"choose another collection name"
        )
    if version > FORMAT:
        raise StoreError(
            f"the index at {where} has format {version}, this version reads up to {FORMAT}: "
            f"pip install --upgrade metaembed-rag"
        )
    known = {field: metadata[key] for field, key in _KEYS.items() if key in metadata}
    return CollectionModel(**known)


def _check_same(first: CollectionModel, now: CollectionModel, where: str) -> None:
    """Refuse a collection that was put in the place of another and holds other vectors."""
    for name, words in _TELLING.items():
        had, has = getattr(first, name), getattr(now, name)
        if had != has:
            raise ModelMismatchError(
                f"the index at {where} was replaced by one of another {words} ({now.model!r}: "
                f"{has}; {first.model!r}: {had}): open it again with the model that made it"
            )
