"""An index into Qdrant: the levels of the budget as named multi-vectors.

::

    a page -> a point: v1, v4, v16, v64 (its first so many vectors), payload (id, source, page, …)
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import ModelMismatchError, StoreError, require
from metaembed_rag.maintenance.checking import Counter
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.records import Record
from metaembed_rag.store.requests import slices
from metaembed_rag.web import has_password, without_password

LEVELS = (1, 4, 16, 64)
"""The first so many vectors of a page that are a named vector each, as far as it has them."""
KEY = "QDRANT_API_KEY"
"""The environment variable of a server's key."""

_AT_ONCE = 32
"""Points of a request: 85 vectors of 384 float32 each are 4 MB, three times that as JSON, under the
32 MB that a server takes."""
_SCROLLED = 1000
_TIMEOUT = 60


@dataclass(frozen=True)
class QdrantReport:
    """What :meth:`metaembed_rag.PageIndex.export_to_qdrant` did.

    Attributes:
        where: The folder or the address.
        collection: Its name in Qdrant.
        levels: Vectors a page of each named vector.
        written: Pages that were written.
        unchanged: Pages that were there as they are.
        removed: Points of pages that the index does not hold, taken out with ``prune``.
        others: Points of pages that the index does not hold, which are still there.
    """

    where: str
    collection: str
    levels: tuple[int, ...]
    written: int
    unchanged: int
    removed: int
    others: int


@dataclass(frozen=True)
class QdrantOptions:
    """How an index goes into Qdrant.

    Attributes:
        collection: Its name there.
        key: Of the server; None for that of the environment.
        prune: Take out points of pages that the index does not hold.
        counter: Gives what is told the number of pages after each batch.
    """

    collection: str = "pages"
    key: str | None = None
    prune: bool = False
    counter: Counter = field(default_factory=nullcontext)


def export_to_qdrant(store: ChromaStore, where: Any, options: QdrantOptions) -> QdrantReport:
    """See :meth:`metaembed_rag.PageIndex.export_to_qdrant`."""
    require("qdrant_client")
    name = _name(where)
    with _told(name), _connected(where, options.key) as client, options.counter as progress:
        target = _Target(client, options.collection, store.about)
        target.prepare()
        ids = store.ids()
        written = unchanged = 0
        for part in slices(len(ids), _AT_ONCE):
            records = list(store.get(ids[part]).values())
            new = target.write(records)
            written, unchanged = written + new, unchanged + len(records) - new
            if progress is not None:
                progress(len(ids[part]))
        others = target.others(ids)
        if options.prune:
            target.remove(others)
        removed = len(others) if options.prune else 0
    return QdrantReport(
        *(name, options.collection, target.levels, written, unchanged, removed),
        others=len(others) - removed,
    )


def point_id(id: str) -> str:
    """The id of a page's point: Qdrant takes numbers and UUIDs only."""
    digest = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16)
    return str(uuid.UUID(bytes=digest.digest()))


def levels_of(vectors: int) -> tuple[int, ...]:
    """The sizes of the named vectors of pages with so many vectors: the last holds all of them."""
    return (*(level for level in LEVELS if level < vectors), vectors)


class _Target:
    """A collection of Qdrant that holds one index."""

    def __init__(self, client: Any, collection: str, about: CollectionModel) -> None:
        self._client, self._name, self._about = client, collection, about
        self.levels = levels_of(about.vectors)

    def prepare(self) -> None:
        """Make the collection, or see that it is of this index's form and model.

        Raises:
            ModelMismatchError: It is of another one.
        """
        if not self._client.collection_exists(self._name):
            self._client.create_collection(self._name, vectors_config=self._config())
            return
        found = self._client.get_collection(self._name).config.params.vectors
        form = {n: one.size for n, one in found.items()} if isinstance(found, Mapping) else {}
        wanted = {n: one.size for n, one in self._config().items()}
        points = self._client.scroll(self._name, limit=1, with_payload=["fingerprint"])[0]
        model = points[0].payload.get("fingerprint") if points else self._about.fingerprint
        if form != wanted or model != self._about.fingerprint:
            raise ModelMismatchError(
                f"the collection {self._name!r} is there and holds other vectors than this index "
                f"({', '.join(sorted(form)) or 'no named ones'}, model {str(model)[:12]}); name "
                f"another one"
            )

    def write(self, records: Sequence[Record]) -> int:
        """Write those pages that are not there as they are; how many."""
        if not records:
            return 0
        vectors = self._about.unpack(records).decode()  # (pages, R, D)
        payloads = [self._payload(*one) for one in zip(records, vectors, strict=True)]
        ids = [point_id(record.page.id) for record in records]
        there = self._client.retrieve(self._name, ids, with_payload=["version"])
        known = {str(point.id): point.payload.get("version") for point in there}
        models = require("qdrant_client").models
        points = [
            models.PointStruct(id=id, vector=self._vectors(of), payload=payload)
            for id, of, payload in zip(ids, vectors, payloads, strict=True)
            if known.get(id) != payload["version"]
        ]
        if points:
            self._client.upsert(self._name, points=points, wait=True)
        return len(points)

    def others(self, ids: Sequence[str]) -> list[str]:
        """Points of pages that the index does not hold."""
        held = {point_id(id) for id in ids}
        if self._client.count(self._name, exact=True).count <= len(held):
            return []
        return [id for id in self._every() if id not in held]

    def remove(self, points: Sequence[str]) -> None:
        """Take points out."""
        for part in slices(len(points), _SCROLLED):
            self._client.delete(self._name, points_selector=list(points[part]), wait=True)

    def _every(self) -> Iterator[str]:
        offset = None
        while True:
            points, offset = self._client.scroll(
                self._name, limit=_SCROLLED, offset=offset, with_payload=False
            )
            yield from (str(point.id) for point in points)
            if offset is None:
                return

    def _config(self) -> dict[str, Any]:
        """The named vectors; only the first has a graph, the others rescore what it finds."""
        models = require("qdrant_client").models
        pairs = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        return {
            f"v{level}": models.VectorParams(
                size=self._about.dimension,
                distance=models.Distance.DOT,  # of unit vectors, as they were rounded
                multivector_config=pairs,
                **({} if level == 1 else _rescoring(models)),
            )
            for level in self.levels
        }

    def _vectors(self, of: NDArray[np.float32]) -> dict[str, list[list[float]]]:
        """A page's vectors, shape (R, D), as the named ones."""
        return {f"v{level}": of[:level].tolist() for level in self.levels}

    def _payload(self, record: Record, vectors: NDArray[np.float32]) -> dict[str, Any]:
        page = record.page
        said = {
            "id": page.id,
            "source": page.source,
            "page": page.number,
            "text": page.text,
            "metadata": dict(page.metadata),
            "content_hash": record.content_hash,
            "fingerprint": self._about.fingerprint,
        }
        whole = json.dumps(said, sort_keys=True).encode() + np.ascontiguousarray(vectors).tobytes()
        return {**said, "version": hashlib.blake2b(whole, digest_size=16).hexdigest()}


def _rescoring(models: Any) -> dict[str, Any]:
    """Of vectors that are read for few pages: no graph, and from the disk."""
    return {"hnsw_config": models.HnswConfigDiff(m=0), "on_disk": True}


def _name(where: Any) -> str:
    """Where it goes to, for messages.

    Raises:
        StoreError: An address with a password in it, or no place at all.
    """
    if not isinstance(where, str | os.PathLike):
        return type(where).__name__
    name = os.fspath(where)
    if not isinstance(name, str) or not name:
        raise StoreError("name a folder or http(s)://host:port of a Qdrant server")
    if has_password(name):
        said = without_password(name)
        raise StoreError(f"{said}: no password in an address; put the key into {KEY}")
    return name


@contextmanager
def _connected(where: Any, key: str | None) -> Iterator[Any]:
    """A client: of a server, of a folder, or the one that is given, which stays open."""
    if not isinstance(where, str | os.PathLike):
        yield where
        return
    connect = require("qdrant_client").QdrantClient
    name = os.fspath(where)
    if str(name).startswith(("http://", "https://")):
        key = os.environ.get(KEY) if key is None else key
        client = connect(url=name, api_key=key, timeout=_TIMEOUT, check_compatibility=False)
    else:
        client = connect(path=str(Path(name).expanduser()))
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Qdrant's failures as sentences."""
    failures = require("qdrant_client.http.exceptions")
    try:
        yield
    except failures.UnexpectedResponse as error:
        advice = f"; put its key into {KEY}" if error.status_code in (401, 403) else ""
        raise StoreError(
            f"Qdrant at {name} refuses: {error.status_code} {error.reason_phrase}{advice}"
        ) from error
    except failures.ResponseHandlingException as error:
        raise StoreError(
            f"Qdrant at {name} does not answer ({error}); what was written stays, and the same "
            f"export goes on there"
        ) from error
    except (OSError, RuntimeError) as error:  # a folder that another client holds, a full disk
        raise StoreError(f"Qdrant at {name} cannot be written to: {error}") from error
