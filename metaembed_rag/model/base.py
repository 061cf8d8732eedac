"""What every encoder of this package shares: batches and passes, order, checks, pooling."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from metaembed_rag.errors import ModalityError, ModelError
from metaembed_rag.model.inputs import Input, Item, as_inputs, read_input
from metaembed_rag.model.memory import in_halves
from metaembed_rag.model.passes import MAX_PASSES, Passes, checked_passes, interleaved
from metaembed_rag.model.pooling import Pooling, Vectors, nested_pooling
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.progress import tqdm

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")

_CPU_BATCH = 8
"""Larger batches leave a CPU's cache: 30 pages a second at 4 to 8, 24 at 32 (D = 256)."""


class OrderedEncoder(Encoder):
    """Texts, images and both together into ordered unit vectors.

    A subclass says what it is by its properties and computes one batch in :meth:`_encode_batch`.
    Everything else happens here: inputs are checked, put into batches and back into their order,
    progress is shown, and the vectors' shape and finiteness are checked.
    """

    name: str = ""
    _max_passes: int = MAX_PASSES

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Numbers of leading values with which a vector works, ascending; the last one is D."""
        shorter = {one for one in self._trained_dimensions if one < self.dimension}
        return (*sorted(shorter), self.dimension)

    @property
    def pooling(self) -> str:
        """The method that makes the vectors of tokens; empty where the model makes them itself."""
        return ""

    @property
    def device(self) -> torch.device | None:
        """Where the weights are; None where there are none on this machine."""
        return None

    def encode_query(
        self,
        queries: Input | Sequence[Input],
        *,
        batch_size: int = 32,
        show_progress: bool = False,
        vectors: int | None = None,
    ) -> Vectors:
        """Ordered unit vectors of queries: text, images, or both fused.

        Args:
            queries: Each a str, a PIL image, or ``{"text": ..., "image": ...}``; a single one is
                accepted and counts as a list of one. A str is always text, never a path.
            batch_size: Inputs computed at a time, on a CPU at most 8; a server is sent as many as
                its address says. Results do not depend on it.
            show_progress: Draw a bar: on standard error, or in the notebook.
            vectors: Only the first r ones; all by default. They are equal to the first r of all
                of them. A causal backbone with Meta Tokens computes no more than these; any
                other (``mini`` is bidirectional) computes all and drops the rest.

        Returns:
            float32 (n, r, D), rows in the order given, each vector of length 1. Where vectors are
            pooled from fewer tokens than r, they are repeated in their order.

        Raises:
            ModalityError: An input is empty, or of a kind that the model does not read.
            ModelError: The model gave numbers that are not finite, or its server does not answer.
            ValueError: ``batch_size`` is less than 1, or ``vectors`` is not from 1 to all.
        """
        return self._encode_side("query", queries, batch_size, show_progress, vectors)

    def encode_document(
        self,
        documents: Input | Sequence[Input],
        *,
        batch_size: int = 32,
        show_progress: bool = False,
        vectors: int | None = None,
    ) -> Vectors:
        """Ordered unit vectors of candidates: text, images, or both fused.

        Arguments, result and errors are those of :meth:`encode_query`, with the candidate side's
        number of vectors. A text longer than the model's window is read in up to
        :attr:`max_passes` passes, whose vectors share the places
        (:mod:`metaembed_rag.model.passes`); :meth:`unread_tokens` counts what is still left out.
        """
        return self._encode_side("document", documents, batch_size, show_progress, vectors)

    @property
    def max_passes(self) -> int:
        """The most passes over the text of one document; it may be set at any time.

        Vectors of texts that need fewer do not depend on it, and it is no part of the fingerprint.
        """
        return self._max_passes

    @max_passes.setter
    def max_passes(self, number: int) -> None:
        self._max_passes = checked_passes(number)

    def unread_tokens(self, documents: Input | Sequence[Input]) -> list[int]:
        """How many tokens at the end of each document's text no vector has seen.

        Returns:
            A number a document: 0 where :attr:`max_passes` passes read the whole text.

        Raises:
            ModalityError: A document is empty, or of a kind that the model does not read.
        """
        # A token covers at least one byte, and a pass reads at least half of its window.
        sure = self.max_passes * ((self._pass_tokens or 0) // 2)
        return [
            0 if len(item.text.encode()) <= sure else self._passes(item).unread
            for item in self._read(as_inputs(documents), "document")
        ]

    def _encode_batch(self, items: Sequence[Item], side: str, count: int) -> Vectors:
        """The first ``count`` unit vectors of inputs of one modality: float32 (n, count, D)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it encodes")

    @property
    def _trained_dimensions(self) -> Sequence[int]:
        """Numbers of leading values with which vectors were trained to work too."""
        return ()

    @property
    def _spoken_name(self) -> str:
        """How messages call the model."""
        return self.name

    @property
    def _remedy(self) -> str:
        """How the sentence goes on that says of vectors that they are not finite numbers."""
        return ""

    def _encode_side(
        self,
        side: str,
        given: Input | Sequence[Input],
        batch_size: int,
        show_progress: bool,
        vectors: int | None,
    ) -> Vectors:
        inputs, most = as_inputs(given), self._vectors_of(side)
        count = most if vectors is None else vectors
        if not 1 <= count <= most:
            raise ValueError(f"vectors must be between 1 and {most} for a {side}, not {vectors}")

        def encode(items: Sequence[Item]) -> Sequence[Vectors]:
            return self._compute(items, side, count)

        # Made late, because a server tells D with its first answer.
        result: Vectors | None = None
        for row, parts in self._in_passes(encode, inputs, side, batch_size, show_progress):
            if result is None:
                result = np.empty((len(inputs), count, self.dimension), np.float32)
            result[row] = self._joined(parts, f"{side} {row}", count, most)
        return np.empty((0, count, self.dimension), np.float32) if result is None else result

    def _compute(self, items: Sequence[Item], side: str, count: int) -> Sequence[Any]:
        """What a batch of passes gives: of each its first ``count`` vectors, (count, D)."""
        found = self._encode_batch(items, side, count)
        return list(self._checked(found, (len(items), count, self.dimension)))

    def _joined(self, parts: Sequence[Any], where: str, count: int, most: int) -> Vectors:
        """The vectors (count, D) of an input from what :meth:`_compute` gave of its passes."""
        return parts[0] if len(parts) == 1 else interleaved(parts, count, most)

    def _passes(self, item: Item) -> Passes:
        """How a document is read; here whole, in one pass."""
        return Passes((item,))

    @property
    def pass_tokens(self) -> int | None:
        """The window: tokens of a document's text in one pass; None where nothing limits them."""
        return self._pass_tokens

    @property
    def _pass_tokens(self) -> int | None:
        """The window: tokens of a document's text in one pass; None where nothing limits them."""
        return None

    def _read(self, inputs: Iterable[Input], side: str) -> list[Item]:
        """The inputs, checked."""
        read = functools.partial(read_input, modalities=self.modalities, name=self._spoken_name)
        return [read(value, where=f"{side} {i}") for i, value in enumerate(inputs)]

    def _in_passes(
        self,
        compute: Callable[[Sequence[Item]], Sequence[_T]],
        inputs: Sequence[Input],
        side: str,
        batch_size: int,
        show_progress: bool,
    ) -> Iterator[tuple[int, list[_T]]]:
        """The place of each input with what ``compute`` makes of its passes, once all are made."""
        read = self._read(inputs, side)
        within = functools.partial(in_halves, compute)
        passes = [self._passes(one).items if side == "document" else (one,) for one in read]
        items = [item for some in passes for item in some]
        owners = [row for row, some in enumerate(passes) for _ in some]
        made: dict[int, _T] = {}
        missing = [len(some) for some in passes]
        firsts = np.cumsum([0, *missing]).tolist()
        for places, found in self._in_batches(within, items, side, batch_size, show_progress):
            for place, one in zip(places, found, strict=True):
                row = owners[place]
                made[place] = one
                missing[row] -= 1
                if not missing[row]:
                    yield row, [made.pop(i) for i in range(firsts[row], firsts[row + 1])]

    def _in_batches(
        self,
        compute: Callable[[Sequence[Item]], _T],
        items: Sequence[Item],
        side: str,
        batch_size: int,
        show_progress: bool,
    ) -> Iterator[tuple[list[int], _T]]:
        """The places of some items, and what ``compute`` makes of them, batch by batch."""
        batches = self._batches(items, batch_size)
        what = "queries" if side == "query" else "documents"
        with tqdm(total=len(items), desc=f"Encoding {what}", disable=not show_progress) as bar:
            found = self._map(compute, [[items[i] for i in rows] for rows in batches])
            for rows, some in zip(batches, found, strict=True):
                yield rows, some
                bar.update(len(rows))

    def _batches(self, items: Sequence[Item], batch_size: int) -> list[list[int]]:
        """Places of inputs: one modality a batch, the longest first (memory then fails at once)."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        found = []
        for modality in ("text", "image", "fused"):
            rows = [i for i, item in enumerate(items) if item.modality == modality]
            rows.sort(key=lambda i: -items[i].length)
            size = self._batch_size(batch_size, modality)
            found += [rows[start : start + size] for start in range(0, len(rows), size)]
        return found

    def _batch_size(self, asked: int, modality: str) -> int:
        """How many inputs of a modality are computed at a time."""
        on_cpu = self.device is not None and self.device.type == "cpu"
        return min(asked, _CPU_BATCH) if on_cpu else asked

    def _map(
        self, compute: Callable[[Sequence[Item]], _T], batches: Iterable[Sequence[Item]]
    ) -> Iterator[_T]:
        """What ``compute`` makes of each batch, in their order."""
        return map(compute, batches)

    def _vectors_of(self, side: str) -> int:
        return self.query_vectors if side == "query" else self.document_vectors

    def _checked(self, vectors: Vectors, shape: tuple[int, ...]) -> Vectors:
        """The vectors, if they have this shape and are finite numbers."""
        gave = f"{self._spoken_name} gave vectors"
        if vectors.shape != shape:
            raise ModelError(f"{gave} of shape {vectors.shape}, not {shape}")
        if not np.isfinite(vectors).all():
            raise ModelError(f"{gave} that are not finite numbers{self._remedy}")
        return vectors


class PooledEncoder(OrderedEncoder):
    """An encoder of token vectors in no useful order, which are pooled into ordered ones.

    A subclass computes the tokens of one batch in :meth:`_tokens`.

    Attributes:
        settings: How token vectors are pooled.
    """

    settings: Pooling

    @property
    def pooling(self) -> str:
        """The name of the pooling method."""
        return self.settings.method

    @property
    def query_vectors(self) -> int:
        """R_q, vectors of a query."""
        return self.settings.query_vectors

    @property
    def document_vectors(self) -> int:
        """R_c, vectors of a candidate."""
        return self.settings.document_vectors

    def encode_tokens(
        self,
        inputs: Sequence[Input],
        side: str,
        *,
        batch_size: int = 32,
        show_progress: bool = False,
    ) -> list[Vectors]:
        """All vectors that the model scores of each input, before pooling: of each (tokens, D).

        Padding, and what a checkpoint's mask leaves out, are not among them; its query expansion
        is. Those of a document that takes several passes stand in the order of its text. Arguments
        and errors are those of :meth:`encode_query`, with ``side`` ``"query"`` or ``"document"``;
        an input of which nothing is scored is a :class:`ModalityError` too.
        """
        compute = functools.partial(self._checked_tokens, side=side)
        found = {
            row: self._all_tokens(parts, f"{side} {row}")
            for row, parts in self._in_passes(compute, inputs, side, batch_size, show_progress)
        }
        return [found[row] for row in range(len(inputs))]

    def __repr__(self) -> str:
        text = f"{self.name!r}, {'/'.join(sorted(self.modalities))}, pooling={str(self.settings)!r}"
        here = f", D={self.dimension}, device={str(self.device)!r}" if self.device else ""
        return f"{type(self).__name__}({text}{here})"

    @abstractmethod
    def _tokens(self, items: Sequence[Item], side: str) -> list[Vectors]:
        """The token vectors of inputs of one modality: of each float32 (tokens, D)."""

    @property
    def _width(self) -> int:
        """The length of a token vector."""
        return self.dimension

    @property
    def _trained_dimensions(self) -> Sequence[int]:
        return self.settings.dimensions

    def _compute(self, items: Sequence[Item], side: str, count: int) -> Sequence[Any]:
        return self._checked_tokens(items, side)

    def _joined(self, parts: Sequence[Any], where: str, count: int, most: int) -> Vectors:
        """All tokens of all passes pooled together."""
        tokens = self._all_tokens(parts, where)
        return nested_pooling(tokens, most, self.settings.method)[:count]

    def _all_tokens(self, parts: Sequence[Vectors], where: str) -> Vectors:
        """The tokens (tokens, D) of all passes of an input, of which one may have none."""
        tokens = np.concatenate(parts)
        if not len(tokens):
            raise ModalityError(
                f"{where} has no token that {self._spoken_name} scores; its mask may keep image "
                f"tokens only"
            )
        return tokens

    def _checked_tokens(self, items: Sequence[Item], side: str) -> list[Vectors]:
        found = [
            one.reshape(-1, self._width) if not one.size else one
            for one in self._tokens(items, side)
        ]
        for tokens in found:
            self._checked(tokens, (len(tokens), self._width))
        return found
