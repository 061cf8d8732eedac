"""The server over HTTP (the protocol's streamable transport): on loopback, or with a token."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from metaembed_rag.errors import StoreError
from metaembed_rag.mcp_server.pages import PageTools
from metaembed_rag.mcp_server.server import build_server

PATH = "/mcp"
_MOST_SESSIONS = 256
_MOST_REQUEST_BYTES = 1_000_000
_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class HttpPlace:
    """Where the server listens, and who may ask.

    Args:
        host: Name or address; loopback by default.
        port: 0 takes any that is free.
        token: What a client sends as ``Authorization: Bearer …``; needed beyond loopback.

    Raises:
        StoreError: There is no token beyond loopback, or it is shorter than 16 characters.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token is None and not self.is_loopback:
            raise StoreError(
                f"{self.host} can be reached by other machines: set a token that clients have to "
                f"send, or listen on 127.0.0.1"
            )
        if self.token is not None and not (
            len(self.token) >= _SHORTEST_TOKEN and self.token.isascii() and self.token.isprintable()
        ):
            raise StoreError(
                f"a token has at least {_SHORTEST_TOKEN} characters of ASCII; "
                f'python -c "import secrets; print(secrets.token_urlsafe())" makes one'
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def http_app(tools: PageTools, place: HttpPlace) -> ASGIApp:
    """The server as an ASGI application, with all that guards it.

    On loopback the names of the host and of the origin are checked, so that no page in a browser
    can ask it; beyond, the token keeps them out. It sends no CORS headers.
    """
    names = dict.fromkeys((place.host, "127.0.0.1", "localhost", "[::1]"))
    hosts = [f"{name}:*" for name in names]
    app: ASGIApp = build_server(tools).streamable_http_app(
        streamable_http_path=PATH,
        host=place.host,
        max_request_body_size=_MOST_REQUEST_BYTES,
        max_sessions=_MOST_SESSIONS,
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=place.is_loopback,
            allowed_hosts=hosts,
            allowed_origins=[f"http://{host}" for host in hosts],
        ),
    )
    return app if place.token is None else _Guard(app, place.token)


class _Guard:
    """Lets only requests with the token pass."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._allowed(scope):
            refused = PlainTextResponse(
                "This server wants its token: send the header Authorization: Bearer TOKEN.\n",
                status_code=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token, self._token)


def serve_http(tools: PageTools, place: HttpPlace, started: Callable[[str], None]) -> None:
    """Answer over HTTP until the process is told to stop.

    Args:
        tools: What clients ask.
        place: Where.
        started: Called with the address once it can be asked.

    Raises:
        StoreError: The address cannot be listened on.
    """
    bound = _bound(place)
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        http_app(tools, place),
        log_config=None,  # its own would write each request to standard output
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    started(f"http://{shown}:{port}{PATH}")
    with bound:
        uvicorn.Server(config).run(sockets=[bound])


def _bound(place: HttpPlace) -> socket.socket:
    try:
        family = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((place.host, place.port), family=family)
    except (OSError, OverflowError) as error:
        raise StoreError(f"cannot listen on {place.host}:{place.port}: {error}") from error
