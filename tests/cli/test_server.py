"""``--server``: a running server is asked, and nothing is loaded here."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading

import pytest
from PIL import Image

from metaembed_rag.errors import ServerError
from metaembed_rag.federation.client import Server
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support.serving import running

TOKEN = "0123456789abcdef-secret"

HEAVY = ("torch", "numpy", "chromadb", "PIL", "httpx", "pydantic", "transformers", "fastapi")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    red = Image.new("RGB", (40, 30), "red")
    pages = [
        Page("/private/fruit.pdf", 1, "red apples", red, {"year": 1, "section": "Fruit"}),
        Page("/private/fruit.pdf", 2, "green pears", metadata={"year": 2}),
        Page("sea", 1, "blue whales"),
    ]
    with PageIndex.open(folder / "index", FakeEncoder()) as index:
        index.add(pages)
        yield index


@pytest.fixture(scope="module")
def address(index, tmp_path_factory):
    with running(index, uploads=tmp_path_factory.mktemp("uploads")) as address:
        yield address


def test_a_search_prints_what_a_search_of_the_index_prints(run, index, address):
    out, err = run("search", "apples pears", "--server", address, "-k", 2, "--budget", "2,4")
    hits = index.search("apples pears", 2, budget="2,4")
    assert f"1. {hits[0].score:.3f}  fruit.pdf  page {hits[0].page.number}" in out
    assert out.startswith("budget (2,4), with BM25, 2 of 3 pages") and err == ""
    assert f"picture: {address}/pages/" in out and "/private" not in out


def test_its_json_has_the_keys_of_a_search_of_the_index(run, index, address):
    found = json.loads(run("search", "apples", "--server", address, "--json", "-k", 3)[0])
    here = index.search("apples", 3).to_dict()
    assert list(found) == list(here)
    assert [set(hit) for hit in found["hits"]] == [set(hit) for hit in here["hits"]]
    assert [hit["score"] for hit in found["hits"]] == [hit["score"] for hit in here["hits"]]


@pytest.mark.parametrize(
    ("options", "pages"),
    [
        (("apples", "--where", "year=2"), ["fruit.pdf 2"]),
        (("apples", "--where", "source=sea"), ["sea 1"]),
        (("apples", "--where", "source=fruit.pdf", "-k", "1"), ["fruit.pdf 1"]),
        (("whales", "--where-text", "blue"), ["sea 1"]),
        (("whales", "-k", "1", "--no-hybrid", "--exhaustive"), ["sea 1"]),
        (("whales", "-k", "1", "--candidates", "3"), ["sea 1"]),
    ],
)
def test_options_go_with_the_question(run, address, options, pages):
    found = json.loads(run("search", *options, "--server", address, "--json")[0])
    assert [f"{hit['source']} {hit['page']}" for hit in found["hits"]] == pages


def test_a_picture_is_sent(run, address, tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / 'a "b".png')
    out, _ = run(
        "search", "--image", tmp_path / 'a "b".png', "--server", address, "-k", 1, "--json"
    )
    assert json.loads(out)["hits"][0]["text"] == "red apples"
    _, err = run("search", "--image", tmp_path / "none.png", "--server", address, code=1)
    assert "none.png" in err


def test_info_uploads_and_deletions(run, address, tmp_path):
    info = json.loads(run("info", "--server", address, "--json")[0])
    assert info["pages"] == 3 and info["index"] == "index"
    assert "model" in run("info", "--server", address)[0]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "tea.md").write_text("# Tea\n\ngreen tea")
    (tmp_path / "more" / "skip.exe").write_text("no")
    (tmp_path / "more" / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    out, err = run("index", tmp_path / "more", "--server", address, code=1)
    assert out.startswith("1 added") and "1 skipped: 4 pages" in out and "bad.pdf" in err
    out, _ = run("index", tmp_path / "more" / "tea.md", "--server", address, "--json", "--quiet")
    assert json.loads(out)["unchanged"] == 1
    out, _ = run("delete", "--source", "tea.md", "--server", address)
    assert out.startswith("1 page deleted: 3 pages")
    _, err = run("delete", "--source", "tea.md", "--server", address, code=1)
    assert "no file of the index" in err
    run("index", tmp_path / "nothing", "--server", address, code=1)


def test_files_of_other_kinds_are_named_and_failures_may_be_allowed(run, address, tmp_path):
    (tmp_path / "song.mp3").write_text("no")
    (tmp_path / "oats.csv").write_text("grain,price\noats,5")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    out, err = run("index", tmp_path, "--server", address, "--json", "--allow-failures")
    report = json.loads(out)
    assert report["added"] == 1 and report["ignored"] == [(tmp_path / "song.mp3").as_posix()]
    assert "song.mp3" in err and "bad.pdf: is damaged" in err
    run("delete", "--source", "oats.csv", "--server", address)


def test_a_file_larger_than_the_server_takes_is_skipped_and_others_are_sent(run, index, tmp_path):
    (tmp_path / "large.txt").write_text("word " * 2_000)
    (tmp_path / "small.txt").write_text("yellow bananas")
    with running(index, uploads=tmp_path / "up", max_upload_bytes=5_000) as address:
        out, err = run("index", tmp_path, "--server", address, code=1)
        assert out.startswith("1 added") and "1 skipped" in out
        assert "large.txt: is larger than the 5,000 bytes" in err
        run("delete", "--source", "small.txt", "--server", address)


def test_what_is_named_and_cannot_be_sent_is_skipped_and_others_are_sent(run, address, tmp_path):
    (tmp_path / "first.txt").write_text("brown pears")
    (tmp_path / "note.xyz").write_text("no")
    (tmp_path / "last.txt").write_text("blue whales")
    paths = [tmp_path / name for name in ("first.txt", "note.xyz", "gone.txt", "last.txt")]
    out, err = run("index", *paths, "--server", address, code=1)
    assert out.startswith("2 added") and "2 skipped" in out
    assert "note.xyz: is of no kind that the server reads" in err
    assert "gone.txt: there is no such file or folder" in err
    run("delete", "--source", "first.txt", "--source", "last.txt", "--server", address)


def test_an_empty_file_is_skipped_and_others_are_sent(run, address, tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "full.txt").write_text("yellow bananas")
    out, err = run("index", tmp_path, "--server", address, code=1)
    assert out.startswith("1 added") and "1 skipped" in out
    assert "empty.txt: is empty (0 bytes)" in err
    run("delete", "--source", "full.txt", "--server", address)


def test_a_server_that_breaks_off_is_not_said_to_be_missing(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:

        def breaks_off() -> None:
            connection, _ = taken.accept()
            connection.recv(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()  # as a server does that reads no more of what is too large

        thread = threading.Thread(target=breaks_off)
        thread.start()
        server = Server(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ServerError, match="broke off; .* takes no 50,000,0.. bytes"):
            server.post("/search", {"query": "x" * 50_000_000})
        thread.join()


def test_a_place_without_a_server_of_ours_is_said(run, address):
    _, err = run("search", "x", "--server", f"{address}/elsewhere", code=1)
    assert "is no `metaembed serve`" in err


def test_the_environment_names_a_server_and_index_on_the_line_is_stronger(
    run, address, tmp_path, monkeypatch
):
    monkeypatch.setenv("METAEMBED_SERVER", address)
    assert "fruit.pdf" in run("search", "apples", "-k", 1)[0]
    monkeypatch.setenv("METAEMBED_INDEX", str(tmp_path / "none"))
    assert "fruit.pdf" in run("search", "apples", "-k", 1)[0]
    assert "none" in run("search", "apples", "--index", tmp_path / "none", code=1)[1]
    run("search", "apples", "--index", tmp_path, "--server", address, code=2)
    for option in ("--model=mini", "--device=cpu", "--html=a.html", "--collection=b"):
        assert "--server" in run("search", "apples", option, code=2)[1]
    assert "--server" in run("index", tmp_path, "--password", "x", code=2)[1]
    assert "--server" in run("delete", "--all", code=2)[1]


def test_without_index_and_server_the_message_names_both(run):
    for command in (("search", "a"), ("info",), ("delete", "--all"), ("index", ".")):
        _, err = run(*command, code=2)
        assert "--index" in err and "--server" in err


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8000", "ftp://a", "http://", "http://user:pw@a", "http://[::1", "http://a:b"],
)
def test_what_is_no_address_is_refused_without_its_password(address):
    with pytest.raises(ServerError) as error:
        Server(address)
    assert "pw" not in str(error.value) or "user" not in address


def test_a_server_that_is_not_there_or_wants_its_token_is_said(run, index, monkeypatch):
    _, err = run("search", "a", "--server", "http://127.0.0.1:9", code=1)
    assert "does not answer" in err and "metaembed serve" in err
    with running(index, token=TOKEN) as closed:
        _, err = run("search", "apples", "--server", closed, code=1)
        assert "METAEMBED_TOKEN" in err
        monkeypatch.setenv("METAEMBED_TOKEN", TOKEN)
        assert "fruit.pdf" in run("search", "apples", "--server", closed)[0]
        monkeypatch.setenv("METAEMBED_TOKEN", "two\nlines")
        assert "two" not in run("search", "apples", "--server", closed, code=1)[1]


def test_what_the_server_refuses_is_said_as_it_says_it(run, address):
    _, err = run("search", "a", "--server", address, "--budget", "16,65", code=1)
    assert "65 vectors a page" in err


@pytest.mark.integration
def test_nothing_heavy_is_imported_to_ask_a_server(address):
    program = (
        "import sys\nfrom metaembed_rag import cli\n"
        "code = cli.main(sys.argv[1:])\n"
        "print(','.join(sorted(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )
    run = [sys.executable, "-c", program, "search", "apples", "--server", address]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    modules = set(done.stderr.strip().split(","))
    assert "fruit.pdf" in done.stdout
    assert modules.isdisjoint(HEAVY) and "metaembed_rag.federation.client" in modules
    ours = {name for name in modules if name.startswith("metaembed_rag.")}
    assert not {
        name
        for name in ours
        if name.split(".")[1] not in ("cli", "errors", "budget", "training", "federation")
    }


@pytest.mark.integration
def test_starting_takes_less_than_half_a_second_of_computing(address):
    """Of the processor: this machine may be busy with other tests."""
    program = (
        "import sys, resource\nfrom metaembed_rag import cli\ncli.main(sys.argv[1:])\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, file=sys.stderr)"
    )
    run = [sys.executable, "-c", program, "search", "apples", "--server", address]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert float(done.stderr) < 0.5


@pytest.mark.integration
def test_a_search_of_an_index_imports_nothing_that_only_other_commands_need(index):
    """What the libraries below import is theirs; ``docs/serve.md`` says how long that takes."""
    program = (
        "import sys\nfrom metaembed_rag.index import PageIndex\n"
        "from metaembed_rag.testing import FakeEncoder\n"
        "with PageIndex.open(sys.argv[1], FakeEncoder(), create=False) as index:\n"
        "    index.search('apples')\n"
        "print(','.join(sorted(sys.modules)))"
    )
    run = [sys.executable, "-c", program, index.info()["index"]]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    modules = set(done.stdout.strip().split(","))
    unneeded = {"fastapi", "uvicorn", "langchain_core", "llama_index", "sentence_transformers"}
    unneeded |= {"rapidocr", "onnxruntime", "pypdfium2", "metaembed_rag.serving"}
    unneeded |= {f"metaembed_rag.maintenance.{name}" for name in ("checking", "exporting")}
    unneeded |= {
        "metaembed_rag.training",
        "metaembed_rag.evaluation",
        "metaembed_rag.store.compaction",
    }
    assert modules.isdisjoint(unneeded), modules & unneeded
