"""``RemoteEncoder``: token vectors from a server, pooled here.

A machine with a GPU runs the model (vLLM's pooling API with token embeddings); this one sends it
texts and images, pools what comes back (:mod:`metaembed_rag.model.pooling`), stores and searches.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import httpx
import numpy as np

from metaembed_rag.errors import CheckpointError, ModelError
from metaembed_rag.model.base import PooledEncoder
from metaembed_rag.model.checkpoints import join_name
from metaembed_rag.model.inputs import Item
from metaembed_rag.model.model_server import (
    ModelServer,
    NamedModel,
    RemoteSettings,
    in_requests,
    named_model,
    picture_part,
    read_address,
    text_part,
)
from metaembed_rag.model.passes import halves
from metaembed_rag.model.pooling import Pooling, Vectors

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


class RemoteEncoder(PooledEncoder):
    """A late-interaction model behind an address; made by ``MetaEmbedEncoder.from_pretrained``.

    It may be shared between threads.

    Attributes:
        name: The address with its options: what connects again.
        model: The model's name on the server.
        remote: How it is asked.
        loaded_by_name: Whether the address alone connects again, without a client of one's own.
    """

    def __init__(
        self,
        base: str,
        model: str,
        *,
        name: str,
        pooling: Pooling | None = None,
        remote: RemoteSettings | None = None,
        client: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Use one model of a server at ``base`` (``http(s)://host:port``), without asking it yet.

        :meth:`connect`, which asks it, explains the other arguments.
        """
        self.name = name
        self.model = model
        self.settings = pooling or Pooling()
        self.remote = remote or RemoteSettings()
        self.loaded_by_name = client is None
        self._server = ModelServer(base, self.remote, client, sleep)
        self._root = model
        self._window: int | None = None
        self._dimension = 0

    @classmethod
    def connect(
        cls,
        address: str,
        *,
        pooling: Pooling | str | None = None,
        client: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> RemoteEncoder:
        """Ask a server which models it has, and use one.

        Args:
            address: ``http(s)://host:port#model?option=value&...``. Without a model the server
                must have just one. Options are those of :class:`RemoteSettings` and of
                :class:`~metaembed_rag.model.pooling.Pooling`, before or after the model.
            pooling: How token vectors become ordered ones.
            client: Of httpx, for certificates or proxies of one's own; the default sends the key
                in the environment variable METAEMBED_API_KEY.
            sleep: Waits between two tries.

        Raises:
            CheckpointError: The address or an option makes no sense, or there is no such model.
            ModelError: The server does not answer.
        """
        Pooling.chosen(pooling, read_address(address)[3])  # refused before anybody is asked
        return cls.of(named_model(address, client, sleep), pooling)

    @classmethod
    def of(cls, named: NamedModel, pooling: Pooling | str | None = None) -> RemoteEncoder:
        """Use a model whose server has told of it.

        Raises:
            CheckpointError: An option makes no sense, or the server's vectors are ordered already.
        """
        if named.is_ours:
            raise CheckpointError(
                f"{named.place} makes ordered vectors itself, so there are no tokens to pool; "
                f"connect by MetaEmbedEncoder.from_pretrained"
            )
        chosen, server = Pooling.chosen(pooling, named.others), named.server
        model = str(named.card["id"])
        name = join_name(named.place, {**named.own, **chosen.options()})
        encoder = cls(
            *(server.base, model),
            name=name,
            pooling=chosen,
            remote=server.remote,
            client=server.client,
        )
        encoder._server, encoder.loaded_by_name = server, server.is_own_client
        encoder._root = str(named.card.get("root") or model)
        window = named.card.get("max_model_len")
        encoder._window = window if isinstance(window, int) and window > 0 else None
        return encoder

    @property
    def dimension(self) -> int:
        """D, the length of a vector; asked of the server where no answer has shown it yet."""
        if not self._dimension:
            self.encode_tokens(["dimension"], "query")
        return self._dimension

    @property
    def modalities(self) -> frozenset[str]:
        """What it reads, as its address says."""
        return frozenset(self.remote.modalities)

    @property
    def fingerprint(self) -> str:
        """Hex digest of the model's name and path on the server, prompts and pooling.

        A server does not show its weights: other weights under the same name go unnoticed.
        """
        names = ("query_prompt", "document_prompt", "image_prompt", "max_pixels")
        asked = {name: getattr(self.remote, name) for name in names}
        pooling = [self.settings.method, self.query_vectors, self.document_vectors]
        described = [self.model, self._root, asked, pooling]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def _spoken_name(self) -> str:
        return self.model

    def _batch_size(self, asked: int, modality: str) -> int:
        return self.remote.batch_size if modality == "text" else 1

    def _map(
        self, compute: Callable[[Sequence[Item]], _T], batches: Iterable[Sequence[Item]]
    ) -> Iterator[_T]:
        return self._server.side_by_side(compute, batches)

    def _message(self, item: Item) -> dict[str, Any]:
        image = item.prepare_image(self.remote.max_pixels)
        assert image is not None
        content = [picture_part(image), text_part(item.text or self.remote.image_prompt)]
        return {"role": "user", "content": content}

    def _tokens(self, items: Sequence[Item], side: str) -> list[Vectors]:
        """One request, and more for documents that were cut at the server."""
        found = self._sent(items, side)
        if side == "query" or self._window is None:
            return found
        both = zip(items, found, strict=True)
        return [self._read_whole(item, tokens, self.max_passes) for item, tokens in both]

    def _read_whole(self, item: Item, tokens: Vectors, passes: int) -> Vectors:
        """The tokens of a document; of its halves where it fills the server's window."""
        if self._window is None or len(tokens) < self._window:
            return tokens
        parts = halves(item) if passes > 1 else None
        if parts is None:
            _log.warning("%s is longer than %s reads: its end is cut", item.where, self.model)
            return tokens
        found = [self._sent([part], "document")[0] for part in parts]
        both = zip(parts, found, strict=True)
        return np.concatenate([self._read_whole(*one, passes // 2) for one in both])

    def _sent(self, items: Sequence[Item], side: str) -> list[Vectors]:
        """One request, of texts or of one image; two where the texts are too large for one."""
        return in_requests(lambda some: self._asked_tokens(some, side), items)

    def _asked_tokens(self, items: Sequence[Item], side: str) -> list[Vectors]:
        """One request: of texts, or of one image."""
        prompt = self.remote.query_prompt if side == "query" else self.remote.document_prompt
        body: dict[str, Any] = {
            "model": self.model,
            "task": "token_embed",
            "encoding_format": "float",
            "truncate_prompt_tokens": -1,
        }
        if items[0].image is None:
            body["input"] = [prompt + item.text for item in items]
        else:
            (item,) = items
            body["messages"] = [self._message(item)]
        answer = self._server.ask("POST", "/pooling", body)
        found = read_tokens(answer, len(items), self._server.base)
        self._dimension = self._dimension or found[0].shape[1]
        return found


def read_tokens(answer: Mapping[str, Any], count: int, base: str) -> list[Vectors]:
    """Token vectors of each input, in the order of the request."""
    listed = answer.get("data")
    if not isinstance(listed, list) or len(listed) != count:
        raise ModelError(f"{base} answered for another number of inputs than the {count} sent")
    ordered = sorted(listed, key=lambda one: one.get("index", 0))
    return [_matrix(one.get("data"), base) for one in ordered]


def _matrix(value: Any, base: str) -> Vectors:
    try:
        tokens = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        tokens = np.empty(0, np.float32)
    if tokens.ndim != 2 or not all(tokens.shape):
        raise ModelError(
            f"{base} gave no vector for each token; start vLLM with --runner pooling and a "
            f'late-interaction model (--pooler-config \'{{"task": "token_embed"}}\')'
        )
    if not np.isfinite(tokens).all():
        raise ModelError(
            f"{base} gave vectors that are not finite numbers; try another dtype there"
        )
    return tokens
