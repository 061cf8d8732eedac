"""What the index needs of a model, whoever made it, and what is checked of what it gives."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import ModelError
from metaembed_rag.model.inputs import Input
from metaembed_rag.model.pooling import Vectors

LENGTH_ERROR = 0.01
"""How far the length of a unit vector may be from 1; that of half precision is 0.001 off."""

_log = logging.getLogger(__name__)


class Encoder(Protocol):
    """What the index needs of a model; :class:`metaembed_rag.MetaEmbedEncoder` is one."""

    @property
    def name(self) -> str:
        """What loads it again: a shipped name, a folder, a hub id or an address."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest that changes when the vectors would."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """D, the length of a vector."""

    @property
    @abstractmethod
    def query_vectors(self) -> int:
        """R_q, vectors of a query."""

    @property
    @abstractmethod
    def document_vectors(self) -> int:
        """R_c, vectors of a candidate."""

    @property
    @abstractmethod
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


def checked_vectors(encoder: Encoder, side: str, vectors: Any, count: int) -> Vectors:
    """What an encoder made of ``count`` inputs, if it is what it announces.

    Args:
        encoder: The model.
        side: ``"query"`` or ``"document"``.
        vectors: What it gave.
        count: Of how many inputs.

    Returns:
        float32, shape (count, R_q or R_c, D).

    Raises:
        ModelError: Another shape, numbers that are not finite, a vector of zeros or one whose
            length is not 1; it says of which input. An index with such vectors in it could not be
            searched.
    """
    found, unusable = judged_vectors(encoder, side, vectors, count)
    for number, why in sorted(unusable.items()):
        raise ModelError(why if count == 1 else f"{why} ({side} {number + 1} of {count})")
    return found


def judged_vectors(
    encoder: Encoder, side: str, vectors: Any, count: int
) -> tuple[Vectors, dict[int, str]]:
    """As :func:`checked_vectors`, for whoever goes on without those inputs that gave none.

    Returns:
        float32, shape (count, R_q or R_c, D); and for each input whose vectors are not finite,
        zero or not of length 1 its number, from 0, with the reason.

    Raises:
        ModelError: Another shape.
    """
    gave = f"the model {encoder.name!r} gave vectors"
    try:
        found = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{gave} that are no array of numbers ({error})") from error
    each = encoder.query_vectors if side == "query" else encoder.document_vectors
    announced = (count, each, encoder.dimension)
    if found.shape != announced:
        raise ModelError(
            f"{gave} of shape {found.shape}, not {announced}: for each {side} it announces {each} "
            f"vectors of {encoder.dimension} values"
        )
    infinite = ~np.isfinite(found).all(axis=(1, 2))
    lengths = np.linalg.norm(np.where(np.isfinite(found), found, 0), axis=-1)  # (count, each)
    zero, other = ~lengths.all(axis=-1), (np.abs(lengths - 1) > LENGTH_ERROR).any(axis=-1)
    reasons = {
        "not of length 1, as similarities need them": other,
        "zero, which no page is near to": zero,
        "not finite numbers": infinite,
    }
    unusable: dict[int, str] = {}
    for reason, those in reasons.items():  # the last one counts
        unusable |= dict.fromkeys(
            np.flatnonzero(those).tolist(), f"{gave} of a {side} that are {reason}"
        )
    return found, unusable


def unread_tokens(encoder: Encoder, documents: Sequence[Input]) -> list[int]:
    """How many tokens at the end of each document an encoder does not read.

    An encoder says it by a method ``unread_tokens``; one without it counts as reading everything.
    """
    count: Callable[[Sequence[Input]], list[int]] | None = getattr(encoder, "unread_tokens", None)
    return [0] * len(documents) if count is None else count(documents)


def warn_of_unread(encoder: Encoder, documents: Sequence[Input]) -> None:
    """Log a warning where texts are longer than what the encoder reads of them."""
    cut = [tokens for tokens in unread_tokens(encoder, documents) if tokens]
    if cut:
        _log.warning(
            "%d of %d texts are longer than %s reads in max_passes passes: %s tokens at their "
            "ends were not read; divide them, or raise the encoder's max_passes",
            *(len(cut), len(documents), encoder.name, f"{sum(cut):,}"),
        )
