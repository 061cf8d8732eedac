"""A test double: an encoder without weights whose right answers are obvious."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from metaembed_rag.model.base import OrderedEncoder
from metaembed_rag.model.inputs import Input, Item, as_inputs
from metaembed_rag.model.pooling import Vectors

if TYPE_CHECKING:
    import torch


class FakeEncoder(OrderedEncoder):
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

    Attributes:
        encoded: Every document that was encoded, in order: tests look here for needless work.
    """

    dimension = 64
    dimensions: tuple[int, ...] = ()
    query_vectors = 16
    document_vectors = 64
    modalities: frozenset[str] = frozenset()
    device: torch.device | None = None

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

    @property
    def fingerprint(self) -> str:
        """Changes with the seed and the shape."""
        shape = (self.seed, self.dimension, self.query_vectors, self.document_vectors)
        return hashlib.blake2b(repr(shape).encode(), digest_size=16).hexdigest()

    def encode_document(
        self,
        documents: Input | Sequence[Input],
        *,
        batch_size: int = 32,
        show_progress: bool = False,
        vectors: int | None = None,
    ) -> Vectors:
        """As every encoder does; what was encoded is noted in :attr:`encoded`."""
        inputs = as_inputs(documents)
        self.encoded.extend(inputs)
        return super().encode_document(
            inputs, batch_size=batch_size, show_progress=show_progress, vectors=vectors
        )

    def _encode_batch(self, items: Sequence[Item], side: str, count: int) -> Vectors:
        vectors = self._vectors_of(side)
        out = np.empty((len(items), vectors, self.dimension), dtype=np.float32)
        for row, item in zip(out, items, strict=True):
            slots = np.zeros_like(row)
            for word in self._words(item):
                digest = hashlib.blake2b(f"{self.seed}{word}".encode(), digest_size=8).digest()
                number = int.from_bytes(digest, "little")
                vector = np.random.default_rng(number).standard_normal(self.dimension)
                slots[0] += vector
                if vectors > 1:
                    slots[1 + number % (vectors - 1)] += vector
            slots[~slots.any(axis=1)] = slots[0]
            row[:] = slots / np.linalg.norm(slots, axis=1, keepdims=True)
        return out[:, :count]

    def _words(self, item: Item) -> list[str]:
        """The words of an input's text, and its picture's mean colour."""
        words = re.findall(r"\w+", item.text.lower())
        if item.image is not None:
            pixel = np.asarray(item.image.convert("RGB").resize((1, 1))).reshape(3)
            words.append(f"<colour {(pixel // 32).tolist()}>")
        return words or ["<empty>"]
