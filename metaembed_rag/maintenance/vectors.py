"""Whether stored vectors can be what an encoder made, as far as their format rounds them."""

from __future__ import annotations

import numpy as np
import pybase64
from numpy.typing import NDArray

from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.raw import RawRecord
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import Encoded

_SLACK = 2e-3
"""What a unit vector of float32 or fp16 may be off, whatever the format."""


def payload_problem(about: CollectionModel, record: Record) -> str:
    """What is wrong with the packed vectors of a record that can be read; ``""`` for nothing."""
    try:
        size = len(pybase64.b64decode(record.payload, validate=True))
    except ValueError:
        return "its vectors hold characters that are no base64"
    if size != about.bytes_per_page:
        return f"its vectors have {size:,} bytes, not {about.bytes_per_page:,}"
    return ""


def length_problems(vectors: Encoded) -> list[str]:
    """For each page what is wrong with the lengths of its vectors; ``""`` for nothing."""
    lengths = np.linalg.norm(vectors.decode(), axis=2)  # (pages, R)
    off = _length_tolerance(vectors)
    if vectors.format.name == "bits":  # scale x sqrt(D): at most 1, and over 0 for any vector
        wrong = (lengths <= _SLACK) | (lengths > 1 + _SLACK)
    else:
        wrong = np.abs(lengths - 1) > off
    out = []
    for page, marks in enumerate(wrong):
        number = int(marks.argmax())
        length = float(lengths[page, number])
        out.append(f"vector {number + 1} has the length {length:.3g}" if marks.any() else "")
    return out


def graph_problem(about: CollectionModel, raw: RawRecord, vectors: Encoded) -> str:
    """What is wrong with Chroma's one vector of a page by itself; ``""`` for nothing.

    Args:
        about: What the collection says of its vectors.
        raw: With Chroma's vector.
        vectors: The packed ones, shape (1, R, width), whose rounding is allowed for.
    """
    given = raw.vector
    if given is None:
        return "Chroma's graph has no vector of it"
    if given.shape != (about.dimension,) or not np.isfinite(given).all():
        return "its vector in Chroma's graph is no vector of this index"
    length = float(np.linalg.norm(given))
    if abs(length - 1) > _graph_tolerance(vectors):
        return f"its vector in Chroma's graph has the length {length:.3g}"
    return ""


def is_first(raw: RawRecord, vectors: Encoded) -> bool:
    """Whether Chroma's one vector of a page is the first of its packed ones, before rounding."""
    given = raw.vector
    assert given is not None, "it was seen to be there"
    stored = vectors.first(1).decode()[0, 0]
    return bool((np.abs(stored - given) <= _rounding(vectors, given)).all())


def _length_tolerance(vectors: Encoded) -> NDArray[np.float32]:
    """How far a vector's length may be from 1; float32 of shape (pages, R)."""
    step = {"int8": 0.5, "int4": 1.0}.get(vectors.format.name, 0.0)
    each = step * vectors.scales.astype(np.float32)
    return np.asarray(np.sqrt(vectors.dimension) * each + _SLACK, dtype=np.float32)


def _graph_tolerance(vectors: Encoded) -> float:
    """As :func:`_length_tolerance`: a repaired vector there is a rounded one."""
    if vectors.format.name == "bits":
        return 1.0
    return float(_length_tolerance(vectors)[0, 0])


def _rounding(vectors: Encoded, given: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each value of a first vector may be off: see :mod:`metaembed_rag.vectors.formats`."""
    scale = float(vectors.scales[0, 0])
    most = np.abs(given)
    off = {
        "int8": np.full_like(given, scale / 2),
        "int4": np.full_like(given, scale),
        "bits": np.full_like(given, max(scale, float(most.max()) - scale)),
    }.get(vectors.format.name, most * 2**-11)
    return np.asarray(off * 1.05 + 1e-4, dtype=np.float32)
