"""How an index is served: who may ask, how much, and where uploads lie."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from metaembed_rag.errors import ServerError

SHORTEST_TOKEN = 16
"""Characters: 16 random ones are beyond guessing at any rate that a server answers."""
_MIB = 1024**2


@dataclass(frozen=True)
class ServerSettings:
    """How an index is served.

    Args:
        host: The address to listen at. Beyond loopback a token is required.
        port: 0 takes a free one.
        token: What every request has to show, as ``Authorization: Bearer TOKEN``; None for no
            token, which only loopback may have.
        uploads: Folder of uploaded files; None takes no uploads.
        read_only: Refuse uploads and deletions.
        max_upload_bytes: Of one request, all its files together; a picture as query may have a
            tenth of it.
        requests_per_minute: Of one client address; None for no limit. By default 1,200 beyond
            loopback, and no limit there.
        threads: Searches that run at once. More than the cores that there are only share them.
        waiting: Searches that wait at most; the next one is told to come again.
        waiting_writes: Uploads and deletions that wait at most.
        connections: Connections open at once at most.
        origins: Other origins whose pages may call the server from a browser (CORS).
        hosts: Names that the server answers to. By default those of loopback there, and all names
            elsewhere.
        certificate: A file of a TLS certificate (PEM), and ``key`` that of its key.
        key: See ``certificate``.

    Raises:
        ServerError: A setting that makes no sense, or that would open the index to strangers.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    uploads: str | Path | None = None
    read_only: bool = False
    max_upload_bytes: int = 200 * _MIB
    requests_per_minute: int | None = None
    threads: int = 2
    waiting: int = 64
    waiting_writes: int = 16
    connections: int = 256
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise ServerError(f"{self.port} is no port: choose one from 0 to 65535")
        for name in ("max_upload_bytes", "threads", "waiting", "waiting_writes", "connections"):
            if getattr(self, name) < 1:
                raise ServerError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.requests_per_minute is not None and self.requests_per_minute < 1:
            raise ServerError("requests_per_minute must be at least 1, or None for no limit")
        if (self.certificate is None) != (self.key is None):
            raise ServerError("a TLS certificate and its key belong together: name both")
        self._check_access()

    def _check_access(self) -> None:
        """Refuse what would let strangers in."""
        if self.token is None and not self.is_loopback:
            raise ServerError(
                f"{self.host} can be reached from other machines, so the server needs a token: "
                f"set METAEMBED_TOKEN or --token-file, or stay on 127.0.0.1"
            )
        if self.token is None:
            return
        if len(self.token) < SHORTEST_TOKEN or not _is_visible(self.token):
            raise ServerError(
                f"a token has at least {SHORTEST_TOKEN} visible ASCII characters, such as what "
                f"`python -c 'import secrets; print(secrets.token_urlsafe())'` prints"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return is_loopback(self.host)

    @property
    def max_picture_bytes(self) -> int:
        """Of a picture that is a query, or a request of JSON."""
        return max(_MIB, self.max_upload_bytes // 10)

    @property
    def rate(self) -> int | None:
        """Requests a minute of one client; None for no limit."""
        if self.requests_per_minute is None and not self.is_loopback:
            return 1_200
        return self.requests_per_minute

    @property
    def known_hosts(self) -> frozenset[str] | None:
        """Names, in lower case and without a port, that the server answers to; None for all.

        A page of another site can let its own name point to 127.0.0.1 and so read what a server
        without a token answers; the name in its requests tells (DNS rebinding).
        """
        if self.hosts:
            return frozenset(host.lower() for host in self.hosts)
        if self.is_loopback:
            return frozenset({"localhost", "127.0.0.1", "[::1]", _in_url(self.host).lower()})
        return None


def is_loopback(host: str) -> bool:
    """Whether an address is reached from its own machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def address_of(host: str, port: int, *, tls: bool) -> str:
    """What to type into a browser; the own machine where the server listens at all addresses."""
    shown = host
    with suppress(ValueError):  # a name
        given = ipaddress.ip_address(host)
        if given.is_unspecified:
            shown = "127.0.0.1" if given.version == 4 else "::1"
    return f"http{'s' if tls else ''}://{_in_url(shown)}:{port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _is_visible(token: str) -> bool:
    return all("!" <= character <= "~" for character in token)
