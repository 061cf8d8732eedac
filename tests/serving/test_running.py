"""The whole program: started, asked, and ended by a signal."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metaembed_rag.errors import ServerError
from metaembed_rag.federation.client import Server
from metaembed_rag.index import PageIndex
from metaembed_rag.serving import ServerSettings
from metaembed_rag.serving.running import listen
from metaembed_rag.testing import FakeEncoder

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
from metaembed_rag.index import PageIndex
from metaembed_rag.serving import ServerSettings, serve
from metaembed_rag.testing import FakeEncoder
with PageIndex.open(sys.argv[1], FakeEncoder()) as index:
    settings = ServerSettings(port=0, uploads=sys.argv[2])
    serve(index, settings, ready=lambda address: print(address, flush=True))
print("closed", flush=True)
"""


@contextmanager
def program(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of the encoder without weights, in a process of its own."""
    places = [str(tmp_path / name) for name in ("index", "uploads")]
    run = [sys.executable, "-c", PROGRAM, *places]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        try:
            yield process, address
        finally:
            process.kill()


def test_ended_in_the_middle_of_an_upload_it_keeps_what_it_acknowledged(tmp_path):
    text = "\n\n".join(f"# Section {n}\n\n" + f"word{n} " * 300 for n in range(400))
    with program(tmp_path) as (process, address):
        told: list[tuple[str, dict]] = []
        for name, data in Server(address).events("/pages", [("files", "long.md", text.encode())]):
            told.append((name, data))
            if name == "progress" and process.poll() is None and len(told) == 2:
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stdout is not None and process.stdout.read() == "closed\n"
    acknowledged = max(data["done"] for name, data in told if name == "progress")
    with PageIndex.open(tmp_path / "index", FakeEncoder(), create=False) as index:
        assert len(index) >= acknowledged > 0
        assert index.check().is_sound
    if told[-1][0] == "error":  # it was stopped between two batches
        assert told[-1][1]["status"] == 503 and "shutting down" in told[-1][1]["error"]


def test_ctrl_c_ends_it_too(tmp_path):
    with program(tmp_path) as (process, address):
        assert Server(address).get("/health") == {"status": "ok"}
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match="taken by another program"):
            listen(ServerSettings(port=port))
        _, said = run("serve", "--index", tmp_path / "none", "--port", port, code=1)
    assert "choose another --port" in said


def test_the_command_refuses_what_would_be_open_to_all(run, tmp_path, monkeypatch):
    _, said = run("serve", "--index", tmp_path, "--host", "0.0.0.0", code=1)
    assert "needs a token" in said and "METAEMBED_TOKEN" in said
    monkeypatch.setenv("METAEMBED_TOKEN", "short")
    _, said = run("serve", "--index", tmp_path, "--host", "0.0.0.0", code=1)
    assert "at least 16" in said and "short" not in said.replace("shortest", "")
    _, said = run("serve", "--index", tmp_path, "--token-file", tmp_path / "none", code=1)
    assert "token file" in said
    run("serve", "--index", tmp_path, "--token", "a", "--token-file", "b", code=2)
    _, said = run("serve", "--index", tmp_path, "--tls-certificate", "none.pem", code=1)
    assert "none.pem is no file" in said


def test_an_index_that_is_not_there_is_said(run, tmp_path):
    _, said = run("serve", "--index", tmp_path / "none", "--port", 0, code=1)
    assert "no index" in said and json.dumps(str(tmp_path))[1:-1] in said
