"""Whether packed vectors can be unit vectors that their format has rounded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.vectors.formats import Encoded

SLACK = 2e-3
"""What a unit vector of float32 or fp16 may be off, whatever the format."""


def length_problems(vectors: Encoded, slack: float = SLACK) -> list[str]:
    """For each page what is wrong with the lengths of its vectors; ``""`` for nothing.

    Args:
        vectors: Shape (pages, R, width).
        slack: How far the length of a vector may have been from 1 before it was rounded.
    """
    lengths = np.linalg.norm(vectors.decode(), axis=2)  # (pages, R)
    off = length_tolerance(vectors, slack)
    if vectors.format.name == "bits":  # scale x sqrt(D): at most 1, and over 0 for any vector
        wrong = (lengths <= slack) | (lengths > 1 + slack)
    else:
        wrong = np.abs(lengths - 1) > off
    wrong |= ~np.isfinite(lengths)
    out = []
    for page, marks in enumerate(wrong):
        number = int(marks.argmax())
        length = float(lengths[page, number])
        out.append(f"vector {number + 1} has the length {length:.3g}" if marks.any() else "")
    return out


def length_tolerance(vectors: Encoded, slack: float = SLACK) -> NDArray[np.float32]:
    """How far a rounded vector's length may be from 1; float32 of shape (pages, R)."""
    step = {"int8": 0.5, "int4": 1.0}.get(vectors.format.name, 0.0)
    each = step * vectors.scales.astype(np.float32)
    return np.asarray(np.sqrt(vectors.dimension) * each + slack, dtype=np.float32)


def is_rounded_from(vectors: Encoded, given: NDArray[np.float32]) -> bool:
    """Whether the first vector of a page is one that was given, as its format rounds it.

    Args:
        vectors: Of one page, shape (1, R, width).
        given: float32, shape (D,).
    """
    stored = vectors.first(1).decode()[0, 0]
    return bool((np.abs(stored - given) <= _rounding(vectors, given)).all())


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
