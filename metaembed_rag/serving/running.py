"""Running the server until it is told to end."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from metaembed_rag.errors import ServerError
from metaembed_rag.index import PageIndex
from metaembed_rag.model import OrderedEncoder
from metaembed_rag.serving.app import Server
from metaembed_rag.serving.encoder_app import EncoderServer
from metaembed_rag.serving.settings import ServerSettings, address_of

_DRAIN = 15
"""Seconds that running requests have at the end."""
_BACKLOG = 512


def listen(settings: ServerSettings) -> socket.socket:
    """Take the port, before a model is loaded in vain.

    Raises:
        ServerError: It is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host.strip("[]"), settings.port)
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            raise ServerError(
                f"{where} is taken by another program; choose another --port"
            ) from error
        raise ServerError(f"cannot listen at {where}: {error.strerror or error}") from error


def serve(
    index: PageIndex,
    settings: ServerSettings,
    *,
    listening: socket.socket | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve an index until SIGINT or SIGTERM: then what runs is answered, for at most 15 seconds.

    The model is loaded before the first request is taken. What was acknowledged is stored; an
    upload that is being indexed stops after its batch.

    Args:
        index: Open; it stays open.
        settings: Where, for whom, how much.
        listening: The socket, where the port was taken before.
        ready: Called with the address once requests are taken.

    Raises:
        ServerError: The port is taken, or the address is none of this machine.
        MetaEmbedError: The model cannot be loaded, or the index not be read.
    """
    with listening or listen(settings) as taken:
        _run(Server(index, settings), settings, taken, ready)


def serve_encoder(
    encoder: OrderedEncoder,
    settings: ServerSettings,
    *,
    listening: socket.socket | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve an encoder without an index until SIGINT or SIGTERM.

    Args:
        encoder: Loaded.
        settings: Where, for whom, how much; what is about an index does not count.
        listening: The socket, where the port was taken before.
        ready: Called with the address once requests are taken.

    Raises:
        ServerError: The port is taken, or the address is none of this machine.
    """
    with listening or listen(settings) as taken:
        _run(EncoderServer(encoder, settings), settings, taken, ready)


def _run(
    server: Server | EncoderServer,
    settings: ServerSettings,
    taken: socket.socket,
    ready: Callable[[str], None] | None,
) -> None:
    server.service.warm()
    port = taken.getsockname()[1]
    tls = settings.certificate is not None
    running = _Uvicorn(
        uvicorn.Config(
            server.app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=settings.connections,
            timeout_graceful_shutdown=_DRAIN,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
        ),
        server.stop,
    )
    if ready is not None:
        ready(address_of(settings.host, port, tls=tls))
    with _ended_by_signals():
        running.run(sockets=[taken])


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the server, and not this process before the index is closed.

    uvicorn raises what it has caught once more when it has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(one, lambda number, frame: None) for one in signals]
    try:
        yield
    finally:
        for one, handler in zip(signals, before, strict=True):
            signal.signal(one, handler)


class _Uvicorn(uvicorn.Server):
    """Tells the writer at once that the process is to end: it would hold the end up."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stop()
        super().handle_exit(sig, frame)
