"""Who may ask, and how much: looked at before anything else sees a request."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from metaembed_rag.serving.settings import ServerSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

OPEN = frozenset({"/", "/health", "/docs", "/openapi.json"})
"""What holds nothing of the index, and needs no token."""
_SILENCE = 60.0
"""Seconds for which a client may keep silent in the middle of a request."""
_FAILURE = 60
"""Requests that a wrong token counts for, so that tokens are not tried out."""
_CLIENTS = 10_000
"""Client addresses whose rate is remembered."""
_HEADERS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""With every answer."""
_STRICT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""With every answer that brings no policy of its own."""
_METHODS = "GET, POST, DELETE"


class Refusal(Exception):
    """A request that goes no further: status, sentence, further headers."""

    def __init__(self, status: int, why: str, headers: Headers | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.headers = status, why, headers or []


class Rates:
    """How many requests each client may still send: a bucket that fills by the minute.

    Args:
        per_minute: And at most at once; None for no limit.
        clock: Seconds.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, client: str, count: int = 1) -> float:
        """Count requests of a client; the seconds that it has to wait, 0 where it may go on."""
        if self._most is None:
            return 0.0
        now = self._clock()
        left, then = self._left.pop(client, (float(self._most), now))
        left = min(float(self._most), left + (now - then) * self._most / 60)
        allowed = left >= 1
        self._left[client] = (left - count if allowed else left, now)
        if len(self._left) > _CLIENTS:  # who asked longest ago is forgotten, whose bucket is full
            del self._left[next(iter(self._left))]
        return 0.0 if allowed else (1 - left) * 60 / self._most


class Access:
    """The outermost layer of the server.

    It checks the name that the client calls the server by, the origin of the page that asks, the
    rate and the token, bounds the size and the silence of requests, and adds headers to answers.

    Args:
        app: What answers.
        settings: What is allowed.
    """

    def __init__(self, app: App, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings
        self._token = None if settings.token is None else settings.token.encode()
        self._rates = Rates(settings.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it here."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no websockets
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        answer = _WithHeaders(send, self._shared_with(origin))
        try:
            self._check(scope, headers)
            if scope["method"] == "OPTIONS" and origin is not None:
                raise Refusal(204, "", self._preflight(origin))
            limited = _Limited(receive, self._most(scope["path"], headers), headers)
            await self._app(scope, limited, answer)
        except Refusal as refusal:
            if not answer.begun:
                await _refuse(refusal, answer)

    def _check(self, scope: Scope, headers: dict[bytes, str]) -> None:
        """Raises Refusal: The request may not pass."""
        host = headers.get(b"host", "")
        known = self._settings.known_hosts
        if known is not None and _name_of(host) not in known:
            raise Refusal(421, "this server does not answer to that name; see --allow-host")
        self._check_origin(scope, headers, host)
        client = (scope.get("client") or ("?", 0))[0]
        wait = self._rates.take(client)
        if wait:
            raise _too_many(wait)
        if scope["path"] not in OPEN and scope["method"] != "OPTIONS":
            self._check_token(headers, client)

    def _check_origin(self, scope: Scope, headers: dict[bytes, str], host: str) -> None:
        """Refuse what the page of another site sends, which the user does not know of."""
        origin = headers.get(b"origin")
        if origin is None:
            # Browsers name no origin where only is read; who may read the answer they decide.
            if headers.get(b"sec-fetch-site") == "cross-site" and scope["method"] != "GET":
                raise Refusal(403, "pages of other sites may not use this server")
            return
        own = urlsplit(origin).netloc == host and origin != "null"
        if not own and origin not in self._settings.origins:
            raise Refusal(403, "pages of other sites may not use this server; see --allow-origin")

    def _check_token(self, headers: dict[bytes, str], client: str) -> None:
        if self._token is None:
            return
        scheme, _, given = headers.get(b"authorization", "").partition(" ")
        fits = secrets.compare_digest(given.strip().encode("utf-8"), self._token)
        if scheme.lower() != "bearer" or not fits:
            if given:
                self._rates.take(client, _FAILURE)
            raise Refusal(
                401,
                "this server needs its token: send the header Authorization: Bearer TOKEN",
                [(b"www-authenticate", b"Bearer")],
            )

    def _most(self, path: str, headers: dict[bytes, str]) -> int:
        """Bytes that a request may have."""
        is_upload = path == "/pages"
        most = self._settings.max_upload_bytes if is_upload else self._settings.max_picture_bytes
        announced = headers.get(b"content-length", "0")
        if not announced.isascii() or not announced.isdigit():
            raise Refusal(400, "Content-Length is no number")
        if int(announced[:20]) > most:
            raise _too_large(most)
        return most

    def _shared_with(self, origin: str | None) -> Headers:
        """What lets the pages of an origin that was named read answers."""
        if origin is None or origin not in self._settings.origins:
            return []
        return [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]

    def _preflight(self, origin: str) -> Headers:
        if origin not in self._settings.origins:
            return []
        return [
            (b"access-control-allow-methods", _METHODS.encode()),
            (b"access-control-allow-headers", b"authorization, content-type, accept"),
            (b"access-control-max-age", b"600"),
        ]


class _Limited:
    """Receives a request of bounded size, whose parts come without long pauses."""

    def __init__(self, receive: Receive, most: int, headers: dict[bytes, str]) -> None:
        self._receive, self._most = receive, most
        self._read = 0
        self._more = True

    async def __call__(self) -> Message:
        """The next part of it.

        Raises:
            Refusal: It is too large, or too slow.
        """
        if not self._more:  # from now on only the end of the connection is awaited
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), _SILENCE)
        except TimeoutError:
            raise Refusal(408, "the request came too slowly; send it again") from None
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            raise _too_large(self._most)
        self._more = bool(message.get("more_body", False))
        return message


class _WithHeaders:
    """Sends an answer with the headers that all answers have."""

    def __init__(self, send: Send, further: Headers) -> None:
        self._send, self._further = send, further
        self.begun = False

    async def __call__(self, message: Message) -> None:
        """Send a part of it."""
        if message["type"] == "http.response.start":
            self.begun = True
            given: Headers = list(message.get("headers", []))
            named = {name.lower() for name, _ in given}
            for name, value in (*_HEADERS, _STRICT, (b"cache-control", b"no-store")):
                if name not in named:
                    given.append((name, value))
            message = {**message, "headers": [*given, *self._further]}
        await self._send(message)


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = b"" if refusal.status == 204 else json.dumps({"error": refusal.why}).encode()
    headers = [(b"content-length", str(len(body)).encode()), *refusal.headers]
    if body:
        headers.append((b"content-type", b"application/json"))
    if refusal.status in (408, 413):  # the rest of the request is not read
        headers.append((b"connection", b"close"))
    start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the request is larger than {most:,} bytes; send less at a time")


def _too_many(wait: float) -> Refusal:
    seconds = str(max(1, round(wait))).encode()
    return Refusal(429, "too many requests; wait a moment", [(b"retry-after", seconds)])


def _name_of(host: str) -> str:
    """A host without its port, in lower case."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
