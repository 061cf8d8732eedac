"""Records as a collection holds them: whole in their metadata, or in parts that take less room.

Indexes from format 3 on hold a page's text as Chroma's document, which other programs
read, and its vectors and other long texts that nobody looks for in a bundle
(:mod:`metaembed_rag.store.bundles`). Whoever reads or writes by :class:`RecordTable` sees records
that are whole, as :mod:`metaembed_rag.store.records` knows them, in either layout.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from chromadb.errors import ChromaError
from numpy.typing import NDArray

from metaembed_rag.errors import StoreError
from metaembed_rag.store import records
from metaembed_rag.store.bundles import Bundles, Fields, Row, pages_of
from metaembed_rag.store.requests import slices
from metaembed_rag.store.server import RequestTooLargeError

DOCUMENTS, BUNDLES, VECTORS = "metaembed:documents", "metaembed:bundles", "metaembed:vectors"
CODED = "metaembed:coded"
"""Of a collection's metadata: texts are documents; the database of its bundles; R; vectors in
bundles are coded."""
_BUNDLE, _ROW = records.BUNDLE, records.ROW
_BUNDLED = (records.VECTORS,)
"""Texts of a record that are long, that no filter asks for, and that no hit shows."""
_WORTH = 1000
"""Characters of a page's packed vectors from which a bundle takes less room than two copies."""
_TRIES = 3
_AT_ONCE = 1000

Metadata = Mapping[str, Any]


class Layout(NamedTuple):
    """How a collection holds its records.

    Attributes:
        documents: Texts are Chroma's documents.
        bundles: Name of the database with the bundles; ``""`` where there are none.
        vectors: R, the vectors a page.
        coded: Vectors in bundles are coded (:mod:`metaembed_rag.store.packing`); not in indexes
            of format 3, which older versions read.
    """

    documents: bool
    bundles: str
    vectors: int
    coded: bool


def layout_of(collection: Any) -> Layout:
    """The layout that a collection's metadata name."""
    said = collection.metadata or {}
    return Layout(
        documents=bool(said.get(DOCUMENTS)),
        bundles=str(said.get(BUNDLES, "")),
        vectors=int(said.get(VECTORS, 0)),
        coded=bool(said.get(CODED)),
    )


def layout_for(bytes_per_page: int) -> dict[str, Any]:
    """What a new collection says of its layout; each time with another database of bundles."""
    long = bytes_per_page * 4 // 3 >= _WORTH
    bundles = {BUNDLES: f"metaembed-{uuid.uuid4().hex}", CODED: True} if long else {}
    return {DOCUMENTS: True, **bundles}


def prepare(collection: Any) -> None:
    """Make the database of a new collection's bundles; go without where that is refused.

    A server may keep users to one database. Records are larger then, and otherwise the same.
    """
    bundles = layout_of(collection).bundles
    if not bundles:
        return
    try:
        Bundles.make_database(collection, bundles)
    except (ChromaError, StoreError):
        said = {key: value for key, value in collection.metadata.items() if key != BUNDLES}
        collection.modify(metadata=said)


class RecordTable:
    """Reads and writes the records of collections.

    Args:
        alone: Nobody else writes meanwhile, so that pages may be moved from a bundle of which most
            pages are gone. On a server that would overwrite what another one writes.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._bundles = Bundles()

    def upsert(
        self,
        collection: Any,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        metadatas: Sequence[Metadata],
    ) -> None:
        """Write whole records; a None among metadata removes a key that was there."""
        layout = layout_of(collection)
        before = self._bundles_of(collection, layout, ids)
        parts, documents = self._in_parts(collection, layout, metadatas)
        try:
            collection.upsert(
                ids=list(ids),
                embeddings=np.ascontiguousarray(vectors),
                metadatas=parts,
                documents=documents,
            )
        except RequestTooLargeError:  # so no record names what was just written
            names = {str(one[_BUNDLE]) for one in parts if _BUNDLE in one}
            self._bundles.drop_unnamed(collection, layout.bundles, names)
            raise
        self._release(collection, layout, before)

    def update(self, collection: Any, ids: Sequence[str], metadatas: Sequence[Metadata]) -> None:
        """Replace some keys of records; a None removes a key."""
        layout = layout_of(collection)
        if not layout.documents:
            collection.update(ids=list(ids), metadatas=[dict(one) for one in metadatas])
            return
        changed = [dict(one) for one in metadatas]
        moved = [n for n, one in enumerate(changed) if layout.bundles and one.keys() & {*_BUNDLED}]
        before = self._bundles_of(collection, layout, [ids[n] for n in moved])
        if moved:
            held = dict(self.rows(collection, [ids[n] for n in moved]))
            for n in moved:
                known = {key: held[ids[n]][key] for key in _BUNDLED if key in held.get(ids[n], {})}
                changed[n] = {**known, **changed[n]}
            texts = [_text(changed[n]) for n in moved]
            written, _ = self._in_parts(collection, layout, [changed[n] for n in moved])
            for n, part, text in zip(moved, written, texts, strict=True):
                changed[n] = {key: part[key] for key in part.keys() - {records.TEXT}} | text
        documents = [one.pop(records.TEXT, None) for one in changed]
        for one, document in zip(changed, documents, strict=True):
            one |= {} if document is None else _mark(document)
        given = documents if any(one is not None for one in documents) else None
        collection.update(ids=list(ids), metadatas=changed, documents=given)
        self._release(collection, layout, before)

    def delete(self, collection: Any, ids: Sequence[str]) -> None:
        """Delete records."""
        layout = layout_of(collection)
        before = self._bundles_of(collection, layout, ids)
        collection.delete(ids=list(ids))
        self._release(collection, layout, before)

    def rows(
        self, collection: Any, ids: Sequence[str], *, vectors: bool = True
    ) -> list[tuple[str, Metadata]]:
        """Ids that exist, and the whole metadata of each.

        Args:
            collection: Of the records.
            ids: Without repeats.
            vectors: Also read what lies in bundles; :data:`~metaembed_rag.store.records.NOT_READ`
                stands for it else.
        """
        found: dict[str, Metadata] = {}
        missing: list[str] = list(ids)
        for _ in range(_TRIES):  # a page may be written again between its record and its bundle
            got = collection.get(ids=missing, include=["metadatas", "documents"])
            whole = self.complete(collection, got["metadatas"], got["documents"], vectors)
            found |= zip(got["ids"], whole, strict=True)
            missing = [id for id in got["ids"] if _BUNDLE in found[id]]
            if not missing:
                break
        return [(id, _without_place(metadata)) for id, metadata in found.items()]

    def nearest(
        self, collection: Any, wanted: Mapping[str, Any]
    ) -> dict[str, tuple[float, Metadata]]:
        """Distance and whole metadata of what Chroma's search finds, in its order.

        It still knows pages that another process has deleted; these are left out.
        """
        found = collection.query(**wanted, include=["distances"])
        far = dict(zip(found["ids"][0], found["distances"][0], strict=True))
        known = dict(self.rows(collection, list(far))) if far else {}
        return {id: (far[id], known[id]) for id in far if id in known}

    def complete(
        self,
        collection: Any,
        metadatas: Sequence[Metadata | None],
        documents: Sequence[str | None] | None,
        vectors: bool = True,
    ) -> list[Metadata]:
        """Metadata as Chroma gives them, made whole; of those that still name a bundle it is gone.

        Args:
            collection: Theirs.
            metadatas: Of its records.
            documents: Of the same records.
            vectors: As for :meth:`rows`.
        """
        layout = layout_of(collection)
        texts = documents or [None] * len(metadatas)
        return [
            self._complete(collection, layout, metadata or {}, text, vectors)
            for metadata, text in zip(metadatas, texts, strict=True)
        ]

    def tidy(self, collection: Any) -> None:
        """Write bundles again of which pages are gone, so that nothing of these is left."""
        layout = layout_of(collection)
        if not layout.bundles:
            return
        counts: Counter[str] = Counter()
        ids = collection.get(include=[])["ids"]
        for part in slices(len(ids), _AT_ONCE):
            found = collection.get(ids=ids[part], include=["metadatas"])["metadatas"]
            counts.update(str(one[_BUNDLE]) for one in found if one and _BUNDLE in one)
        for name, count in counts.items():
            if count < pages_of(name):
                self._move(collection, layout, name)

    def _complete(
        self, collection: Any, layout: Layout, metadata: Metadata, text: str | None, vectors: bool
    ) -> Metadata:
        if not layout.documents:
            return metadata
        own = {records.TEXT: text} if text is not None and not metadata.get(records.TEXT) else {}
        name, row = metadata.get(_BUNDLE), metadata.get(_ROW)
        if not (layout.bundles and isinstance(name, str) and isinstance(row, int)):
            return {**metadata, **own}
        if not vectors:
            return {**_without_place(metadata), **own, records.VECTORS: records.NOT_READ}
        try:
            fields = self._bundles.get(collection, layout.bundles, Row(name, row))
        except ValueError:
            fields = {}  # the record lacks its vectors, which is told like any other damage
        if fields is None:
            return {**metadata, **own}
        return {**_without_place(metadata), **own, **fields}

    def _in_parts(
        self, collection: Any, layout: Layout, metadatas: Sequence[Metadata]
    ) -> tuple[list[dict[str, Any]], list[str] | None]:
        """Whole records as the collection holds them: metadata, documents; bundles are written."""
        parts = [dict(one) for one in metadatas]
        if not layout.documents:
            return parts, None
        documents = [str(one.pop(records.TEXT, None) or "") for one in parts]
        for part, text in zip(parts, documents, strict=True):
            part |= _mark(text)
        if layout.bundles:
            fields = [_taken(part) for part in parts]
            rows = self._put(collection, layout, fields)
            for part, (name, row) in zip(parts, rows, strict=True):
                part |= {_BUNDLE: name, _ROW: row}
        return parts, documents

    def _put(self, collection: Any, layout: Layout, fields: Sequence[Fields]) -> list[Row]:
        """Write texts of pages into bundles."""
        place = collection, layout.bundles
        return self._bundles.put(*place, fields, layout.vectors, coded=layout.coded)

    def _bundles_of(self, collection: Any, layout: Layout, ids: Sequence[str]) -> set[str]:
        """The bundles that records name now."""
        if not (layout.bundles and ids):
            return set()
        found = collection.get(ids=list(ids), include=["metadatas"])["metadatas"]
        return {str(one[_BUNDLE]) for one in found if one and _BUNDLE in one}

    def _release(self, collection: Any, layout: Layout, names: set[str]) -> None:
        """Delete bundles that no record names any more, and write those again that few name."""
        for name in names:
            left = len(collection.get(where={_BUNDLE: name}, include=[])["ids"])
            if not left:
                self._bundles.drop(collection, layout.bundles, name)
            elif self._alone and 2 * left <= pages_of(name):
                self._move(collection, layout, name)

    def _move(self, collection: Any, layout: Layout, name: str) -> None:
        """Write the pages of a bundle into others, and delete it."""
        found = collection.get(where={_BUNDLE: name}, include=["metadatas"])
        whole = self.complete(collection, found["metadatas"], None)
        kept = [n for n, one in enumerate(whole) if _BUNDLE not in one]
        fields: list[Fields] = [_taken(dict(whole[n])) for n in kept]
        rows = self._put(collection, layout, fields)
        if kept:
            places = [{_BUNDLE: bundle, _ROW: row} for bundle, row in rows]
            collection.update(ids=[found["ids"][n] for n in kept], metadatas=places)
        self._bundles.drop(collection, layout.bundles, name)


def bare_rows(collection: Any, ids: Sequence[str]) -> list[tuple[str, Metadata]]:
    """Ids that exist, and of each what its record holds in its metadata itself."""
    got = collection.get(ids=list(ids), include=["metadatas"])
    return [(id, one or {}) for id, one in zip(got["ids"], got["metadatas"], strict=True)]


def _taken(metadata: dict[str, Any]) -> dict[str, str]:
    """Those texts of a record that go into a bundle, taken out of it."""
    taken = {key: metadata.pop(key) for key in _BUNDLED if key in metadata}
    return {key: text for key, text in taken.items() if isinstance(text, str)}


def _mark(text: str) -> dict[str, Any]:
    """What a record says of its text for filters: that it is empty, or nothing."""
    return {records.TEXT: None if text else ""}


def _text(metadata: Metadata) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key == records.TEXT}


def _without_place(metadata: Metadata) -> Metadata:
    return {key: value for key, value in metadata.items() if key not in (_BUNDLE, _ROW)}
