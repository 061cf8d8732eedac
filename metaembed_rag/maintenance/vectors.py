"""Whether stored vectors can be what an encoder made, as far as their format rounds them."""

from __future__ import annotations

import numpy as np
import pybase64

from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.raw import RawRecord
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import Encoded
from metaembed_rag.vectors.lengths import is_rounded_from, length_tolerance


def payload_problem(about: CollectionModel, record: Record) -> str:
    """What is wrong with the packed vectors of a record that can be read; ``""`` for nothing."""
    try:
        size = len(pybase64.b64decode(record.payload, validate=True))
    except ValueError:
        return "its vectors hold characters that are no base64"
    if size != about.bytes_per_page:
        return f"its vectors have {size:,} bytes, not {about.bytes_per_page:,}"
    return ""


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
    assert raw.vector is not None, "it was seen to be there"
    return is_rounded_from(vectors, raw.vector)


def _graph_tolerance(vectors: Encoded) -> float:
    """As :func:`.length_tolerance`: a repaired vector there is a rounded one."""
    if vectors.format.name == "bits":
        return 1.0
    return float(length_tolerance(vectors)[0, 0])
