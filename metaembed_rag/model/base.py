"""What the index needs of a model, and what every encoder of this package shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.model.inputs import Input


class Encoder(Protocol):
    """What the index needs of a model; :class:`metaembed_rag.MetaEmbedEncoder` is one."""

    @property
    def name(self) -> str:
        """What loads it again: a shipped name, a folder or a hub id."""

    @property
    def fingerprint(self) -> str:
        """Changes when the vectors would."""

    @property
    def dimension(self) -> int:
        """D."""

    @property
    def query_vectors(self) -> int:
        """R_q."""

    @property
    def document_vectors(self) -> int:
        """R_c."""

    @property
    def modalities(self) -> frozenset[str]:
        """Of ``"text"``, ``"image"`` and ``"fused"`` (both in one input), what it reads."""

    def encode_query(
        self, queries: Sequence[Input], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors, shape (queries, R_q, D)."""

    def encode_document(
        self, documents: Sequence[Input], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors, shape (documents, R_c, D)."""


def dimensions(encoder: Encoder) -> tuple[int, ...]:
    """The numbers of leading values with which an encoder's vectors work, the last one D.

    An encoder that was trained so (Kusupati et al., Matryoshka Representation Learning, NeurIPS
    2022) says it by an attribute ``dimensions``; one without it has D only.
    """
    return tuple(getattr(encoder, "dimensions", ())) or (encoder.dimension,)
