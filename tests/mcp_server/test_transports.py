"""``metaembed mcp`` with a client of the official SDK: as a program, and over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from PIL import Image

from metaembed_rag.errors import StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.mcp_server import HttpPlace, PageTools
from metaembed_rag.mcp_server.http import http_app
from metaembed_rag.model import MetaEmbedEncoder, shipped_checkpoints
from metaembed_rag.pages import Page
from tests.mcp_server.conftest import BLUE, Answer

TOKEN = "a-token-of-the-tests"

needs_mini = pytest.mark.skipif("mini" not in shipped_checkpoints(), reason="mini is not there")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An index of two pictures with texts, made with the shipped model."""
    where = tmp_path_factory.mktemp("mcp") / "index"
    with PageIndex.open(where, MetaEmbedEncoder.from_pretrained("mini")) as index:
        for name, text in (("red", "The harvest of apples"), ("blue", "Whales of the oceans")):
            image = Image.new("RGB", (40, 30), name)
            index.add([Page(source=f"/papers/{name}.pdf", text=text, image=image)])
    return where


def program(*arguments: object) -> list[str]:
    return ["-m", "metaembed_rag.cli", "mcp", *map(str, arguments)]


@pytest.mark.integration
@needs_mini
def test_a_client_over_stdio_receives_the_picture_of_the_right_page(folder, tmp_path):
    async def asked() -> list[Answer]:
        server = StdioServerParameters(
            command=sys.executable, args=program("--index", folder), env=dict(os.environ)
        )
        async with Client(server) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == [
                "search_pages",
                "get_page",
                "list_sources",
            ]
            wanted = {"query": "which animals swim in the sea", "budget": "4,8", "k": 1}
            calls = [("search_pages", wanted), ("list_sources", {}), ("get_page", {"id": "none"})]
            return [Answer(await client.call_tool(name, given)) for name, given in calls]

    found, listed, refused = asyncio.run(asked())
    assert not found.failed
    assert "blue.pdf, page 1" in found.text
    assert found.colours == [BLUE]
    assert listed.text.splitlines()[1:] == ["blue.pdf: 1 page", "red.pdf: 1 page"]
    assert refused.failed


@pytest.mark.integration
@needs_mini
def test_only_the_protocol_is_on_standard_output(folder):
    """Whatever a line of it is, a client reads it as JSON."""
    asked = (
        '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",'
        '"capabilities":{},"clientInfo":{"name":"test","version":"1"}}}\n'
    )
    done = subprocess.run(
        [sys.executable, *program("--index", folder)],
        input=asked,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert line.startswith('{"jsonrpc":"2.0","id":1,"result":')
    assert done.stderr.startswith("metaembed: 2 pages of ")
    assert "Traceback" not in done.stderr


@pytest.mark.integration
@needs_mini
def test_the_program_serves_http_until_it_is_stopped(folder):
    with subprocess.Popen(
        [sys.executable, *program("--index", folder, "--http", "--port", 0)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        said = [process.stderr.readline(), process.stderr.readline()]
        address = said[1].rpartition(" ")[2].strip()
        assert address.endswith("/mcp")
        found = asyncio.run(searched(address, "which animals swim in the sea"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert found.colours == [BLUE]
    assert out == ""
    assert "Traceback" not in err
    assert process.returncode in (0, 130)


async def searched(address: str, query: str, token: str | None = None) -> Answer:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with create_mcp_http_client(headers=headers) as http:
        transport = streamable_http_client(address, http_client=http)
        async with Client(transport) as client:
            return Answer(await client.call_tool("search_pages", {"query": query, "k": 1}))


@pytest.fixture
def address(index) -> Iterator[str]:
    """A server in this process that wants a token."""
    app = http_app(PageTools(index), HttpPlace(token=TOKEN))
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/mcp"
    server.should_exit = True
    thread.join()


def test_a_client_with_the_token_is_answered_over_http(address):
    answer = asyncio.run(searched(address, "blue whales", TOKEN))
    assert not answer.failed
    assert answer.colours == [BLUE]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Cookie": f"token={TOKEN}"},
    ],
)
def test_without_the_token_nobody_is(address, headers):
    answer = httpx.post(address, json={}, headers=headers)
    assert answer.status_code == 401
    assert "send the header Authorization" in answer.text
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 400),
    ],
)
def test_a_page_in_a_browser_cannot_ask_a_server_on_loopback(address, headers, status):
    given = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **headers}
    answer = httpx.post(address, content=b"{}", headers=given)
    assert answer.status_code == status
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_request_of_megabytes_is_refused(address):
    given = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    answer = httpx.post(address, content=b" " * 1_000_001, headers=given)
    assert answer.status_code == 413


def test_beyond_loopback_a_token_is_needed():
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org"):
        with pytest.raises(StoreError, match="can be reached by other machines: set a token"):
            HttpPlace(host)
        assert TOKEN not in repr(HttpPlace(host, token=TOKEN))
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        assert HttpPlace(host).is_loopback


@pytest.mark.parametrize("token", ["", "short", "ä" * 20, "a line\nand another one"])
def test_a_token_that_is_none_is_refused(token):
    with pytest.raises(StoreError, match="at least 16 characters") as refused:
        HttpPlace(token=token)
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--port", "8000"], 2, "--host, --port and --token are for --http"),
        (["--http", "--port", "99999"], 2, "is no port"),
        (["--http", "--host", "0.0.0.0"], 1, "set a token that clients have to send"),
        (["--http", "--token", "short"], 1, "a token has at least 16 characters"),
        (["--http"], 1, "no index"),
        ([], 1, "no index"),
        (["--max-picture-bytes", "-1"], 2, "is not a whole number of at least 0"),
    ],
)
def test_wrong_usage_is_a_sentence(run, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.delenv("METAEMBED_TOKEN", raising=False)
    out, err = run("mcp", "--index", tmp_path / "none", *arguments, code=code)
    assert out == ""
    assert said in err


def test_a_port_that_is_taken_is_a_sentence(index):
    import socket

    from metaembed_rag.mcp_server import serve_http

    with socket.create_server(("127.0.0.1", 0)) as taken:
        place: Any = HttpPlace(port=taken.getsockname()[1])
        with pytest.raises(StoreError, match="cannot listen on 127.0.0.1"):
            serve_http(PageTools(index), place, lambda url: None)
