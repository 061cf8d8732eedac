"""What every test shares."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from metaembed_rag.model import checkpoints

if TYPE_CHECKING:
    from metaembed_rag.index import PageIndex
    from metaembed_rag.store.systems import LocalClient
    from metaembed_rag.testing import FakeEncoder

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores run already. Said before torch is loaded, and to every child.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
for name in ("METAEMBED_INDEX", "METAEMBED_MODEL", "METAEMBED_BUDGET"):
    os.environ.pop(name, None)

# Tests that name no model take the shipped one that encodes thirty pages a second.
checkpoints.DEFAULT_MODEL = "mini"


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """``os.fsync`` does nothing in this process: what the tests read comes from memory.

    An index in memory calls it 15 times when it is made, 1 to 5 ms each; processes that a test
    starts and kills still wait for the disk.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


_engine_in_memory: list[LocalClient] = []


@pytest.fixture(autouse=True)
def the_engine_in_memory_goes_on(request) -> None:
    """Chroma in memory starts once in a process, not with each test's index: 15 ms each.

    It starts no sooner than something has imported the store.
    """
    systems = sys.modules.get("metaembed_rag.store.systems")
    if (
        systems
        and not _engine_in_memory
        and "the_engine_in_memory_ends" not in request.fixturenames
    ):
        _engine_in_memory.append(systems.memory_client())


@pytest.fixture
def the_engine_in_memory_ends() -> None:
    """As in a user's process: Chroma in memory ends with the last index there."""
    while _engine_in_memory:
        _engine_in_memory.pop().close()


def pytest_collection_finish() -> None:
    """Look no more for garbage in what was imported: half a second each time, and each training
    run looks through everything."""
    with suppress(ImportError):  # it warns of a generator that it cannot find among what is frozen
        import hypothesis  # noqa: F401
    gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module that holds whole programs only where these are left out: seconds each."""
    if "not integration" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    mark = "\npytestmark = pytest.mark.integration\n"
    return True if mark in collection_path.read_text(encoding="utf-8") else None


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real evaluation sets; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("METAEMBED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not at {folder} (set METAEMBED_DATA)")
    return folder


@pytest.fixture
def shapes(monkeypatch) -> list[tuple[int, int]]:
    """The budget that ranks, (query vectors, page vectors), of each search and each scoring."""
    from metaembed_rag.search import cascade, sources

    seen: list[tuple[int, int]] = []
    real = cascade.maxsim_unrounded

    def recording(query, levels, budget, rows):
        vectors = sum(level.values.shape[1] for level in levels)
        seen.append((min(budget.r_q, query.exact.shape[1]), min(budget.r_c, vectors)))
        return real(query, levels, budget, rows)

    for module in (cascade, sources):
        monkeypatch.setattr(module, "maxsim_unrounded", recording)
    return seen


@pytest.fixture
def encoder() -> FakeEncoder:
    """An encoder without weights."""
    from metaembed_rag.testing import FakeEncoder

    return FakeEncoder()


@pytest.fixture
def index(encoder) -> PageIndex:
    """In memory: two pages of ``fruit.pdf``, the first with a red picture, and one of ``sea.pdf``
    with a blue one."""
    from PIL import Image

    from metaembed_rag.pages import Page
    from tests.support.indexes import index_of

    red, blue = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    pages = [
        Page(source="fruit.pdf", number=1, text="red apples", image=red, metadata={"year": 1}),
        Page(source="fruit.pdf", number=2, text="green pears", metadata={"year": 2}),
        Page(source="sea.pdf", number=1, text="blue whales swim", image=blue),
    ]
    return index_of(pages, encoder)


@pytest.fixture
def vectors_alone(monkeypatch) -> None:
    """New indexes say of themselves that words count only where they are asked for."""
    from metaembed_rag import opening

    monkeypatch.setattr(opening, "HYBRID_AUTO", "")


@pytest.fixture
def loaded(monkeypatch, encoder) -> None:
    """Any checkpoint's name loads the encoder without weights."""
    loader = SimpleNamespace(from_pretrained=lambda name, *, device=None: encoder)
    monkeypatch.setattr("metaembed_rag.model.MetaEmbedEncoder", loader, raising=False)


@pytest.fixture
def loop_went_on(monkeypatch, encoder) -> threading.Event:
    """What the encoder waits for from now on, and only an event loop that is free can set."""
    went_on = threading.Event()
    for name in ("encode_query", "encode_document"):
        real = getattr(encoder, name)

        def waiting(inputs, real=real, **options):
            assert went_on.wait(timeout=2)
            return real(inputs)

        monkeypatch.setattr(encoder, name, waiting)
    return went_on


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """LlamaIndex's instrumentation events, in order."""
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler

    seen: list[Any] = []

    class Recorder(BaseEventHandler):
        @classmethod
        def class_name(cls) -> str:
            return "Recorder"

        def handle(self, event: Any, **kwargs: Any) -> None:
            seen.append(event)

    root = get_dispatcher()
    recorder = Recorder()
    root.add_event_handler(recorder)
    yield seen
    root.event_handlers.remove(recorder)


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[str]:
    """The address of a Chroma server; tests that write to it name collections of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("chroma")
    run = [program, "run", "--path", tmp_path_factory.mktemp("server"), "--port", str(port)]
    run += ["--host", "127.0.0.1"]
    with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


@pytest.fixture
def acme(server) -> tuple[str, str]:
    """A tenant with a database of its own on the server."""
    import chromadb
    from chromadb.config import Settings

    host, port = server.removeprefix("http://").split(":")
    settings = Settings(
        chroma_api_impl="chromadb.api.fastapi.FastAPI",
        chroma_server_host=host,
        chroma_server_http_port=int(port),
    )
    admin, tenant = chromadb.AdminClient(settings), f"acme-{uuid4().hex[:6]}"
    admin.create_tenant(tenant)
    admin.create_database("reports", tenant)
    return tenant, "reports"


@pytest.fixture
def run(capsys) -> Callable[..., tuple[str, str]]:
    """Run the command line: ``run(*arguments, code=0)`` gives its output and its messages."""
    from metaembed_rag import cli

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        try:
            got = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            got = stop.code
        out, err = capsys.readouterr()
        assert got == code, err
        assert "Traceback" not in err
        return out, err

    return run
