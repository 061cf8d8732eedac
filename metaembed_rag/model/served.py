"""``ServedEncoder``: ordered vectors from ``metaembed serve --encoder-only``.

The server says what its model is: fingerprint, dimension, vectors a side, prompts. So an index that
was made with the checkpoint itself opens with its server, and one of another checkpoint is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from metaembed_rag.errors import CheckpointError, ModelError
from metaembed_rag.model.base import OrderedEncoder
from metaembed_rag.model.checkpoints import join_name
from metaembed_rag.model.inputs import Input, Item, as_inputs
from metaembed_rag.model.model_server import (
    OURS,
    ModelServer,
    NamedModel,
    in_requests,
    picture_part,
    text_part,
)
from metaembed_rag.model.pooling import Vectors

_T = TypeVar("_T")

_ASKED = frozenset({"batch_size", "connections", "timeout", "tries"})
"""Options of an address that are this side's to choose; the model's own are the server's."""
_PICTURES = 4
"""Pictures in a request: 4 of the most pixels are 10 MB, half of what a server takes."""
_UNBOUNDED = 2**62


@dataclass(frozen=True)
class ServedModel:
    """What a server of this package says of its model.

    Args:
        fingerprint: Hex digest that changes when the vectors would.
        dimension: D.
        dimensions: Numbers of leading values that work alone, ascending.
        query_vectors: R_q.
        document_vectors: R_c.
        modalities: What it reads.
        pooling: The method that makes the vectors of tokens; empty where the model makes them.
        max_pixels: Larger pictures are scaled down to it; None for no limit.
        pass_tokens: Tokens of a document's text in one pass; None for no limit.
        prompts: What it puts before texts of each side.
        most_inputs: Inputs in one request.

    Raises:
        ModelError: A value is missing or makes no sense.
    """

    fingerprint: str
    dimension: int
    query_vectors: int
    document_vectors: int
    modalities: frozenset[str]
    dimensions: tuple[int, ...] = ()
    pooling: str = ""
    max_pixels: int | None = None
    pass_tokens: int | None = None
    prompts: Mapping[str, str] | None = None
    most_inputs: int = 1

    def __post_init__(self) -> None:
        counts = (self.dimension, self.query_vectors, self.document_vectors, self.most_inputs)
        limits = [one for one in (self.max_pixels, self.pass_tokens) if one is not None]
        whole = all(type(one) is int and one > 0 for one in (*counts, *self.dimensions, *limits))
        known = {"text"} <= self.modalities <= {"text", "image", "fused"}
        if not (whole and known and isinstance(self.fingerprint, str) and self.fingerprint):
            raise ModelError("the values make no sense")

    @classmethod
    def read(cls, told: Mapping[str, Any], where: str) -> ServedModel:
        """What a card holds; keys that are not known are left out.

        Raises:
            ModelError: It is not complete.
        """
        known = {name: told[name] for name in cls.__dataclass_fields__ if name in told}
        try:
            known["modalities"] = frozenset(known["modalities"])
            known["dimensions"] = tuple(known.get("dimensions", ()))
            return cls(**known)
        except (KeyError, TypeError, ModelError) as error:
            raise ModelError(
                f"{where} does not say what its model is ({error}); it runs another version of "
                f"metaembed-rag: use the same on both sides"
            ) from error


class ServedEncoder(OrderedEncoder):
    """A model behind ``metaembed serve --encoder-only``; it may be shared between threads.

    Made by ``MetaEmbedEncoder.from_pretrained("http://host:port")``. Vectors, fingerprint and
    passes are those of the checkpoint loaded there.

    Attributes:
        name: The address with its options: what connects again.
        model: The model's name on the server.
        about: What the server says of it.
        loaded_by_name: Whether the address alone connects again, without a client of one's own.
    """

    def __init__(self, server: ModelServer, model: str, about: ServedModel, *, name: str) -> None:
        """Use a model of a server, without asking it again; :meth:`of` makes one."""
        self.name, self.model, self.about = name, model, about
        self._server = server
        self.loaded_by_name = server.is_own_client

    @classmethod
    def of(cls, named: NamedModel) -> ServedEncoder:
        """Use a model whose server has told of it.

        Raises:
            CheckpointError: An option that is the server's to choose.
            ModelError: The server does not say what the model is.
        """
        if wrong := sorted({*named.own, *named.others} - _ASKED):
            raise CheckpointError(
                f"{named.place} chooses {', '.join(wrong)} itself; leave it out (an address may "
                f"say {', '.join(sorted(_ASKED))})"
            )
        about = ServedModel.read(named.card[OURS], named.server.base)
        name = join_name(named.place, named.own)
        return cls(named.server, str(named.card["id"]), about, name=name)

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""
        return self.about.dimension

    @property
    def query_vectors(self) -> int:
        """R_q, vectors of a query."""
        return self.about.query_vectors

    @property
    def document_vectors(self) -> int:
        """R_c, vectors of a candidate."""
        return self.about.document_vectors

    @property
    def modalities(self) -> frozenset[str]:
        """What it reads."""
        return self.about.modalities

    @property
    def fingerprint(self) -> str:
        """That of the checkpoint that the server has loaded."""
        return self.about.fingerprint

    @property
    def pooling(self) -> str:
        """The method that makes the vectors of tokens, at the server."""
        return self.about.pooling

    def unread_tokens(self, documents: Input | Sequence[Input]) -> list[int]:
        """How many tokens at the end of each document's text no vector has seen.

        The server is asked of texts that may be too long only.

        Raises:
            ModalityError: A document is empty, or of a kind that the model does not read.
            ModelError: The server does not answer.
        """
        items = self._read(as_inputs(documents), "document")
        found = [0] * len(items)
        # A token covers at least one byte, and a pass reads at least half of its window.
        sure = self.max_passes * ((self._pass_tokens or 0) // 2)
        long = [i for i, item in enumerate(items) if len(item.text.encode()) > sure]
        if self._pass_tokens is None:
            return found
        for start in range(0, len(long), self._batch_size(0, "text")):
            rows = long[start : start + self._batch_size(0, "text")]
            for row, unread in zip(rows, self._asked_unread([items[i] for i in rows]), strict=True):
                found[row] = unread
        return found

    def __repr__(self) -> str:
        return (
            f"ServedEncoder({self.name!r}, {'/'.join(sorted(self.modalities))}, "
            f"r_q={self.query_vectors}, r_c={self.document_vectors}, D={self.dimension})"
        )

    @property
    def _trained_dimensions(self) -> Sequence[int]:
        return self.about.dimensions

    @property
    def _pass_tokens(self) -> int | None:
        return self.about.pass_tokens

    def _batch_size(self, asked: int, modality: str) -> int:
        texts = min(self._server.remote.batch_size, self.about.most_inputs)
        return texts if modality == "text" else min(texts, _PICTURES)

    def _map(
        self, compute: Callable[[Sequence[Item]], _T], batches: Iterable[Sequence[Item]]
    ) -> Iterator[_T]:
        return self._server.side_by_side(compute, batches)

    def _encode_batch(self, items: Sequence[Item], side: str, count: int) -> Vectors:
        found: list[Vectors] = in_requests(lambda some: self._asked(some, side, count), items)
        return np.stack(found)

    def _asked(self, items: Sequence[Item], side: str, count: int) -> list[Vectors]:
        """One request: of each input its first ``count`` vectors (count, D)."""
        body = {**self._body(items, side), "vectors": count, "encoding_format": "base64"}
        answer = self._server.ask("POST", "/pooling", body)
        if answer.get("fingerprint") != self.fingerprint:
            raise ModelError(
                f"{self._server.base} has another checkpoint by now than the one that it named "
                f"(fingerprint {self.fingerprint[:12]}): connect again"
            )
        data = answer.get("data")
        if not isinstance(data, list) or len(data) != len(items):
            raise ModelError(f"{self._server.base} answered for another number of inputs")
        return [self._decoded(one, count) for one in data]

    def _decoded(self, told: Any, count: int) -> Vectors:
        try:
            values = np.frombuffer(base64.b64decode(told["data"], validate=True), "<f4")
            return values.reshape(count, self.dimension).astype(np.float32)
        except (binascii.Error, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{self._server.base} gave no {count} vectors of {self.dimension} values ({error})"
            ) from error

    def _asked_unread(self, items: Sequence[Item]) -> list[int]:
        texts = [Item(item.text, None, item.where) for item in items]
        answer = self._server.ask("POST", "/unread_tokens", self._body(texts, "document"))
        counts = answer.get("unread")
        if not isinstance(counts, list) or len(counts) != len(items):
            raise ModelError(f"{self._server.base} answered for another number of inputs")
        return [int(one) for one in counts]

    def _body(self, items: Sequence[Item], side: str) -> dict[str, Any]:
        body = {"model": self.model, "input_type": side, "input": [self._input(i) for i in items]}
        return body if side == "query" else {**body, "max_passes": self.max_passes}

    def _input(self, item: Item) -> Any:
        image = item.prepare_image(self.about.max_pixels or _UNBOUNDED)
        if image is None:
            return item.text
        text = [text_part(item.text)] if item.text else []
        return {"content": [picture_part(image), *text]}
