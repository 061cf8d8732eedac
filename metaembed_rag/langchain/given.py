"""What callers of the vector store give, brought into form: texts, pictures, ids, vectors."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from metaembed_rag.errors import MetadataError, StoreError


def document_ids(documents: Sequence[Document], given: Iterable[str | None] | None) -> list[str]:
    """The ids to store documents under: those given, over their own, over new ones.

    Raises:
        MetadataError: Another number of ids than of documents.
    """
    chosen = [None] * len(documents) if given is None else list(given)
    if len(chosen) != len(documents):
        raise MetadataError(f"{len(chosen)} ids were given for {len(documents)} documents")
    return [
        id or document.id or str(uuid.uuid4())
        for id, document in zip(chosen, documents, strict=True)
    ]


def text_documents(
    texts: Iterable[str], metadatas: Iterable[Mapping[str, Any]] | None
) -> list[Document]:
    """Texts with their metadata as documents.

    Raises:
        MetadataError: Another number of metadata than of texts.
    """
    contents = list(texts)
    return [
        Document(text, metadata=dict(metadata))
        for text, metadata in zip(contents, _each(metadatas, len(contents), "texts"), strict=True)
    ]


def image_documents(
    uris: Iterable[str | Path], metadatas: Iterable[Mapping[str, Any]] | None
) -> list[Document]:
    """Picture files with their metadata as documents without text.

    Raises:
        MetadataError: Another number of metadata than of pictures.
    """
    names = [str(uri) for uri in uris]
    return [
        Document("", metadata={"source": name, **metadata, "image_path": name})
        for name, metadata in zip(names, _each(metadatas, len(names), "pictures"), strict=True)
    ]


def unit_vectors(embedding: Any, dimension: int) -> NDArray[np.float32]:
    """Vectors of length 1, float32 of shape (r_q, dimension), from one vector or from rows of them.

    Raises:
        StoreError: Another shape, or a vector that cannot be brought to length 1.
    """
    vectors = np.atleast_2d(np.asarray(embedding, dtype=np.float32))  # (r_q, D)
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise StoreError(
            f"an embedding of the shape {np.shape(embedding)} was given; the index needs "
            f"{dimension} numbers, or rows of so many: embed the query with its own model"
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise StoreError("the embedding holds a vector of zeros, or numbers that are not finite")
    unit: NDArray[np.float32] = vectors / lengths
    return unit


def _each(
    metadatas: Iterable[Mapping[str, Any]] | None, count: int, what: str
) -> list[Mapping[str, Any]]:
    """The metadata of each; none for any where none are given."""
    given = list(metadatas or ()) or [{}] * count
    if len(given) != count:
        raise MetadataError(f"{len(given)} metadata were given for {count} {what}")
    return given
