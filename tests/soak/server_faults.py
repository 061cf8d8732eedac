"""What fails between an index and a server: of Chroma, or of a model."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from tests.soak.promises import PAGES, PATIENCE, TIMEOUT, Wrong, ends
from tests.soak.servers import server
from tests.soak.state import encoder, pages_of, problems, versions
from tests.support.servers import FakeServer, Proxy, proxy, silence

_ANSWERS = {
    "413": (413, {}, b"too large"),
    "429": (429, {"Retry-After": "1"}, b"later"),
    "503": (503, {}, b"busy"),
    "500": (500, {}, b"oh"),
    "garbage": (200, {"Content-Type": "application/json"}, b"\xff{[not json"),
    "html": (200, {"Content-Type": "text/html"}, b"<html>hello</html>"),
    "another version": (200, {"Content-Type": "application/json"}, b'{"version": "99", "ids": 5}'),
    "empty": (200, {}, b""),
}


def _chroma(folder: Path, use: Callable[[Proxy, PageIndex], None]) -> None:
    """An index on a server of Chroma behind a proxy that misbehaves, and then no more."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    with (
        server(folder / "server") as chroma,
        proxy(chroma.address) as between,
        PageIndex.open(between.address, encoder(), timeout=TIMEOUT) as index,
    ):
        index.add(pages_of(range(PAGES), 1))
        use(between, index)
        between.always = None
        between.silent.clear()
        have = versions(index)
        if lost := [n for n in range(PAGES) if have.get(f"doc{n}#1") != 1]:
            raise Wrong("lost", f"pages {lost}")
        if found := problems(index):
            raise Wrong("wrong", found[0])


def a_server_that_answers_nonsense(folder: Path) -> None:
    def use(between: Proxy, index: PageIndex) -> None:
        for answer in _ANSWERS.values():
            between.always = answer
            ends("search", lambda: index.search("apple", hybrid=False), TIMEOUT + PATIENCE)
            ends("add", lambda: index.add(pages_of(range(100, 103), 1)), TIMEOUT + PATIENCE)

    _chroma(folder, use)


def a_server_that_falls_silent(folder: Path) -> None:
    def use(between: Proxy, index: PageIndex) -> None:
        between.silent.set()
        for call in (lambda: index.search("apple"), lambda: index.delete(["doc100#1"])):
            ends("a silent server", call, TIMEOUT + PATIENCE)

    _chroma(folder, use)


def a_server_that_is_killed(folder: Path) -> None:
    """In the middle of what it is given, five times; what was acknowledged is there."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    acknowledged: set[str] = set()
    with (
        server(folder / "server") as chroma,
        PageIndex.open(chroma.address, encoder(), timeout=TIMEOUT) as index,
    ):

        def add(pages: list[Page]) -> None:
            index.add(pages, batch_size=4, progress=lambda done: acknowledged.update(done.ids))

        for turn in range(5):
            pages = pages_of(range(turn * 40, turn * 40 + 40), 1)
            killer = threading.Timer(0.05 + 0.1 * turn, chroma.kill)
            killer.start()
            ends("add", partial(add, pages))
            killer.join()
            ends("search", lambda: index.search("apple"), TIMEOUT + PATIENCE)
            chroma.start()
            _known(index, acknowledged)
            add(pages)
            _known(index, {*acknowledged, *(page.id for page in pages)})
        if found := problems(index):
            raise Wrong("wrong", found[0])


def _known(index: PageIndex, acknowledged: set[str]) -> None:
    """Every page is there that was acknowledged."""
    if lost := acknowledged - set(index.ids()):
        raise Wrong("lost", f"{sorted(lost)}")


def a_server_that_is_not_there(folder: Path) -> None:
    with silence() as address:
        for where in (address, "http://127.0.0.1:9"):
            ends(
                "opening",
                lambda where=where: PageIndex.open(where, encoder(), timeout=TIMEOUT),
                TIMEOUT + PATIENCE,
            )


def a_model_server_that_answers_nonsense(folder: Path) -> None:
    from metaembed_rag.model.remote import RemoteEncoder

    server = FakeServer()
    try:
        name = f"{server.address}#colbert?timeout=1"
        made = RemoteEncoder.connect(name)
        for status, headers, body in _ANSWERS.values():
            server.failures[:] = [(status, headers, body.decode("latin-1"))] * 9
            ends("a model server", lambda: made.encode_query(["a"]), TIMEOUT + PATIENCE)
    finally:
        server.close()
