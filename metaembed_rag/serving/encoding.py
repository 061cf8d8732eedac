"""One encoder for many clients: what it says of itself, and what it makes of their inputs."""

from __future__ import annotations

import base64
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import ServerError
from metaembed_rag.model import Input, OrderedEncoder
from metaembed_rag.serving.encoding_requests import MOST_INPUTS, EncodingRequest, PoolingRequest

OWNER = "metaembed"
"""Whose the model is, and the key of what only this server says of it."""


class UnknownModelError(ServerError):
    """Another model than the one that is served."""


class EncoderService:
    """Answers requests from one encoder; threads may share it.

    Args:
        encoder: Loaded.

    Attributes:
        name: How clients call the model: its name without folders and options.
    """

    def __init__(self, encoder: OrderedEncoder) -> None:
        self._encoder = encoder
        bare = encoder.name.partition("?")[0].rpartition("#")[2]
        is_hub_id = bare.count("/") == 1 and not bare.startswith((".", "/", "~"))
        self.name = bare if is_hub_id else PurePath(bare).name or "model"
        self._passes = encoder.max_passes
        self._fingerprint = encoder.fingerprint  # of a GPU's weights it takes a while
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Compute something, so that nobody waits for it later."""
        self._encoder.encode_query(["warm"])

    def card(self) -> dict[str, Any]:
        """What ``/v1/models`` says of the model: with all that a client has to know of it."""
        encoder, settings = self._encoder, _settings(self._encoder)
        own = {
            "fingerprint": self._fingerprint,
            "dimension": encoder.dimension,
            "dimensions": list(encoder.dimensions),
            "query_vectors": encoder.query_vectors,
            "document_vectors": encoder.document_vectors,
            "modalities": sorted(encoder.modalities),
            "pooling": encoder.pooling,
            "prompts": _prompts(encoder),
            "max_pixels": getattr(settings, "max_pixels", None),
            "pass_tokens": encoder.pass_tokens,
            "most_inputs": MOST_INPUTS,
        }
        said = {"id": self.name, "object": "model", "created": 0, "owned_by": OWNER}
        return {**said, "root": self.name, OWNER: own}

    def pooling(self, asked: PoolingRequest) -> dict[str, Any]:
        """Ordered vectors of each input, as vLLM gives those of tokens.

        Raises:
            ServerError: What is asked makes no sense.
            MetaEmbedError: The model cannot read an input.
        """
        vectors = 1 if asked.task == "embed" else asked.vectors
        found = self._encoded(asked, vectors)
        data = [
            {
                "index": number,
                "object": "pooling",
                "data": _written(one[0] if asked.task == "embed" else one, asked.encoding_format),
            }
            for number, one in enumerate(found)
        ]
        return {**self._head("pool"), "fingerprint": self._fingerprint, "data": data}

    def embeddings(self, asked: EncodingRequest) -> dict[str, Any]:
        """One vector of each input, the first, as OpenAI's API gives it.

        Raises:
            ServerError: What is asked makes no sense.
            MetaEmbedError: The model cannot read an input.
        """
        found = self._encoded(asked, 1)
        data = [
            {
                "index": number,
                "object": "embedding",
                "embedding": _written(one[0], asked.encoding_format),
            }
            for number, one in enumerate(found)
        ]
        return {**self._head("embd"), "data": data}

    def unread(self, asked: EncodingRequest) -> dict[str, Any]:
        """How many tokens at the end of each document no vector sees."""
        self._check_model(asked)
        inputs = asked.inputs()
        with self._lock:
            self._encoder.max_passes = asked.max_passes or self._passes
            return {"unread": self._encoder.unread_tokens(inputs)}

    def _head(self, kind: str) -> dict[str, Any]:
        used = {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0}
        made = {"id": f"{kind}-{uuid.uuid4().hex}", "object": "list", "created": int(time.time())}
        return {**made, "model": self.name, "usage": used}

    def _check_model(self, asked: EncodingRequest) -> None:
        if asked.model not in (None, self.name):
            raise UnknownModelError(f"this server has the model {self.name!r} only")

    def _encoded(self, asked: EncodingRequest, vectors: int | None) -> NDArray[np.float32]:
        """Unit vectors, float32 (inputs, vectors, dimensions)."""
        self._check_model(asked)
        encoder, is_query = self._encoder, asked.input_type == "query"
        most = encoder.query_vectors if is_query else encoder.document_vectors
        if vectors is not None and vectors > most:
            raise ServerError(f"the model makes {most} vectors of a {asked.input_type}")
        width = asked.dimensions or encoder.dimension
        if width not in encoder.dimensions:
            known = ", ".join(map(str, encoder.dimensions))
            raise ServerError(f"dimensions: the model was trained for {known}, not {width}")
        found = self._computed(asked.inputs(), is_query, vectors, asked.max_passes)
        cut = found[..., :width]
        unit: NDArray[np.float32] = cut / np.linalg.norm(cut, axis=-1, keepdims=True)
        return found if width == encoder.dimension else unit

    def _computed(
        self, inputs: Sequence[Input], is_query: bool, vectors: int | None, passes: int | None
    ) -> NDArray[np.float32]:
        if is_query:
            return self._encoder.encode_query(inputs, vectors=vectors)
        with self._lock:  # the number of passes is the encoder's state
            self._encoder.max_passes = passes or self._passes
            return self._encoder.encode_document(inputs, vectors=vectors)


def _settings(encoder: OrderedEncoder) -> Any:
    return getattr(getattr(encoder, "backbone", None), "settings", None)


def _prompts(encoder: OrderedEncoder) -> dict[str, str]:
    """What the model puts before texts of each side; applied here, shown to whoever asks."""
    known = getattr(getattr(encoder, "model", None), "prompts", None) or {}
    return {side: text for side, text in dict(known).items() if isinstance(text, str) and text}


def _written(vectors: NDArray[np.float32], how: str) -> Any:
    """Lists of numbers, or base64 of little-endian float32, the last axis innermost."""
    if how == "base64":
        return base64.b64encode(np.ascontiguousarray(vectors, "<f4").tobytes()).decode()
    return vectors.tolist()
