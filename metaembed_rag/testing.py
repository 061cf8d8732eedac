"""A test double: an encoder without weights whose right answers are obvious."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FakeEncoder:
    """An encoder that hashes words: texts that share words are near, others are not.

    Vector 0 is the sum of all word vectors; vector j > 0 is the sum of those words that hash to
    slot j (vector 0 again where none do). So one vector a side finds pages by their mixture of
    words, and more vectors separate them better. An image counts as one word, its mean colour.

    Args:
        dimension: D.
        query_vectors: R_q.
        document_vectors: R_c.
        modalities: What it claims to read.
        seed: Another seed is another "model", with another fingerprint.
        dimensions: Numbers of leading values that it claims to be trained for; D by default.
    """

    def __init__(
        self,
        dimension: int = 64,
        query_vectors: int = 16,
        document_vectors: int = 64,
        modalities: Sequence[str] = ("text", "image", "fused"),
        seed: int = 0,
        dimensions: Sequence[int] = (),
    ) -> None:
        self.name = "fake"
        self.dimension = dimension
        self.dimensions = tuple(dimensions) or (dimension,)
        self.query_vectors = query_vectors
        self.document_vectors = document_vectors
        self.modalities = frozenset(modalities)
        self.seed = seed
        self.encoded: list[Any] = []
        """Every document that was encoded, in order: tests look here for needless work."""

    @property
    def fingerprint(self) -> str:
        """Changes with the seed and the shape."""
        shape = (self.seed, self.dimension, self.query_vectors, self.document_vectors)
        return hashlib.blake2b(repr(shape).encode(), digest_size=16).hexdigest()

    def encode_query(
        self, queries: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors of shape (queries, R_q, D)."""
        return self._encode(queries, self.query_vectors)

    def encode_document(
        self, documents: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors of shape (documents, R_c, D)."""
        self.encoded.extend(documents)
        return self._encode(documents, self.document_vectors)

    def _encode(self, inputs: Sequence[Any], vectors: int) -> NDArray[np.float32]:
        out = np.empty((len(inputs), vectors, self.dimension), dtype=np.float32)
        for row, value in zip(out, inputs, strict=True):
            words = _words(value)
            slots = np.zeros_like(row)
            for word in words:
                digest = hashlib.blake2b(f"{self.seed}{word}".encode(), digest_size=8).digest()
                number = int.from_bytes(digest, "little")
                vector = np.random.default_rng(number).standard_normal(self.dimension)
                slots[0] += vector
                if vectors > 1:
                    slots[1 + number % (vectors - 1)] += vector
            slots[~slots.any(axis=1)] = slots[0]
            row[:] = slots / np.linalg.norm(slots, axis=1, keepdims=True)
        return out


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return re.findall(r"\w+", value.lower()) or ["<empty>"]
    if isinstance(value, Mapping):
        return [word for part in value.values() if part is not None for word in _words(part)]
    colour = np.asarray(value.convert("RGB").resize((1, 1))).reshape(3) // 32
    return [f"<colour {colour.tolist()}>"]
