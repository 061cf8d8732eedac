"""How a page's vectors are stored: fp16, int8, int4 or sign bits, chosen when an index is made.

========  ==========================  ====================  ==================================
format    bytes a vector              page of 64 x 128      a value is off by at most
========  ==========================  ====================  ==================================
``fp16``  2 D                         16,384                2^-11 of itself (+ 2^-25)
``int8``  D + 2                       8,320                 scale / 2 = max |v| / 254
``int4``  D / 2 + 2                   4,224                 scale = max |v| / 16
``bits``  D / 8 + 2                   1,152                 max(scale, max |v| - scale)
========  ==========================  ====================  ==================================

(The scale itself is rounded to fp16, for int8 and int4 upwards.) Every format keeps the order of
the vectors and stores them one after the other, each with its scale directly before its values:
the first ``r_c`` vectors of a page are a prefix of its bytes. int8, int4 and bits are whole numbers
times a scale, so :meth:`Encoded.as_int8` loses nothing and one int8 kernel scores all three.

pybase64 decodes 200 pages of 64 x 128 in int8 in 0.6 ms, the standard library in 4.2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pybase64
from numpy.typing import NDArray

from metaembed_rag.errors import StoreError

DEFAULT = "int8"
"""The format of an index that asks for none, and of every index from before there was a choice."""

_INT8_MAX = 127
_HALF = 8
"""int4 has 16 codes, none of them zero: code c stands for 2 c - 15, in -15, -13 … 13, 15."""


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

    @property
    def format(self) -> VectorFormat:
        """int8, so that one function can read these and :class:`Encoded`."""
        return FORMATS["int8"]

    @property
    def dimension(self) -> int:
        """D, the values of a vector."""
        return int(self.values.shape[2])

    def verify(self, rows: NDArray[np.int64] | None = None) -> None:
        """Arrays in memory are what they are; see :meth:`Encoded.verify`."""

    def copied(self, values: NDArray[Any], scales: NDArray[np.float16]) -> Self:
        """What was copied out of such vectors, as vectors."""
        return type(self)(values, scales)

    def dequantize(self) -> NDArray[np.float32]:
        """The vectors in float32, shape (pages, R, D); at most half a scale from the originals."""
        return self.values * self.scales.astype(np.float32)[..., None]


def quantize(vectors: NDArray[np.float32]) -> Quantized:
    """Round float32 vectors of shape (pages, R, D) to int8 with one scale a vector.

    The error of a value is at most half the vector's scale, about max |v| / 254 (symmetric
    absolute-maximum quantisation). A vector of zeros stays one.
    """
    return FORMATS["int8"].encode(vectors).as_int8()


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


class VectorFormat(ABC):
    """One way to store vectors. Use :func:`vector_format`.

    Attributes:
        name: What users write.
        dtype: Of the stored values.
        scaled: Whether each vector has a scale.
    """

    name: str
    dtype: np.dtype[Any]
    scaled = True

    @abstractmethod
    def rounded(self, vectors: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float16]]:
        """Float32 vectors of shape (pages, R, D) as stored values and scales."""

    def encode(self, vectors: NDArray[np.float32]) -> Encoded:
        """Float32 vectors of shape (pages, R, D) in this format."""
        vectors = np.asarray(vectors, dtype=np.float32)
        return Encoded(self, vectors.shape[-1], *self.rounded(vectors))

    def width(self, dimension: int) -> int:
        """Stored values (of ``dtype``) of a vector of ``dimension``."""
        return dimension

    def whole(self, values: NDArray[Any], dimension: int) -> NDArray[Any]:
        """Stored values of shape (…, width) as plain numbers of shape (…, D), scales aside."""
        return values

    def bytes_per_vector(self, dimension: int) -> int:
        """Bytes of a vector of ``dimension`` with its scale."""
        return self.packed(dimension).itemsize

    def packed(self, dimension: int) -> np.dtype[np.void]:
        """The layout of a packed vector: a little-endian fp16 scale where it has one, values."""
        values = ("values", self.dtype, (self.width(dimension),))
        return np.dtype([("scale", "<f2"), values] if self.scaled else [values])


@dataclass(frozen=True)
class Encoded:
    """Vectors of pages in a format.

    Attributes:
        format: In which they are held.
        dimension: D.
        values: As the format stores them, shape (pages, R, width).
        scales: float16, shape (pages, R); all 1 for fp16.
        guard: Called with the numbers of the pages that are about to be read, None for all, where
            they lie in mapped files; raises for what is not as it was written.
    """

    format: VectorFormat
    dimension: int
    values: NDArray[Any]
    scales: NDArray[np.float16]
    guard: Callable[[NDArray[np.int64] | None], None] | None = field(
        default=None, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.values)

    def verify(self, rows: NDArray[np.int64] | None = None) -> None:
        """To be called before pages are read by their ``values``; None stands for all of them.

        Raises:
            DamagedCacheError: They lie in a mapped file that is not what was written.
        """
        if self.guard is not None:
            self.guard(rows)

    def copied(self, values: NDArray[Any], scales: NDArray[np.float16]) -> Self:
        """What was copied out of such vectors, as vectors in memory."""
        return type(self)(self.format, self.dimension, values, scales)

    def first(self, vectors: int) -> Encoded:
        """The first ``vectors`` vectors of each page: a slice, nothing is copied."""
        return replace(self, values=self.values[:, :vectors], scales=self.scales[:, :vectors])

    def pages(self, rows: Sequence[int]) -> Encoded:
        """Some of the pages, copied, in the order of ``rows``."""
        self.verify()
        return self.copied(self.values[rows], self.scales[rows])

    def decode(self) -> NDArray[np.float32]:
        """The vectors in float32, shape (pages, R, D)."""
        self.verify()
        whole = self.format.whole(self.values, self.dimension).astype(np.float32)
        return whole * self.scales.astype(np.float32)[..., None] if self.format.scaled else whole

    def as_int8(self) -> Quantized:
        """The same vectors as int8, exactly.

        Raises:
            ValueError: They are fp16, which int8 cannot hold; :meth:`decode` them.
        """
        if not self.format.scaled:
            raise ValueError(f"{self.format.name} vectors are no whole numbers: decode them")
        self.verify()
        return Quantized(self.format.whole(self.values, self.dimension), self.scales)


class _Fp16(VectorFormat):
    name, dtype, scaled = "fp16", np.dtype("<f2"), False

    def rounded(self, vectors: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float16]]:
        return vectors.astype(self.dtype), unit_scales(vectors)


class _Int8(VectorFormat):
    name, dtype = "int8", np.dtype("i1")

    def rounded(self, vectors: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float16]]:
        scales, steps = scales_for(vectors, _INT8_MAX)
        return np.rint(vectors / steps[..., None]).astype(np.int8), scales


class _Int4(VectorFormat):
    """Two values a byte, the earlier one in the low half.

    The 16 codes stand for odd numbers, symmetric about zero: with a zero among them one code would
    be wasted, and the largest error would be max |v| / 14 instead of / 16.
    """

    name, dtype = "int4", np.dtype("u1")

    def width(self, dimension: int) -> int:
        return -(-dimension // 2)

    def rounded(self, vectors: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float16]]:
        scales, steps = scales_for(vectors, 2 * _HALF)
        codes = np.floor(vectors / (2 * steps[..., None])) + _HALF
        codes = codes.clip(0, 2 * _HALF - 1).astype(np.uint8)
        if vectors.shape[-1] % 2:
            codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
        return codes[..., 0::2] | (codes[..., 1::2] << 4), scales

    def whole(self, values: NDArray[Any], dimension: int) -> NDArray[Any]:
        codes = np.empty((*values.shape, 2), dtype=np.int8)
        codes[..., 0], codes[..., 1] = values & 15, values >> 4
        flat = codes.reshape(*values.shape[:-1], -1)[..., :dimension]
        return 2 * flat - np.int8(2 * _HALF - 1)


class _Bits(VectorFormat):
    """Signs, eight a byte, the earliest value in the highest bit; 1 is at least zero.

    The scale is the vector's mean absolute value, with which scale times signs is nearest to the
    vector. The scale that keeps inner products unbiased instead (1 / sum |v|) lifts just those
    vectors that their signs describe worst, and a maximum picks what was lifted.
    """

    name, dtype = "bits", np.dtype("u1")

    def width(self, dimension: int) -> int:
        return -(-dimension // 8)

    def rounded(self, vectors: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float16]]:
        return np.packbits(vectors >= 0, axis=-1), np.abs(vectors).mean(axis=-1).astype(np.float16)

    def whole(self, values: NDArray[Any], dimension: int) -> NDArray[Any]:
        bits = np.unpackbits(values, axis=-1, count=dimension).view(np.int8)
        return 2 * bits - np.int8(1)


FORMATS: dict[str, VectorFormat] = {one.name: one for one in (_Fp16(), _Int8(), _Int4(), _Bits())}
"""All formats by name, from exact to small."""


def vector_format(name: str) -> VectorFormat:
    """The format of that name.

    Raises:
        StoreError: There is none.
    """
    if name not in FORMATS:
        raise StoreError(f"the vector format {name!r} is not one of {', '.join(FORMATS)}")
    return FORMATS[name]


def pack(vectors: Encoded) -> list[str]:
    """Pack each page's vectors as base64 text, the form in which Chroma's metadata holds them."""
    return [pybase64.b64encode_as_string(page) for page in pack_bytes(vectors)]


def pack_bytes(vectors: Encoded) -> list[bytes]:
    """Pack each page's vectors as bytes, the form in which they travel between machines."""
    packed = np.empty(vectors.values.shape[:2], dtype=vectors.format.packed(vectors.dimension))
    packed["values"] = vectors.values
    if vectors.format.scaled:
        packed["scale"] = vectors.scales
    return [page.tobytes() for page in packed]


def unpack(payloads: Sequence[str], format: VectorFormat, dimension: int, vectors: int) -> Encoded:
    """Read the first ``vectors`` vectors of each packed page.

    Only the characters that hold them are decoded, so a small budget costs little.

    Raises:
        ValueError: A payload holds fewer vectors, or is not base64.
    """
    layout = format.packed(dimension)
    size = vectors * layout.itemsize
    characters = -(-size // 3) * 4
    data = b"".join(pybase64.b64decode(payload[:characters])[:size] for payload in payloads)
    if len(data) != size * len(payloads):
        raise ValueError(f"a stored page holds fewer than {vectors} vectors of {dimension} values")
    return unpack_bytes(data, format, dimension, vectors)


def unpack_bytes(data: bytes, format: VectorFormat, dimension: int, vectors: int) -> Encoded:
    """The pages of :func:`pack_bytes`, one after the other, of ``vectors`` vectors each.

    Raises:
        ValueError: They are no whole number of pages.
    """
    packed = np.frombuffer(data, dtype=format.packed(dimension)).reshape(-1, vectors)
    values = packed["values"]
    scales = packed["scale"] if format.scaled else unit_scales(values)
    return Encoded(format, dimension, values, scales)


def cut_dimension(vectors: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """The first ``dimension`` values of each vector, at length 1 again; shape (…, dimension).

    Vectors that have just so many values come back as they are.
    """
    if vectors.shape[-1] == dimension:
        return vectors
    cut = vectors[..., :dimension]
    lengths = np.linalg.norm(cut, axis=-1, keepdims=True)
    return np.asarray(cut / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def unit_scales(values: NDArray[Any]) -> NDArray[np.float16]:
    """A scale of 1 for each vector, which takes no memory."""
    return np.broadcast_to(np.float16(1), values.shape[:2])
