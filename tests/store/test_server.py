"""What happens when a Chroma server, or a proxy before it, does not do what it should."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import chromadb
import pytest
from chromadb.config import Settings

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import IndexNotFoundError, StoreError
from metaembed_rag.testing import FakeEncoder
from tests.support.servers import Proxy, proxy, silence

PAGES = [Page(source=name, text=f"{name} fox") for name in "abcdefgh"]
HTML: tuple[int, dict[str, str], bytes] = (
    200,
    {"Content-Type": "text/html"},
    b"<html>Hello</html>",
)

OPERATIONS: dict[str, Callable[[PageIndex], Any]] = {
    "search": lambda index: index.search("fox"),
    "candidates": lambda index: index.search("fox", candidates=5),
    "hybrid": lambda index: index.search("fox", hybrid=True),
    "add": lambda index: index.add([Page(source="new", text="a new one")]),
    "delete": lambda index: index.delete("a#1"),
    "info": lambda index: index.info(),
    "ids": lambda index: index.ids(),
    "get": lambda index: index.get(["a#1"]),
    "score": lambda index: index.score("fox", ["a#1"]),
    "open": lambda index: PageIndex.open(index.info()["index"], FakeEncoder(), timeout=0.3),
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses between tries, which are not made."""
    made: list[float] = []
    monkeypatch.setattr("metaembed_rag.web._wait", made.append)
    return made


@pytest.fixture
def before(server) -> Iterator[Proxy]:
    """A proxy before a Chroma server."""
    with proxy(server) as made:
        yield made


def opened(where: str, **settings: Any) -> PageIndex:
    name = f"c{uuid4().hex[:8]}"
    return PageIndex.open(where, FakeEncoder(), collection=name, **settings)


# -- silence and busy servers --------------------------------------------------------------------


def test_fault_15_opening_an_index_on_a_silent_server_ends_in_time():
    with silence() as address:
        start = time.monotonic()
        with pytest.raises(StoreError, match=r"Chroma at .*: it keeps silent.*timeout 0\.3 s"):
            opened(address, timeout=0.3)
        assert time.monotonic() - start < 3


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_fault_15_a_timeout_that_makes_no_sense_is_refused(seconds):
    with pytest.raises(StoreError, match="timeout must be a number of seconds over 0"):
        opened("http://127.0.0.1:9", timeout=seconds)


def test_fault_15_the_command_line_takes_a_timeout_too(run):
    with silence() as address:
        start = time.monotonic()
        _, err = run("info", "--index", address, "--timeout", "0.3", code=1)
        assert "keeps silent" in err and time.monotonic() - start < 3
    assert "number over 0" in run("info", "--index", address, "--timeout", "0", code=2)[1]


def test_fault_15_a_server_that_is_not_there_is_not_waited_for(pauses):
    with silence() as address:
        pass
    with pytest.raises(StoreError, match="Could not connect .*check that it runs.*1 try"):
        opened(address)
    assert pauses == []


@pytest.mark.integration
@pytest.mark.parametrize("operation", OPERATIONS)
def test_fault_15_every_operation_on_a_server_that_falls_silent_ends_in_time(before, operation):
    index = opened(before.address, timeout=2)
    index.add(PAGES)
    with index._store._link.asking() as connection:
        connection.client._session.timeout = 0.3
        connection.client._session._seconds = 0.3
    before.silent.set()
    start = time.monotonic()
    with pytest.raises(StoreError, match="keeps silent"):
        OPERATIONS[operation](index)
    assert time.monotonic() - start < 3


STRANGE = [
    {"version": "99", "ids": 5},
    [],
    None,
    "a",
    5,
    {"ids": [["a#1"]], "metadatas": [[5]], "distances": [[0.5]]},
    {"ids": ["a#1"], "metadatas": []},
    {"ids": [5], "metadatas": [{}]},
]


@pytest.mark.integration
@pytest.mark.parametrize("operation", OPERATIONS)
def test_fault_15_every_operation_on_a_server_that_answers_nonsense_ends_in_a_sentence(
    before, operation
):
    index = opened(before.address)
    index.add(PAGES)
    paths = ("get", "query", "upsert", "delete", "count", "pre-flight-checks")
    for path, strange in [*product(paths, STRANGE[:1]), *product(("get", "query", "*"), STRANGE)]:
        answer = (200, {"Content-Type": "application/json"}, json.dumps(strange).encode())
        before.always = answer if path == "*" else None
        before.at = {path: answer}
        with suppress(StoreError):
            OPERATIONS[operation](index)
    before.always, before.at = None, {}
    assert {page.id for page in PAGES} - {"a#1"} <= set(index.ids())


@pytest.mark.integration
def test_fault_15_a_busy_server_is_asked_again_and_loses_nothing(before, pauses):
    index = opened(before.address)
    before.failures = [
        (503, {}, b"starting"),
        (429, {"Retry-After": "7"}, b""),
        (502, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, b""),
        (504, {}, b""),
    ]
    assert index.add(PAGES).added == len(PAGES)
    assert pauses == [0.5, 7.0, 0.0, 4.0]
    assert len(index) == len(PAGES)


@pytest.mark.integration
def test_fault_15_what_was_acknowledged_stays_and_the_error_says_so(before, pauses):
    index = opened(before.address)
    done: list[int] = []

    def progress(count: int) -> None:
        done.append(count)
        before.always = (503, {"Retry-After": "9"}, b"overloaded")

    with pytest.raises(StoreError, match=r"503 Service Unavailable, 5 tries; it asks to wait 9 s"):
        index.add(PAGES, batch_size=2, progress=progress)
    before.always = None
    assert 2 <= len(index) < len(PAGES)
    before.at["delete"] = 500, {}, b"broken"
    with pytest.raises(StoreError, match=r"broken; what was acknowledged before is stored"):
        index.delete("a#1")
    report = index.add(PAGES)
    assert (report.unchanged + report.added, len(index)) == (len(PAGES), len(PAGES))
    assert report.unchanged >= 2


# -- requests that are too large -----------------------------------------------------------------


@pytest.fixture
def whole_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records hold their vectors, as in an index of before and where no database may be made."""
    monkeypatch.setattr("metaembed_rag.store.collection.layout_for", lambda size: {})


@pytest.mark.integration
def test_fault_15_requests_that_a_proxy_finds_too_large_are_halved(before, whole_records):
    index = opened(before.address)
    before.most = 20_000
    assert index.add(PAGES).added == len(PAGES)
    assert len(index) == len(PAGES)
    sizes = [length for path, _, length in before.seen if path.endswith("/upsert")]
    assert [size > before.most for size in sizes] == [True, True, False, False, False, False]
    before.seen.clear()
    index.add([Page(source=page.source, text=f"another fox {page.source}") for page in PAGES])
    sizes = [length for path, _, length in before.seen if path.endswith("/upsert")]
    assert [size > before.most for size in sizes] == [False] * 4  # it has learned
    assert {hit.page.source for hit in index.search("fox", 8)} == set("abcdefgh")
    before.most = 125
    assert len(index.get([page.id for page in PAGES])) == len(PAGES)
    index._store.delete([page.id for page in PAGES[:4]])
    before.most = 2**62
    assert len(index) == 4


@pytest.mark.integration
def test_small_requests_before_make_no_small_requests_after(before):
    index = opened(before.address)
    index.add(PAGES[:1])
    before.seen.clear()
    index.add(PAGES[1:])
    assert sum(path.endswith("/upsert") for path, _, _ in before.seen) == 1


@pytest.mark.integration
@pytest.mark.parametrize("most", [6_000, 16_000])
def test_fault_15_bundles_and_records_that_are_too_large_leave_no_bundle_behind(before, most):
    index = opened(before.address)
    before.most = most
    pages = [Page(source=name, text=f"{name} fox " * 300) for name in "abcdefgh"]
    assert index.add(pages).added == len(pages)
    collection = index._store._collection
    host, _, port = before.address.removeprefix("http://").partition(":")
    before.most = 2**62
    there = chromadb.HttpClient(
        host,
        int(port),
        settings=Settings(anonymized_telemetry=False),
        database=collection.metadata["metaembed:bundles"],
    ).list_collections()
    named = {one["metaembed:bundle"] for one in collection.get()["metadatas"]}
    assert {one.name for one in there} == named
    assert {hit.page.source for hit in index.search("fox", 8)} == set("abcdefgh")


@pytest.mark.integration
def test_fault_15_one_record_that_is_too_large_is_named(before, whole_records):
    index = opened(before.address)
    before.most = 5_000
    message = r"takes no request of [\d,]+ bytes \(413.*'a#1' makes one alone.*client_max_body_size"
    with pytest.raises(StoreError, match=message):
        index.add(PAGES)


# -- refusals, and servers of another kind -------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {}, b"<html>"), r"refused \(401 Unauthorized\).*headers=\{'Authorization'"),
        ((403, {}, b'{"error": "AuthError", "message": "no"}'), r"refused \(403 Forbidden\)"),
        ((302, {"Location": "https://sso/login"}, b""), "sends requests on to https://sso/login"),
        ((404, {}, b"<html>nginx</html>"), "no Chroma, or of another version: .*/api/v2"),
        ((500, {}, b"no disk"), r"fails \(500 Internal Server Error, 1 try\): no disk"),
        ((422, {}, b'{"error": "ChromaError", "message": "what"}'), r"fails \(422.*\): what"),
        (HTML, "speaks no JSON"),
        ((200, {}, b""), "speaks no JSON"),
        ((200, {}, b"{["), "its answer cannot be read"),
        ((200, {}, b'{"version": "99", "ids": 5}'), "no Chroma, or of another version: its answer"),
        ((400, {}, b'{"error": "InvalidArgumentError"}'), r"fails \(400 Bad Request, 1 try\)"),
    ],
)
def test_fault_15_a_refusal_is_named_with_what_to_do(answer, message):
    with proxy() as server:
        server.always = answer
        with pytest.raises(StoreError, match=message):
            opened(server.address)


def test_headers_and_the_key_of_chromas_own_variables_are_sent_with_each_request(monkeypatch):
    provider = "chromadb.auth.basic_authn.BasicAuthClientProvider"
    monkeypatch.setenv("CHROMA_CLIENT_AUTH_PROVIDER", provider)
    monkeypatch.setenv("CHROMA_CLIENT_AUTH_CREDENTIALS", "user:password")
    with proxy() as server:
        server.always = (404, {}, b'{"error": "NotFoundError", "message": "none"}')
        with pytest.raises(IndexNotFoundError):
            PageIndex.open(server.address, create=False, headers={"X-Mine": "1"})
        for _, headers, _ in server.seen:
            got = {name.lower(): value for name, value in headers.items()}
            assert (got["x-mine"], got["authorization"][:6]) == ("1", "Basic ")


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """Of ``localhost``, signed by itself, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = ["openssl", "req", *kind, *names, "-keyout", key, "-out", made, "-days", "2"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "both.pem").write_bytes(made.read_bytes() + key.read_bytes())
    return folder / "both.pem"


def test_fault_15_what_tls_refuses_is_named(certificate, monkeypatch, pauses):
    with proxy(certificate=certificate) as server:
        with pytest.raises(StoreError, match=r"not trusted \(self.signed.*SSL_CERT_FILE"):
            opened(server.address)
        with pytest.raises(StoreError, match="write https://"):
            opened(f"http://localhost:{server.port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("certificate.pem")))
        with pytest.raises(StoreError, match="certificate is for another name.*127.0.0.1"):
            opened(server.address)
        server.always = (404, {}, b'{"error": "NotFoundError", "message": "none"}')
        with pytest.raises(IndexNotFoundError):
            PageIndex.open(f"https://localhost:{server.port}", create=False)
    with proxy() as server, pytest.raises(StoreError, match="speaks no TLS, write http://"):
        opened(f"https://127.0.0.1:{server.port}")


def test_a_certificate_of_ones_own_is_trusted_for_one_server(certificate, run, caplog):
    trusted, where = certificate.with_name("certificate.pem"), "no index named 'pages'"
    with proxy(certificate=certificate) as server:
        server.always = (404, {}, b'{"error": "NotFoundError", "message": "none"}')
        address = f"https://localhost:{server.port}"
        with pytest.raises(StoreError, match="not trusted .*verify='ca.pem' .--ca-file"):
            PageIndex.open(address, create=False)
        for verify in (trusted, str(trusted), False):
            with pytest.raises(IndexNotFoundError, match=where):
                PageIndex.open(address, create=False, verify=verify)
        assert "certificate of https://localhost" in caplog.text and "is not checked" in caplog.text
        with pytest.raises(StoreError, match="for another name"):  # trusted is not enough
            PageIndex.open(server.address, create=False, verify=trusted)
        assert where in run("info", "--index", address, "--ca-file", trusted, code=1)[1]
        assert where in run("info", "--index", address, "--insecure", code=1)[1]
        assert "not trusted" in run("info", "--index", address, code=1)[1]
        both = ("--ca-file", trusted, "--insecure")
        assert "not both" in run("info", "--index", address, *both, code=2)[1]
    (certificate.parent / "none.pem").write_text("nothing")
    with pytest.raises(StoreError, match=r"none.pem cannot be read as certificates.*PEM"):
        opened(address, verify=certificate.parent / "none.pem")
    with pytest.raises(StoreError, match=r"verify='nowhere' is no file"):
        opened(address, verify="nowhere")


# -- what names no place -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("http://me:secret@host:8000", r"http://…@host:8000 has a user.*headers="),
        ("http://me:secret@host:8000/path", "has a user"),
        ("HTTPS://me:secret@host", "has a user"),
        ("http://me:sec/ret@host", "…@host"),
        ("http://me:12#secret@host", "…@host"),
        ("ftp://me:secret@host", r"ftp://…@host is no folder"),
        ("http://host:8000?tenant=x", r"would be ignored.*tenant='…' \(--tenant\); keys by token="),
        ("http://host:8000/?tenant=x&database=y", "tenant='…' .*database='…' .--database"),
        ("http://host:8000?key=secret", r"http://host:8000: what .*collection=.*tenant="),
        ("http://host:8000?token=secret", r"token='…' \(METAEMBED_CHROMA_TOKEN\)"),
        ("http://me:secret@host:8000?token=secret#secret", r"auth=\('user', 'password'\)"),
        ("http://host:many?token=secret", "http://host:many cannot be read"),
        ("ftp://host?token=secret", "ftp://host is no folder"),
        ("chroma-cloud://tenant", "is not written chroma-cloud://tenant/database"),
        ("chroma-cloud://key:secret@tenant/database", "chroma-cloud://…@.*CHROMA_API_KEY"),
        ("chroma-cloud://tenant/database?key=secret", "keys have no place in an address"),
        ("http://host:8000#pages", "would be ignored"),
        ("http://host:many", "cannot be read"),
        ("s3://bucket/index", "is no folder and no http:// or https:// address"),
        ("localhost:8000", "write http://localhost:8000"),
        ("", "names no folder"),
        ("  ", "names no folder"),
        ("a\0b", "names no folder"),
        (None, "not by None"),
        (b"index", "not by bytes"),
        (7, "not by an int"),
    ],
)
def test_fault_15_what_names_no_place_is_refused_and_shows_no_password(
    where, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=message) as caught:
        PageIndex.open(where, FakeEncoder())
    assert "secret" not in str(caught.value) and "ret@" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_fault_15_the_command_line_shows_no_password(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, err = run("info", "--index", "http://me:secret@host:8000", code=1)
    assert "headers=" in err and "secret" not in out + err
    assert list(tmp_path.iterdir()) == []


def test_a_path_of_any_kind_names_a_folder(tmp_path):
    class Place:
        def __fspath__(self) -> str:
            return str(tmp_path / "i")

    index = PageIndex.open(Place(), FakeEncoder())
    index.add(PAGES[:1])
    assert len(PageIndex.open(tmp_path / "i", FakeEncoder(), create=False)) == 1
