"""Servers without a port: HTTP by TestClient, the encoder without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.serving import ServerSettings, create_app
from metaembed_rag.testing import FakeEncoder

TOKEN = "a token that is long enough"[:26].replace(" ", "-")
LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of the user's files, whose name nobody else should learn."""
    made = tmp_path / "private-folder"
    made.mkdir()
    return made


@pytest.fixture
def served(tmp_path, folder) -> Iterator[PageIndex]:
    """An index in a folder: two pages of a file, the first with a picture, and one of a name."""
    red = Image.new("RGB", (40, 30), "red")
    source = (folder / "fruit.pdf").as_posix()
    pages = [
        Page(source, 1, "red apples", red, {"year": 1}, page_count=2),
        Page(source, 2, "green pears and apples", metadata={"year": 2}, page_count=2),
        Page("sea", 1, "blue whales swim"),
    ]
    with PageIndex.open(tmp_path / "kept-index", FakeEncoder()) as index:
        index.add(pages)
        yield index


@pytest.fixture
def client(served, tmp_path) -> Iterator[Callable[..., TestClient]]:
    """Makes a client of a server with such settings."""
    with ExitStack() as stack:

        def make(*, origin: str = LOCAL, client: str = "127.0.0.1", **settings) -> TestClient:
            chosen = {"uploads": tmp_path / "uploads", **settings}
            app = create_app(served, ServerSettings(**chosen))
            made = TestClient(
                app, base_url=origin, client=(client, 50_000), raise_server_exceptions=False
            )
            return stack.enter_context(made)

        yield make
