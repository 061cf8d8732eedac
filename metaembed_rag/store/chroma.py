"""Chroma as the source of truth: one record a page, on a folder, a server or in memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from chromadb.errors import NotFoundError
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from metaembed_rag.errors import IndexLockedError, IndexNotFoundError, StoreError
from metaembed_rag.metadata.filters import normalize_where
from metaembed_rag.store import records
from metaembed_rag.store.changes import Change, WriteLog
from metaembed_rag.store.connect import chroma_errors, connect, is_new_folder, one_spelling
from metaembed_rag.store.matching import Matching, fits
from metaembed_rag.store.places import LOCK, MEMORY, Places, is_server
from metaembed_rag.store.purge import purge
from metaembed_rag.store.reading import RecordReader
from metaembed_rag.store.records import Record, StampedText
from metaembed_rag.store.server import UNLIMITED, send_halving
from metaembed_rag.store.texts import PageTexts
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
_EF_SEARCH = 400
"""HNSW's search width. Chroma raises it to the number of candidates asked for when that is more."""
_MAX_BYTES = 16_000_000
"""Bytes of one request; servers refuse bodies of about 40 MB."""
_TEXTS_AT_ONCE = 1000
_MAX_STAMPS = 20_000
"""SQLite takes about 32,000 values in one filter."""
_IDS_AT_ONCE = 10_000


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
    writing processes damage a local Chroma; a server does its own locking.
    """

    def __init__(self, client: Any, where: str, collection: Any, about: CollectionModel) -> None:
        self._client = client
        self._collection = collection
        self.where = where
        self.about = about
        self.places = Places.of(where, str(collection.name))
        folder = self.places.folder
        self._lock = None if folder is None else FileLock(folder / LOCK)
        self._writes = WriteLog(folder, counted=where == MEMORY)
        self._threads = threading.RLock()
        self._reconnecting = threading.Lock()
        self._most_records = UNLIMITED
        self._matching = Matching(self._asked, PageTexts(self).matching)
        self._reader = RecordReader(where, about.unpack)

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str],
        new: Callable[[], CollectionModel] | None,
        *,
        collection: str = "pages",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> ChromaStore:
        """Open a collection; make it when there is none.

        Args:
            where: A folder, ``http(s)://host:port`` of a Chroma server, or ``":memory:"``.
            new: Says what a new collection holds; called only when one is made. Without it, only
                an existing collection is opened.
            collection: Its name.
            headers: HTTP headers for a server behind a reverse proxy.
            timeout: Seconds that a server may keep silent.

        Raises:
            IndexNotFoundError: There is none and ``new`` is None.
            StoreError: Chroma cannot open it, or it is of a newer format.
        """
        where = one_spelling(where)
        # What cannot be made is refused before anything is written.
        about = new() if new is not None and is_new_folder(where) else None
        with chroma_errors(where):
            client = connect(where, create=new is not None, headers=headers, timeout=timeout)
            try:
                found = client.get_collection(collection, embedding_function=None)
            except NotFoundError:
                if new is None:
                    raise IndexNotFoundError(
                        f"no index named {collection!r} at {where}; make one with "
                        f"`metaembed index PATH --index {where}` or PageIndex.open(…).add(…)"
                    ) from None
                found = _create(client, collection, about or new())
        return cls(client, where, found, _recorded(found, where))

    @property
    def collection_id(self) -> str:
        """Chroma's id of the collection; another one of the same name has another."""
        return str(self._collection.id)

    @property
    def unreadable(self) -> Mapping[str, Mapping[str, Any]]:
        """What Chroma holds of records that could not be read; see :class:`RecordReader`."""
        return self._reader.unreadable

    @contextmanager
    def writing(self, timeout: float = 0.0) -> Iterator[None]:
        """Hold the writer lock; threads of one process take turns.

        Raises:
            IndexLockedError: Another process holds it for longer than ``timeout`` seconds.
        """
        with self._threads:
            if self._lock is None:
                yield
                return
            try:
                self._lock.acquire(timeout=timeout)
            except Timeout:
                raise IndexLockedError(
                    f"another process is writing to the index at {self.where}; wait until it has "
                    f"finished, or stop it, and try again"
                ) from None
            try:
                self._see_other_processes()
                yield
            finally:
                self._lock.release()

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
            mark = {records.STAMP: stamp, records.WRITTEN: written}
            self._collection.upsert(
                ids=list(ids[part]),
                embeddings=np.ascontiguousarray(first_vectors[part]),
                metadatas=[{**metadata, **mark} for metadata in metadatas[part]],
            )
            stamps.extend([stamp] * count)

        with self._writes.write() as span, self._sending():
            for part in self._batches(metadatas):
                self._most_records = min(self._most_records, send_halving(part, send, ids))
        self._reader.forget(ids)
        return Change(span.before, span.after, (), list(ids), stamps, written)

    def update_metadata(self, ids: Sequence[str], metadatas: Sequence[Mapping[str, Any]]) -> Change:
        """Replace metadata keys of records, leaving their vectors; a None value removes a key."""

        def send(part: slice) -> None:
            changed = [dict(metadata) for metadata in metadatas[part]]
            self._collection.update(ids=list(ids[part]), metadatas=changed)

        with self._writes.write() as span, self._sending():
            for part in self._batches(metadatas):
                self._most_records = min(self._most_records, send_halving(part, send, ids))
        return Change(span.before, span.after)

    def delete(self, ids: Sequence[str]) -> Change:
        """Delete records; ids that do not exist do not matter."""

        def send(part: slice) -> None:
            self._collection.delete(ids=list(ids[part]))

        with self._writes.write() as span, self._sending():
            for part in _slices(len(ids), self._client.get_max_batch_size()):
                send_halving(part, send, ids)
        self._reader.forget(ids)
        return Change(span.before, span.after, list(ids))

    def count(self) -> int:
        """Number of pages, those left out that are known to be unreadable."""
        with chroma_errors(self.where):
            return int(self._collection.count()) - len(self.unreadable)

    def ids(self, where: Mapping[str, Any] | None = None) -> list[str]:
        """Ids of all pages, or of those that match a filter, sorted; unreadable ones, too.

        Raises:
            StoreError: The filter has no meaning, or Chroma refuses it.
        """
        found = self._matching.ids(normalize_where(where))
        if where is None:
            self._reader.forget(self.unreadable.keys() - found)
        return sorted(found)

    def there(self, ids: Sequence[str]) -> list[str]:
        """Those of these ids that exist, without repeats, whether they can be read or not."""
        every = list(dict.fromkeys(ids))  # Chroma refuses repeats
        size = self._client.get_max_batch_size()
        with chroma_errors(self.where):
            parts = [
                self._collection.get(ids=every[start : start + size], include=[])["ids"]
                for start in range(0, len(every), size)
            ]
        return [id for part in parts for id in part]

    def metadata_keys(self, most: int) -> set[str]:
        """The keys of users' metadata, ``source`` and ``page`` among them, of ``most`` pages."""
        with chroma_errors(self.where):
            found = self._collection.get(limit=most, include=["metadatas"])
        keys = {key for metadata in found["metadatas"] for key in metadata or ()}
        return {key for key in keys if ":" not in key}

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """The records of those ids that exist and can be read, by id.

        Chroma answers in an order of its own and leaves missing ids out, hence a dictionary. Those
        that cannot be read are damaged, or another program's: they are noted, and told once.
        """
        out: dict[str, Record] = {}
        ids = list(dict.fromkeys(ids))  # Chroma refuses repeats
        encoded = self.about.bytes_per_page * 4 // 3

        def send(part: slice) -> None:
            found = self._collection.get(ids=list(ids[part]), include=["metadatas"])
            out.update(self._reader.read(zip(found["ids"], found["metadatas"], strict=True)))

        with chroma_errors(self.where):
            limit = self._client.get_max_batch_size()
            size = max(1, min(limit, _MAX_BYTES // (encoded + 4096)))
            for part in _slices(len(ids), size):
                send_halving(part, send, ids)
        return out

    def candidates(
        self, first_vector: NDArray[np.float32], count: int, where: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """At most ``count`` records by Chroma's ANN search of first vectors, nearest first.

        Args:
            first_vector: The query's, float32 unit vector of shape (D,).
            where: A Chroma filter.
        """
        if self._lock is None or not self._lock.is_locked:
            self._see_other_processes()
        where = normalize_where(where)
        parts: list[dict[str, Any]] = [{"where": where}]
        if where is not None and not fits(where):
            ids = self.ids(where)
            parts = [
                {"ids": ids[at : at + _IDS_AT_ONCE]} for at in range(0, len(ids), _IDS_AT_ONCE)
            ]
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
        with chroma_errors(self.where):
            found = self._collection.query(
                query_embeddings=first_vector[None],
                n_results=count + len(self.unreadable),  # which may be among them
                include=["metadatas", "distances"],
                **among,
            )
        # Chroma's search still knows pages that another process has deleted, but not what they are.
        rows = zip(found["ids"][0], found["distances"][0], found["metadatas"][0], strict=True)
        return {id: (distance, known) for id, distance, known in rows if known is not None}

    def _asked(self, where: Mapping[str, Any] | None) -> set[str]:
        """Ids of the pages that pass a filter that Chroma takes in one question."""
        with chroma_errors(self.where):
            return set(self._collection.get(where=where, include=[])["ids"])

    def written_since(self, stamps: Collection[str], *, after: int | None = None) -> list[str]:
        """Ids of pages that were last written by none of the requests with these stamps.

        Together with :meth:`count` it says exactly whether a copy made from records with these
        stamps is current: nothing was written since, and nothing is missing. It looks at every
        record (11 ms for 5,000); with ``after``, only at those that were written later than that
        by their writers' clocks (2 ms).
        """
        if not stamps:
            return self._but_unreadable(self.ids())
        every = sorted(stamps)
        parts = [every[at : at + _MAX_STAMPS] for at in range(0, len(every), _MAX_STAMPS)]
        later = {} if after is None else {records.WRITTEN: {"$gt": after}}
        found = [set(self.ids({**later, records.STAMP: {"$nin": part}})) for part in parts]
        return self._but_unreadable(sorted(set.intersection(*found)))

    def with_stamp(self, stamp: str) -> list[str]:
        """Ids of pages that were last written by the request with this stamp."""
        return self._but_unreadable(self.ids({records.STAMP: stamp}))

    def _but_unreadable(self, ids: Sequence[str]) -> list[str]:
        """Those that can be read, also those that somebody has mended since."""
        doubtful = [id for id in ids if id in self.unreadable]
        if doubtful:
            self.get(doubtful)
        return [id for id in ids if id not in self.unreadable]

    def texts(self) -> Iterator[StampedText]:
        """The text of every page, some pages in memory at a time."""
        ids = self.ids()
        for start in range(0, len(ids), _TEXTS_AT_ONCE):
            for id, record in self.get(ids[start : start + _TEXTS_AT_ONCE]).items():
                count = records.request_size(record.stamp) if record.stamp else 1
                yield StampedText(id, record.page.text, record.stamp, count)

    def revision(self) -> Hashable | None:
        """A value that changes with every write; see :meth:`WriteLog.revision`."""
        return self._writes.revision()

    def mark(self) -> str | None:
        """The mark of the last write; see :meth:`WriteLog.mark`."""
        return self._writes.mark()

    def _see_other_processes(self) -> None:
        """Connect again when another process has written to the folder since.

        Chroma 1.5.9 keeps the nearest-neighbour graph in memory, so a process that has a folder
        open would never find what others add to it.
        """
        with self._reconnecting:
            mark = self._writes.unseen()
            if mark is None:
                return
            self._reconnect()
            self._writes.see(mark)

    def _reconnect(self) -> None:
        with chroma_errors(self.where):
            self._client = connect(str(self.places.folder), create=False, headers=None)
            self._collection = self._client.get_collection(
                self.places.collection, embedding_function=None
            )

    def purge(self) -> None:
        """Take out of a folder's database what was deleted; the writer lock is held.

        Raises:
            StoreError: It failed; nothing is lost.
        """
        assert self.places.folder is not None, "a server purges its own database"
        with self._writes.write():  # a new mark, so that every process connects again
            purge(self.places.folder, self.places.collection, self.about.dimension)
        with self._reconnecting:
            self._reconnect()

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """What fails while records are written leaves those that were written before.

        Raises:
            StoreError: It says so, where a server failed.
        """
        try:
            with chroma_errors(self.where):
                yield
        except StoreError as error:
            if not is_server(self.where):
                raise
            raise StoreError(
                f"{error}; what was acknowledged before is stored, and the same call goes on there"
            ) from error

    def _batches(self, metadatas: Sequence[Mapping[str, Any]]) -> Iterator[slice]:
        """Slices under both of Chroma's limits, records and bytes."""
        limit = self._client.get_max_batch_size()
        start, size = 0, 0
        for end, metadata in enumerate(metadatas):
            bytes_ = self.about.dimension * 8 + sum(
                len(v) if isinstance(v, str) else 16 for v in metadata.values()
            )
            full = size + bytes_ > _MAX_BYTES or end - start >= min(limit, self._most_records)
            if end > start and full:
                yield slice(start, end)
                start, size = end, 0
            size += bytes_
        if start < len(metadatas):
            yield slice(start, len(metadatas))


def _slices(count: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, count)) for at in range(0, count, size)]


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
