"""A Chroma collection of pages: what it says about the vectors in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from chromadb.errors import NotFoundError
from numpy.typing import NDArray

from metaembed_rag.errors import ModelMismatchError, StoreError
from metaembed_rag.store.records import Record
from metaembed_rag.store.table import BUNDLES, layout_for, layout_of, prepare
from metaembed_rag.vectors import formats

FORMAT = 4
"""Version of the records' layout; a collection of a newer one is refused. 1 knows int8 only, 2 the
other formats; of both a record is its metadata. Of 3 see :mod:`metaembed_rag.store.table`, and of 4
:mod:`metaembed_rag.store.packing`."""

_FORMAT_KEY = "metaembed:format"
_KEYS = {
    "model": "metaembed:model",
    "fingerprint": "metaembed:fingerprint",
    "dimension": "metaembed:dimension",
    "vectors": "metaembed:vectors",
    "format": "metaembed:vector_format",
    "pooling": "metaembed:pooling",
    "hybrid": "metaembed:hybrid",
}
"""What is said when a collection is made."""
PICTURES_KEY = "metaembed:pictures"
LANGUAGE_KEY = "metaembed:language"
_TELLING = {
    "fingerprint": "model",
    "dimension": "dimension",
    "vectors": "number of vectors",
    "format": "format of vectors",
}
"""What has to stay as it was when an index is made again, as messages call it."""
_EF_SEARCH = 400
"""HNSW's search width. Chroma raises it to the number of candidates asked for when that is more."""


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
        hybrid: Whether words count in searches that do not say: ``"auto"``, or ``""`` for not,
            as in collections of versions before this choice.
        pictures: The address of the object store where its pages' pictures lie, ``""`` where they
            lie beside each machine's index. Noted with the first of them, and no part of an export.
        language: How word search reads its pages; ``""`` where nobody has said.
    """

    model: str
    fingerprint: str
    dimension: int
    vectors: int
    format: str = formats.DEFAULT
    pooling: str = ""
    hybrid: str = ""
    pictures: str = ""
    language: str = ""

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


def existing(client: Any, name: str) -> Any | None:
    """The collection of that name, if there is one."""
    try:
        return client.get_collection(name, embedding_function=None)
    except NotFoundError:
        return None


def create(client: Any, name: str, about: CollectionModel) -> Any:
    """A new collection that says what it holds; or that which somebody else has made meanwhile.

    Raises:
        StoreError: The server's quotas allow no page of so many bytes.
    """
    layout = layout_for(about.bytes_per_page)
    if (quotas := getattr(client, "quotas", None)) is not None:
        quotas.check_vectors(about.bytes_per_page, about.vectors)
        layout.pop(BUNDLES, None)  # larger than what may be said of a collection there
    said = {key: getattr(about, field) for field, key in _KEYS.items()}
    said |= {key: value for key, value in _later(about).items() if value}
    found = client.get_or_create_collection(
        name,
        embedding_function=None,
        metadata={_FORMAT_KEY: FORMAT, **said, **layout},
        configuration={"hnsw": {"space": "ip", "ef_search": _EF_SEARCH}},
    )
    if layout_of(found).bundles == layout.get(BUNDLES, ""):  # else somebody else has made it
        prepare(found)
    return found


def is_of_this_package(collection: Any) -> bool:
    """Whether a collection says that this package made it."""
    return _FORMAT_KEY in (collection.metadata or {})


def recorded(collection: Any, where: str) -> CollectionModel:
    """What a collection says about itself.

    Raises:
        StoreError: It was not made by this package, or by a newer version of it.
    """
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
            f"pip install --upgrade '.[local]' in a newer clone of metaembed-rag"
        )
    known = {field: metadata[key] for field, key in _KEYS.items() if key in metadata}
    later = {"pictures": PICTURES_KEY, "language": LANGUAGE_KEY}
    known |= {field: str(metadata.get(key) or "") for field, key in later.items()}
    return CollectionModel(**known)


def _later(about: CollectionModel) -> dict[str, str]:
    """What is said of a collection where there is something to say, now or later."""
    return {PICTURES_KEY: about.pictures, LANGUAGE_KEY: about.language}


def note(client: Any, name: str, key: str, value: str) -> None:
    """Say in a collection where its pages' pictures lie or how their words are read.

    Args:
        client: Of Chroma.
        name: Of the collection.
        key: :data:`PICTURES_KEY` or :data:`LANGUAGE_KEY`.
        value: What to say, unless it says so.
    """
    found = client.get_collection(name, embedding_function=None)
    if (found.metadata or {}).get(key) != value:
        found.modify(metadata={**(found.metadata or {}), key: value})


def check_same(first: CollectionModel, now: CollectionModel, where: str) -> None:
    """Refuse a collection that was put in the place of another and holds other vectors.

    Raises:
        ModelMismatchError: It does.
    """
    for name, words in _TELLING.items():
        had, has = getattr(first, name), getattr(now, name)
        if had != has:
            raise ModelMismatchError(
                f"the index at {where} was replaced by one of another {words} ({now.model!r}: "
                f"{has}; {first.model!r}: {had}): open it again with the model that made it"
            )
