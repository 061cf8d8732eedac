"""Ordered multi-vectors in int8 with one fp16 scale a vector: what most scoring reads.

How vectors are stored, in this and in other formats, is in :mod:`metaembed_rag.vectors.formats`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_INT8_MAX = 127


@dataclass(frozen=True)
class Quantized:
    """Multi-vectors of pages in int8.

    Attributes:
        values: int8, shape (pages, R, D), in [-127, 127].
        scales: float16, shape (pages, R); a vector is its values times its scale.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.values)

    def dequantize(self) -> NDArray[np.float32]:
        """The vectors in float32, shape (pages, R, D); at most half a scale from the originals."""
        return self.values * self.scales.astype(np.float32)[..., None]


def quantize(vectors: NDArray[np.float32]) -> Quantized:
    """Round float32 vectors of shape (pages, R, D) to int8 with one scale a vector.

    The error of a value is at most half the vector's scale, about max |v| / 254 (symmetric
    absolute-maximum quantisation). A vector of zeros stays one.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    scales, steps = scales_for(vectors, _INT8_MAX)
    return Quantized(np.rint(vectors / steps[..., None]).astype(np.int8), scales)


def scales_for(
    vectors: NDArray[np.float32], largest: int
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """The scale of each vector with which its values reach to ``largest`` at most.

    Args:
        vectors: float32, shape (…, D).
        largest: The whole number that stands for the largest absolute value.

    Returns:
        The scales, float16 of shape (…,); and in float32 what to divide by, 1 where a scale is 0.
    """
    exact = np.abs(vectors).max(axis=-1) / np.float32(largest)
    scales = exact.astype(np.float16)
    # Rounding the scale down would push the largest value past `largest`.
    scales = np.where(scales < exact, np.nextafter(scales, np.float16(np.inf)), scales)
    steps = np.where(scales > 0, scales, np.float16(1)).astype(np.float32)
    return scales.astype(np.float16), steps
