"""The extra ``client`` alone: models and indexes on servers, without torch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support import house

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.network]

TOKEN = "a-token-that-is-long-enough"

PROGRAM = """
import importlib.util, json, sys
from pathlib import Path
from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages
store, encoder, folder = sys.argv[1:]
model = MetaEmbedEncoder.from_pretrained(encoder)
with PageIndex.open(store, model, collection="thin") as index:
    report = index.add(load_pages(folder))
    found = index.search("a red fox", 1, budget="4,8")
    every = index.search("a red fox", 3, exhaustive=True)
loaded = [name for name in ("torch", "transformers", "scipy", "onnxruntime") if name in sys.modules]
there = [name for name in ("torch", "transformers") if importlib.util.find_spec(name)]
print(json.dumps({
    "added": report.added, "first": Path(found[0].page.source).name,
    "scores": [hit.score for hit in every], "loaded": loaded, "there": there,
    "fingerprint": model.fingerprint,
}))
"""

FOLDER_PROGRAM = """
from metaembed_rag import MetaEmbedEncoder, PageIndex
from metaembed_rag.errors import MissingExtraError
from metaembed_rag.testing import FakeEncoder
for call in (lambda: MetaEmbedEncoder.from_pretrained("mini"),
             lambda: PageIndex.open("here", FakeEncoder())):
    try:
        call()
    except MissingExtraError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def thin(tmp_path_factory) -> Path:
    """The interpreter of an environment with the built wheel and its extra ``client``."""
    place = tmp_path_factory.mktemp("thin")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq"]
    build = [*pip, "wheel", "--no-deps", "--wheel-dir", str(place), str(house.ROOT)]
    subprocess.run(build, check=True, timeout=280)
    (wheel,) = place.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True, timeout=120)
    python = place / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
    subprocess.run([*install, f"{wheel}[client]"], check=True, timeout=280)
    return python


@contextmanager
def _encoder_server() -> Iterator[str]:
    """The address of ``metaembed serve --encoder-only``, run from this environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = [sys.executable, "-m", "metaembed_rag.cli", "serve", "--encoder-only", "--model", "mini"]
    environment = {**os.environ, "METAEMBED_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen([*run, "--port", str(port)], env=environment) as process:
        try:
            deadline = time.monotonic() + 120
            while not _answers(address):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _run(python: Path, program: str, *arguments: str, folder: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=folder,
        env={**kept, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kernel", ["", "portable"], ids=["compiled", "numpy"])
@pytest.mark.timeout(900)
def test_a_client_adds_and_searches_without_torch(thin, server, tmp_path, kernel):
    texts = {"fox": "a red fox", "sea": "blue whales swim", "pear": "green pears on a table"}
    (tmp_path / "files").mkdir()
    for name, text in texts.items():
        (tmp_path / "files" / f"{name}.txt").write_text(f"{text} {kernel}")
    with _encoder_server() as encoder:
        arguments = (server, encoder, str(tmp_path / "files"))
        keys = {"METAEMBED_API_KEY": TOKEN, "METAEMBED_KERNEL": kernel}
        out = json.loads(_run(thin, PROGRAM, *arguments, folder=tmp_path, **keys))
        line = ["search", "whales", "--index", server, "--collection", "thin", "--model", encoder]
        command = f"from metaembed_rag.cli import main; raise SystemExit(main({[*line, '--json']}))"
        found = json.loads(_run(thin, command, folder=tmp_path, **keys))
    assert Path(found["hits"][0]["source"]).name == "sea.txt"
    assert (out["loaded"], out["there"]) == ([], [])
    assert (out["added"], out["first"], len(out["scores"])) == (3, "fox.txt", 3)
    assert len(out["fingerprint"]) == 32


def test_what_a_client_lacks_is_named_with_the_command_that_brings_it(thin, tmp_path):
    model, folder = _run(thin, FOLDER_PROGRAM, folder=tmp_path).splitlines()
    assert "pip install '.[local]'" in model and "'torch'" in model
    assert "pip uninstall chromadb-client" in folder and "pip install '.[local]'" in folder


def test_the_command_line_of_a_client_starts(thin, tmp_path):
    done = subprocess.run(
        [thin.with_name("metaembed"), "search", "x", "--index", "no-such-folder"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
