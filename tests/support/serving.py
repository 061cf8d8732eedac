"""A server at a port of its own, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from metaembed_rag.index import PageIndex
from metaembed_rag.model import OrderedEncoder
from metaembed_rag.serving import ServerSettings, create_app, create_encoder_app
from metaembed_rag.serving.access import Access
from metaembed_rag.serving.running import listen


@contextmanager
def running(index: PageIndex, **settings) -> Iterator[str]:
    """The address of a server that serves the index meanwhile."""
    with _running(lambda chosen: create_app(index, chosen), **settings) as address:
        yield address


@contextmanager
def encoding(encoder: OrderedEncoder, **settings) -> Iterator[str]:
    """The address of a server that serves the encoder meanwhile."""
    with _running(lambda chosen: create_encoder_app(encoder, chosen), **settings) as address:
        yield address


@contextmanager
def _running(make: Callable[[ServerSettings], Access], **settings) -> Iterator[str]:
    chosen = ServerSettings(**{"port": 0, **settings})
    with listen(chosen) as taken:
        config = uvicorn.Config(make(chosen), log_level="error", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
