"""Ordered multi-vectors at rest: int8 with one fp16 scale a vector, packed vector by vector.

The packed form keeps the order of the vectors, each one's scale directly before its values, so
the first ``r_c`` vectors of a page are the first ``r_c * (D + 2)`` bytes: a budget is a slice of
the stored bytes too. pybase64 decodes 200 pages of 64 x 128 in 0.6 ms, the standard library in 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pybase64
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
    exact = np.abs(vectors).max(axis=-1) / _INT8_MAX  # (pages, R)
    scales = exact.astype(np.float16)
    # Rounding the scale down would push the largest value past 127.
    scales = np.where(scales < exact, np.nextafter(scales, np.float16(np.inf)), scales)
    steps = np.where(scales > 0, scales, np.float16(1)).astype(np.float32)
    values = np.rint(vectors / steps[..., None]).astype(np.int8)
    return Quantized(values, scales.astype(np.float16))


def vector_dtype(dimension: int) -> np.dtype[np.void]:
    """The layout of one packed vector: a little-endian fp16 scale, then ``dimension`` int8."""
    return np.dtype([("scale", "<f2"), ("values", "i1", (dimension,))])


def pack(vectors: Quantized) -> list[str]:
    """Pack each page's vectors as base64 text, the form in which Chroma's metadata holds them."""
    pages, count, dimension = vectors.values.shape
    packed = np.empty((pages, count), dtype=vector_dtype(dimension))
    packed["scale"] = vectors.scales
    packed["values"] = vectors.values
    return [pybase64.b64encode_as_string(page.tobytes()) for page in packed]


def unpack(payloads: list[str], dimension: int, vectors: int) -> Quantized:
    """Read the first ``vectors`` vectors of each packed page.

    Only the characters that hold them are decoded, so a small budget costs little.

    Raises:
        ValueError: A payload holds fewer vectors, or is not base64.
    """
    size = vectors * (dimension + 2)
    characters = -(-size // 3) * 4
    data = b"".join(pybase64.b64decode(payload[:characters])[:size] for payload in payloads)
    if len(data) != size * len(payloads):
        raise ValueError(f"a stored page holds fewer than {vectors} vectors of {dimension} values")
    packed = np.frombuffer(data, dtype=vector_dtype(dimension)).reshape(len(payloads), vectors)
    return Quantized(packed["values"], packed["scale"])
