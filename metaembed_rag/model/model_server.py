"""Requests to a server that encodes: which models it has, tries, time limits, failures by name."""

from __future__ import annotations

import base64
import io
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx
from PIL import Image

from metaembed_rag.errors import CheckpointError, ModelError
from metaembed_rag.model.checkpoints import read_options
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

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

KEY_VARIABLE = "METAEMBED_API_KEY"
"""The environment variable of a server's key."""

OURS = "metaembed"
"""Key of a model's card at a server of this package, which gives ordered vectors itself."""

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


class RequestTooLargeError(ModelError):
    """A server or the proxy before it takes no request of that size; a smaller one may pass."""


class ModelServer:
    """What is asked of one server; it may be shared between threads.

    Args:
        base: ``http(s)://host:port``.
        remote: How it is asked.
        client: Of httpx, for certificates or proxies of one's own; the default sends the key in
            the environment variable METAEMBED_API_KEY.
        sleep: Waits between two tries.

    Attributes:
        base: Without a slash at its end.
        client: Of httpx.
        is_own_client: Whether it is one of this package.
    """

    def __init__(
        self,
        base: str,
        remote: RemoteSettings,
        client: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base, self.remote = base.rstrip("/"), remote
        key = os.environ.get(KEY_VARIABLE, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.is_own_client = client is None
        self._seconds = chosen_timeout(remote.timeout)
        self.client = client or httpx.Client(timeout=time_limit(self._seconds), headers=headers)
        if self.is_own_client:
            weakref.finalize(self, self.client.close)
        self._sleep = sleep

    def card(self, model: str) -> dict[str, Any]:
        """What the server says of a model; of its only one where ``model`` is empty.

        Raises:
            CheckpointError: There is no such model.
            ModelError: It does not answer, or not so.
        """
        listed = self.ask("GET", "/v1/models").get("data")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise ModelError(f"{self.base}/v1/models does not list models; is it a vLLM server?")
        cards = {str(one.get("id")): dict(one) for one in listed}
        if not model and len(cards) == 1:
            model = next(iter(cards))
        if model not in cards:
            raise CheckpointError(
                f"{self.base} serves {', '.join(cards) or 'no model'}, not "
                f"{model or 'just one model'}; name one: {self.base}#MODEL"
            )
        return {**cards[model], "id": model}

    def side_by_side(
        self, compute: Callable[[_Item], _Result], batches: Iterable[_Item]
    ) -> Iterator[_Result]:
        """What ``compute`` makes of each batch, in their order; several requests at a time."""
        with ThreadPoolExecutor(self.remote.connections) as pool:
            yield from pool.map(compute, batches)

    def ask(
        self, method: str, path: str, body: Any = None, *, otherwise: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send a request, again where that may help; an error says what was answered last.

        ``otherwise`` is what a server counts as answering that has no such path.
        """
        patience = Patience(self.remote.tries, self._seconds, busy=_BUSY_HERE, sleep=self._sleep)
        try:
            answer = patience.send(
                lambda: self.client.request(
                    method, self.base + path, json=body, timeout=self._limit(patience)
                )
            )
        except httpx.TransportError as error:
            raise ModelError(self._silence(patience, explained(error, self.base))) from error
        if answer.is_success:
            return _decoded(answer)
        if answer.status_code == 404 and otherwise is not None:
            return otherwise
        problem = f"{answer.status_code} {reason_of(answer)}"
        if answer.status_code in _BUSY_HERE:
            raise ModelError(self._silence(patience, problem))
        kind = RequestTooLargeError if answer.status_code == TOO_LARGE else ModelError
        raise kind(f"{self.base}{path} refuses: {problem}{_advice(answer)}")

    def _limit(self, patience: Patience) -> Any:
        """How long one try may take; a client of the caller's has limits of its own."""
        return patience.left if self.is_own_client else httpx.USE_CLIENT_DEFAULT

    def _silence(self, patience: Patience, problem: str) -> str:
        return (
            f"{self.base} gave no answer in {patience.spoken} ({problem}); check that the "
            f"server runs there, or give it longer with the option timeout= (or --timeout)"
        )


def in_requests(
    send: Callable[[Sequence[_Item]], list[_Result]], items: Sequence[_Item]
) -> list[_Result]:
    """What ``send`` gives of items, sent in halves where they are too large for one request.

    Raises:
        ModelError: A single one is too large, or the server fails.
    """
    try:
        return send(items)
    except RequestTooLargeError:
        if len(items) == 1:
            raise
    middle = len(items) // 2
    return in_requests(send, items[:middle]) + in_requests(send, items[middle:])


def text_part(text: str) -> dict[str, Any]:
    """A text as a part of a chat's message."""
    return {"type": "text", "text": text}


def picture_part(image: Image.Image) -> dict[str, Any]:
    """A picture as a part of a chat's message: a PNG in a data URL, so that no pixel changes."""
    file = io.BytesIO()
    image.save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


@dataclass(frozen=True)
class NamedModel:
    """A model that an address names, with what its server says of it.

    Attributes:
        server: Asked with the options of the address.
        card: What ``/v1/models`` says of it; ``id`` is its name.
        own: Those options of the address that say how it is asked.
        others: The other options.
    """

    server: ModelServer
    card: Mapping[str, Any]
    own: Mapping[str, str]
    others: Mapping[str, str]

    @property
    def is_ours(self) -> bool:
        """Whether a server of this package has it."""
        return isinstance(self.card.get(OURS), Mapping)

    @property
    def place(self) -> str:
        """The address without options."""
        return f"{self.server.base}#{self.card['id']}"


def read_address(address: str) -> tuple[str, str, dict[str, str], dict[str, str]]:
    """Base, model, options of :class:`RemoteSettings` and other options of an address.

    Raises:
        CheckpointError: It is none, or its options cannot be read.
    """
    base, model, options = split_address(address)
    names = {field.name for field in fields(RemoteSettings)}
    own = {name: value for name, value in options.items() if name in names}
    others = {name: value for name, value in options.items() if name not in names}
    return base.removesuffix("/v1"), model, own, others


def named_model(
    address: str, client: httpx.Client | None = None, sleep: Callable[[float], None] = time.sleep
) -> NamedModel:
    """Ask the server of an address for the model that it names.

    Args:
        address: ``http(s)://host:port#model?option=value&...``.
        client: As for :class:`ModelServer`, like ``sleep``.
        sleep: Waits between two tries.

    Raises:
        CheckpointError: The address or an option makes no sense, or there is no such model.
        ModelError: The server does not answer.
    """
    base, model, own, others = read_address(address)
    server = ModelServer(base, RemoteSettings.from_options(own), client, sleep)
    return NamedModel(server, server.card(model), own, others)


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
