"""Chroma as the source of truth: one record a page, on a folder, a server or in memory."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chromadb
import httpx
import numpy as np
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.config import Settings
from chromadb.errors import ChromaError, NotFoundError
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from metaembed_rag.errors import (
    IndexLockedError,
    IndexNotFoundError,
    StoreError,
)
from metaembed_rag.store import records
from metaembed_rag.store.records import Record, StampedText
from metaembed_rag.vectors import formats

FORMAT = 2
"""Version of the records' layout; a collection of a newer one is refused. 1 knows int8 only."""
MEMORY = ":memory:"
"""A place that lives as long as the process; for tests and trials."""

_FORMAT_KEY = "metaembed:format"
_KEYS = {
    "model": "metaembed:model",
    "fingerprint": "metaembed:fingerprint",
    "dimension": "metaembed:dimension",
    "vectors": "metaembed:vectors",
    "format": "metaembed:vector_format",
    "pooling": "metaembed:pooling",
}
_DATABASE = "chroma.sqlite3"
_LOCK = ".metaembed.lock"
_MARK = ".metaembed.mark"
_WRITING = ".metaembed.writing"
_PICTURES = "pictures"
_LEXICAL = "lexical"
_CACHE = "cache"
_CALIBRATION = "calibration"
_EF_SEARCH = 400
"""HNSW's search width. Chroma raises it to the number of candidates asked for when that is more."""
_MAX_BYTES = 16_000_000
"""Bytes of one request; servers refuse bodies of about 40 MB."""
_TEXTS_AT_ONCE = 1000
_MAX_STAMPS = 20_000
"""SQLite takes about 32,000 values in one filter."""
_SETTLED_NS = 2_000_000_000
"""After so long a file's time of change cannot be that of a later change too."""

# Chroma logs an exception of its telemetry and a hint for every embedding function.
logging.getLogger("chromadb").setLevel(logging.ERROR)


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


class ChromaStore:
    """One collection of pages. Use :meth:`open`.

    Reading needs no lock. Writing to a folder takes the folder's writer lock, because several
    writing processes damage a local Chroma; a server does its own locking.
    """

    def __init__(
        self,
        client: Any,
        where: str,
        collection: Any,
        about: CollectionModel,
        lock: FileLock | None,
    ) -> None:
        self._client = client
        self._collection = collection
        self._folder = None if lock is None else Path(lock.lock_file).parent
        self._lock = lock
        self._threads = threading.RLock()
        self._reconnecting = threading.Lock()
        self._seen = self._read_mark()
        self._writes = 0
        self._under_way = 0
        self._counting = threading.Lock()
        self.where = where
        self.about = about

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
        where = _place(where)
        # What cannot be made is refused before anything is written.
        about = new() if new is not None and _is_new_folder(where) else None
        with _chroma_errors(where):
            client = _connect(where, create=new is not None, headers=headers)
            found = _find(client, collection)
            if found is None:
                if new is None:
                    raise IndexNotFoundError(
                        f"no index named {collection!r} at {where}; make one with "
                        f"`metaembed index PATH --index {where}` or PageIndex.open(…).add(…)"
                    )
                found = _create(client, collection, about or new())
        recorded = _recorded(found, where)
        local = not _is_url(where) and where != MEMORY
        lock = FileLock(Path(where).resolve() / _LOCK) if local else None
        return cls(client, where, found, recorded, lock)

    @property
    def name(self) -> str:
        """The collection's name."""
        return str(self._collection.name)

    @property
    def picture_folder(self) -> Path | None:
        """Where a folder keeps this collection's pictures; None for a server and for memory.

        Each collection has its own, so that no tenant's deletion takes another's picture away.
        """
        return None if self._folder is None else self._folder / _PICTURES / self.name

    @property
    def lexical_folder(self) -> Path | None:
        """Where a folder keeps what word search derives; None for a server and for memory."""
        return None if self._folder is None else self._folder / _LEXICAL

    @property
    def cache_folder(self) -> Path | None:
        """Where a folder keeps its copy of the vectors; None for a server and for memory."""
        return None if self._folder is None else self._folder / _CACHE

    @property
    def calibration_folder(self) -> Path | None:
        """Where a folder keeps calibrations; None for a server and for memory."""
        return None if self._folder is None else self._folder / _CALIBRATION

    @property
    def collection_id(self) -> str:
        """Chroma's id of the collection; another one of the same name has another."""
        return str(self._collection.id)

    @property
    def is_server(self) -> bool:
        """Whether it is reached over the network."""
        return _is_url(self.where)

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
    ) -> None:
        """Write records: page and vectors together, so that no half page can exist.

        Args:
            ids: Page ids, without repeats.
            first_vectors: Float32 unit vectors, shape (pages, D): the (1, 1) representation.
            metadatas: From :func:`records.to_metadata`.
        """
        with self._counted(), _chroma_errors(self.where):
            for part in self._batches(metadatas):
                stamp = records.new_stamp(len(ids[part]))
                mark = {records.STAMP: stamp, records.WRITTEN: int(time.time())}
                self._collection.upsert(
                    ids=list(ids[part]),
                    embeddings=np.ascontiguousarray(first_vectors[part]),
                    metadatas=[{**metadata, **mark} for metadata in metadatas[part]],
                )

    def update_metadata(self, ids: Sequence[str], metadatas: Sequence[Mapping[str, Any]]) -> None:
        """Replace metadata keys of records, leaving their vectors; a None value removes a key."""
        with self._counted(), _chroma_errors(self.where):
            for part in self._batches(metadatas):
                self._collection.update(
                    ids=list(ids[part]), metadatas=[dict(m) for m in metadatas[part]]
                )

    def delete(self, ids: Sequence[str]) -> None:
        """Delete records; ids that do not exist do not matter."""
        size = self._client.get_max_batch_size()
        with self._counted(), _chroma_errors(self.where):
            for start in range(0, len(ids), size):
                self._collection.delete(ids=list(ids[start : start + size]))

    def count(self) -> int:
        """Number of pages."""
        with _chroma_errors(self.where):
            return int(self._collection.count())

    def ids(self, where: Mapping[str, Any] | None = None) -> list[str]:
        """Ids of all pages, or of those that match a filter, sorted."""
        with _chroma_errors(self.where):
            found = self._collection.get(where=normalize_where(where), include=[])
        return sorted(found["ids"])

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """The records of those ids that exist, by id.

        Chroma answers in an order of its own and leaves missing ids out, hence a dictionary.
        """
        out: dict[str, Record] = {}
        ids = list(dict.fromkeys(ids))  # Chroma refuses repeats
        size = self._records_at_once()
        with _chroma_errors(self.where):
            for start in range(0, len(ids), size):
                found = self._collection.get(
                    ids=list(ids[start : start + size]), include=["metadatas"]
                )
                out.update(_read(found["ids"], found["metadatas"]))
        return out

    def candidates(
        self,
        first_vector: NDArray[np.float32],
        count: int,
        where: Mapping[str, Any] | None = None,
    ) -> list[Record]:
        """The pages whose first vectors are nearest to a query's, by Chroma's ANN search.

        Args:
            first_vector: Float32 unit vector of shape (D,).
            count: At most so many.
            where: A Chroma filter.

        Returns:
            Records, nearest first.
        """
        if self._lock is None or not self._lock.is_locked:
            self._see_other_processes()
        with _chroma_errors(self.where):
            found = self._collection.query(
                query_embeddings=first_vector[None],
                n_results=count,
                where=normalize_where(where),
                include=["metadatas"],
            )
        # Chroma's search still knows pages that another process has deleted, but not what they are.
        pairs = zip(found["ids"][0], found["metadatas"][0], strict=True)
        there = {id: metadata for id, metadata in pairs if metadata is not None}
        return list(_read(list(there), list(there.values())).values())

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
                count = records.stamped(record.stamp) if record.stamp else 1
                yield StampedText(id, record.page.text, record.stamp, count)

    def revision(self) -> Hashable | None:
        """A value that changes with every write, from any process; None where none is cheap.

        While a folder's database has just been written, another write could leave the same time
        of change, and for a server nothing but its answers is known: then it is None.
        """
        if self._folder is None:
            return None if self.is_server else self._writes
        stat = (self._folder / _DATABASE).stat()
        if time.time_ns() - stat.st_mtime_ns < _SETTLED_NS:
            return None
        return stat.st_mtime_ns, stat.st_size

    def mark(self) -> str | None:
        """The mark of the last write, in a folder; None where a write may be half done.

        Two equal marks say that no process of this package wrote between, whenever they were
        read: also days apart, unlike :meth:`revision`. A writer that was killed leaves None.
        """
        if self._folder is None or (self._folder / _WRITING).exists():
            return None
        return self._read_mark() or None

    def _read_mark(self) -> str:
        """What the last write left in the folder's mark; the same as long as nobody writes.

        The database's own time of change will not do: Chroma changes it when it opens it.
        """
        if self._folder is None:
            return ""
        try:
            return (self._folder / _MARK).read_text(encoding="ascii")
        except OSError:
            return ""

    def _write_mark(self) -> None:
        if self._folder is not None:
            self._seen = uuid.uuid4().hex
            (self._folder / _MARK).write_text(self._seen, encoding="ascii")

    def _see_other_processes(self) -> None:
        """Connect again when another process has written to the folder since.

        Chroma 1.5.9 keeps the nearest-neighbour graph in memory, so a process that has a folder
        open would never find what others add to it.
        """
        with self._reconnecting:
            mark = self._read_mark()
            if mark == self._seen:
                return
            with _chroma_errors(self.where):
                self._client = _connect(str(self._folder), create=False, headers=None)
                self._collection = self._client.get_collection(self.name, embedding_function=None)
            self._seen = mark

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a write when it is done, also when it failed half-way.

        A file says meanwhile that a write is under way; a kill leaves it there.
        """
        self._begin_write()
        try:
            yield
        finally:
            self._end_write()

    def _begin_write(self) -> None:
        with self._counting:
            self._under_way += 1
            if self._folder is not None:
                (self._folder / _WRITING).touch()

    def _end_write(self) -> None:
        with self._counting:
            self._under_way -= 1
            self._writes += 1
            self._write_mark()
            if self._folder is not None and not self._under_way:
                (self._folder / _WRITING).unlink(missing_ok=True)

    def _records_at_once(self) -> int:
        """Records whose vectors fit a request's bytes."""
        payload = _vector_bytes(self.about) * 4 // 3
        return max(1, min(self._client.get_max_batch_size(), _MAX_BYTES // (payload + 4096)))

    def _batches(self, metadatas: Sequence[Mapping[str, Any]]) -> Iterator[slice]:
        """Slices under both of Chroma's limits, records and bytes."""
        limit = self._client.get_max_batch_size()
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


def normalize_where(where: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Chroma's filter from a friendlier one: several plain keys mean all of them."""
    if not where:
        return None
    if len(where) == 1:
        return dict(where)
    return {"$and": [{key: value} for key, value in where.items()]}


def _read(ids: Sequence[str], metadatas: Sequence[Any]) -> dict[str, Record]:
    return {
        id: records.from_metadata(id, metadata) for id, metadata in zip(ids, metadatas, strict=True)
    }


def _connect(where: str, *, create: bool, headers: Mapping[str, str] | None) -> Any:
    settings = Settings(anonymized_telemetry=False)
    if where == MEMORY:
        return _connect_memory(settings)
    if _is_url(where):
        return _connect_server(where, settings, headers)
    folder = Path(where)
    if not (folder / _DATABASE).exists():
        _check_new_folder(folder, create)
    # Chroma shares one database among clients of a process by the spelling of its path; a shared
    # one may not have seen what other processes wrote.
    _forget(str(folder.resolve()))
    return chromadb.PersistentClient(path=str(folder.resolve()), settings=settings)


def _forget(path: str) -> None:
    """Make the next client of a folder read it anew; clients in use keep what they have."""
    systems = getattr(SharedSystemClient, "_identifier_to_system", None)
    if systems is None:
        SharedSystemClient.clear_system_cache()
    else:
        systems.pop(path, None)


def _connect_memory(settings: Settings) -> Any:
    """A client of a database of its own: Chroma's in-memory clients share one by default."""
    settings.is_persistent = False
    database = uuid.uuid4().hex
    chromadb.AdminClient(settings).create_database(database)
    return chromadb.EphemeralClient(settings=settings, database=database)


def _connect_server(where: str, settings: Settings, headers: Mapping[str, str] | None) -> Any:
    url = urlsplit(where)
    if not url.hostname:
        raise StoreError(f"{where!r} names no host; write it as http://host:8000")
    secure = url.scheme == "https"
    return chromadb.HttpClient(
        host=url.hostname,
        port=url.port or (443 if secure else 8000),
        ssl=secure,
        headers=dict(headers or {}),
        settings=settings,
    )


def _check_new_folder(folder: Path, create: bool) -> None:
    """Make the folder of a new index, but never in the middle of somebody's files."""
    if not create:
        raise IndexNotFoundError(
            f"no index at {folder}; make one with `metaembed index PATH --index {folder}`"
        )
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name a folder for the index")
    ours = {_LOCK, _MARK, _WRITING, _PICTURES, _LEXICAL, _CACHE, _CALIBRATION}
    if folder.exists() and {path.name for path in folder.iterdir()} - ours:
        raise StoreError(
            f"{folder} holds other files and no index; name a new or an empty folder for the index"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the index folder {folder} cannot be made: {error.strerror}") from error


def _find(client: Any, name: str) -> Any | None:
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


def _vector_bytes(about: CollectionModel) -> int:
    """Bytes of a page's vectors, before base64."""
    return about.vectors * formats.vector_format(about.format).bytes_per_vector(about.dimension)


def _place(where: str | Path) -> str:
    """``where`` in one spelling.

    Raises:
        StoreError: The address of a server has a path.
    """
    where = str(where)
    scheme, mark, rest = where.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return where
    if urlsplit(where).path.strip("/"):
        raise StoreError(
            f"{where} has a path; write http://host:8000 and name the collection by collection="
        )
    return f"{scheme.lower()}://{rest.rstrip('/')}"


def _is_new_folder(where: str) -> bool:
    return where != MEMORY and not _is_url(where) and not (Path(where) / _DATABASE).exists()


def _is_url(where: str) -> bool:
    return where.startswith(("http://", "https://"))


def _advice(message: str) -> str:
    """What Chroma said, and what to do where that is known."""
    low = message.lower()
    if "readonly" in low or "read-only" in low:
        return f"{message}; Chroma writes when it opens: make the folder writable, or copy it"
    if "not a database" in low or "malformed" in low:
        return f"{message}; the index is damaged: index the files again into a new folder"
    if "pickle" in low or "hnsw" in low or "deserializ" in low:
        return (
            f"{message}; the search graph is damaged: delete the folder with a long hexadecimal "
            f"name inside the index (it is made again), or index into a new folder"
        )
    return message


@contextmanager
def _chroma_errors(where: str) -> Iterator[None]:
    """Turn what Chroma raises into a sentence of ours."""
    try:
        yield
    except ChromaError as error:
        raise StoreError(f"Chroma at {where}: {_advice(error.message())}") from error
    except httpx.HTTPError as error:
        raise StoreError(f"the Chroma server at {where} does not answer: {error}") from error
    except ValueError as error:
        # Its client's checks (of a filter, of a server's address) raise plain ValueErrors.
        raise StoreError(f"Chroma at {where}: {error}") from error
