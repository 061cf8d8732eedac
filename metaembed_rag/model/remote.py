"""``RemoteEncoder``: token vectors from a server, pooled here.

A machine with a GPU runs the model (vLLM's pooling API with token embeddings); this one sends it
texts and images, pools what comes back (:mod:`metaembed_rag.model.pooling`), stores and searches.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx
import numpy as np

from metaembed_rag.errors import CheckpointError, ModelError
from metaembed_rag.model.base import PooledEncoder
from metaembed_rag.model.checkpoints import join_name, read_options
from metaembed_rag.model.inputs import Item
from metaembed_rag.model.passes import halves
from metaembed_rag.model.pooling import Pooling, Vectors
from metaembed_rag.web import (
    BUSY,
    TOO_LARGE,
    Patience,
    UsualTimeout,
    chosen_timeout,
    explained,
    has_password,
    time_limit,
    without_password,
)

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

KEY_VARIABLE = "METAEMBED_API_KEY"
"""The environment variable of a server's key."""

_BUSY_HERE = BUSY | {408, 425, 500}
"""Answers after which the same request may succeed."""


@dataclass(frozen=True)
class RemoteSettings:
    """What a server does not say of itself.

    Args:
        modalities: What its model reads, of ``text``, ``image`` and ``fused`` (both in one input).
        query_prompt: Put before the text of a query, such as ColBERT's ``"[Q] "``.
        document_prompt: Put before the text of a page.
        image_prompt: The text beside an image that has none of its own.
        max_pixels: Larger images are scaled down to it before they are sent.
        batch_size: Texts in a request; an image takes a request of its own.
        connections: Requests at a time.
        timeout: Seconds that the server may keep silent; by default 120, or what METAEMBED_TIMEOUT
            or ``--timeout`` says for all servers.
        tries: How often a request is sent at most, with growing pauses between.

    Raises:
        CheckpointError: A value that makes no sense.
    """

    modalities: tuple[str, ...] = ("text",)
    query_prompt: str = ""
    document_prompt: str = ""
    image_prompt: str = "Describe the image."
    max_pixels: int = 1024 * 28 * 28
    batch_size: int = 32
    connections: int = 4
    timeout: float = UsualTimeout(120.0)
    tries: int = 5

    def __post_init__(self) -> None:
        if not {"text"} <= set(self.modalities) <= {"text", "image", "fused"}:
            raise CheckpointError(
                f"a server's modalities are text, image and fused, always with text, not "
                f"{','.join(self.modalities)!r}"
            )
        for name in ("max_pixels", "batch_size", "connections", "timeout", "tries"):
            if getattr(self, name) <= 0:
                raise CheckpointError(f"{name} must be more than 0, not {getattr(self, name)}")

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> RemoteSettings:
        """Read options of an address.

        Raises:
            CheckpointError: A value that is no number where one is needed.
        """
        values: dict[str, Any] = {}
        for name, value in options.items():
            default = getattr(cls, name)
            kind = float if isinstance(default, float) else type(default)
            try:
                values[name] = tuple(value.split(",")) if kind is tuple else kind(value)
            except ValueError:
                raise CheckpointError(f"{name} must be a number, not {value!r}") from None
        return cls(**values)


class _TooLargeError(ModelError):
    """A server or the proxy before it takes no request of that size; a smaller one may pass."""


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
        self._base = base.rstrip("/")
        key = os.environ.get(KEY_VARIABLE, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.loaded_by_name = client is None
        self._seconds = chosen_timeout(self.remote.timeout)
        self._client = client or httpx.Client(timeout=time_limit(self._seconds), headers=headers)
        self._sleep = sleep
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
        base, model, options = split_address(address)
        base = base.removesuffix("/v1")
        names = {field.name for field in fields(RemoteSettings)}
        own = {name: value for name, value in options.items() if name in names}
        others = {name: value for name, value in options.items() if name not in names}
        remote, chosen = RemoteSettings.from_options(own), Pooling.chosen(pooling, others)
        encoder = cls(
            base, model, name="", pooling=chosen, remote=remote, client=client, sleep=sleep
        )
        encoder._find_model()
        encoder.name = join_name(f"{base}#{encoder.model}", own | chosen.options())
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
        with ThreadPoolExecutor(self.remote.connections) as pool:
            yield from pool.map(compute, batches)

    def _message(self, item: Item) -> dict[str, Any]:
        image = item.prepare_image(self.remote.max_pixels)
        assert image is not None
        file = io.BytesIO()
        image.save(file, "PNG")
        url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": item.text or self.remote.image_prompt},
        ]
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
        try:
            return self._asked_tokens(items, side)
        except _TooLargeError:
            if len(items) == 1:
                raise
        middle = len(items) // 2
        return self._sent(items[:middle], side) + self._sent(items[middle:], side)

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
        found = _read_tokens(self._ask("POST", "/pooling", body), len(items), self._base)
        self._dimension = self._dimension or found[0].shape[1]
        return found

    def _find_model(self) -> None:
        """Check that the server has the model, or take its only one."""
        listed = self._ask("GET", "/v1/models").get("data")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise ModelError(f"{self._base}/v1/models does not list models; is it a vLLM server?")
        roots = {str(one.get("id")): str(one.get("root") or one.get("id")) for one in listed}
        if not self.model and len(roots) == 1:
            self.model = next(iter(roots))
        if self.model not in roots:
            raise CheckpointError(
                f"{self._base} serves {', '.join(roots) or 'no model'}, not "
                f"{self.model or 'just one model'}; name one: {self._base}#MODEL"
            )
        self._root = roots[self.model]
        window = next(one for one in listed if str(one.get("id")) == self.model).get(
            "max_model_len"
        )
        self._window = window if isinstance(window, int) and window > 0 else None

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request, again where that may help; an error says what was answered last."""
        patience = Patience(self.remote.tries, self._seconds, busy=_BUSY_HERE, sleep=self._sleep)
        try:
            answer = patience.send(
                lambda: self._client.request(
                    method, self._base + path, json=body, timeout=self._limit(patience)
                )
            )
        except httpx.TransportError as error:
            raise ModelError(self._silence(patience, explained(error, self._base))) from error
        if answer.is_success:
            return _decoded(answer)
        problem = f"{answer.status_code} {reason_of(answer)}"
        if answer.status_code in _BUSY_HERE:
            raise ModelError(self._silence(patience, problem))
        kind = _TooLargeError if answer.status_code == TOO_LARGE else ModelError
        raise kind(f"{self._base}{path} refuses: {problem}{_advice(answer)}")

    def _limit(self, patience: Patience) -> Any:
        """How long one try may take; a client of the caller's has limits of its own."""
        return patience.left if self.loaded_by_name else httpx.USE_CLIENT_DEFAULT

    def _silence(self, patience: Patience, problem: str) -> str:
        return (
            f"{self._base} gave no answer in {patience.spoken} ({problem}); check that the "
            f"server runs there, or give it longer with the option timeout= (or --timeout)"
        )


def split_address(address: str, key: str = KEY_VARIABLE) -> tuple[str, str, dict[str, str]]:
    """Base, model and options of an address.

    Args:
        address: ``http(s)://host:port/path#model?option=value&...``.
        key: The environment variable that messages advise for a key.

    Raises:
        CheckpointError: It is none, its options cannot be read, or there is a password in it.
    """
    try:
        parts = urlsplit(address)
        named = parts.hostname and (parts.port or True)  # a port is read when it is asked for
    except ValueError:
        named = None
    if has_password(address):
        raise CheckpointError(
            f"{without_password(address)} has a user or a password in it, which would be shown "
            f"wherever the address is; put a key into the environment variable {key}"
        )
    if not named:
        raise CheckpointError(
            f"{without_password(address)} is no address of a model; write http://host:port#model, "
            f"and a key into the environment variable {key}"
        )
    model, _, late = parts.fragment.partition("?")
    problem = f"{address!r} has options that cannot be read; write "
    options = read_options(parts.query, problem) | read_options(late, problem)
    base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    return base, model, options


def _json(answer: httpx.Response) -> Any:
    """What a server answered; as text where it is not JSON."""
    try:
        return answer.json()
    except ValueError:
        return answer.text


def _decoded(answer: httpx.Response) -> dict[str, Any]:
    value = _json(answer)
    if not isinstance(value, dict):
        raise ModelError(f"{answer.url} answered something else than a JSON object")
    return value


def reason_of(answer: httpx.Response) -> str:
    """The server's own words, as vLLM and OpenAI put them, shortened."""
    value = _json(answer)
    for key in ("error", "message"):
        if isinstance(value, dict):
            value = value.get(key, value)
    return " ".join(str(value).split())[:300]


def _advice(answer: httpx.Response) -> str:
    if answer.status_code in (401, 403):
        if "authorization" in answer.request.headers:
            return f"; the key in the environment variable {KEY_VARIABLE} is not its key"
        return f"; put its key into the environment variable {KEY_VARIABLE}"
    if answer.status_code == TOO_LARGE:
        return "; give it less at a time: the option batch_size= or max_pixels="
    if answer.is_redirect:
        return f"; it sends requests on to {answer.headers.get('location')}: name that server"
    if answer.status_code == 404:
        return "; start vLLM with --runner pooling and a late-interaction model"
    return ""


def _read_tokens(answer: Mapping[str, Any], count: int, base: str) -> list[Vectors]:
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
