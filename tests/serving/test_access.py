"""Who may ask, and how much."""

from __future__ import annotations

import asyncio
import logging

import pytest

from metaembed_rag.errors import ServerError
from metaembed_rag.serving import ServerSettings
from metaembed_rag.serving.access import Access, Rates, Refusal, _Limited
from tests.serving.conftest import LOCAL, TOKEN

BEARER = {"authorization": f"Bearer {TOKEN}"}
AWAY = {"host": "0.0.0.0", "token": TOKEN}
PRIVATE = (
    ("get", "/info"),
    ("get", "/sources"),
    ("get", f"/pages/{'0' * 32}"),
    ("get", f"/pages/{'0' * 32}/picture"),
    ("post", "/search"),
    ("post", "/explain"),
    ("post", "/pages"),
    ("delete", "/pages?source=sea"),
    ("delete", f"/pages/{'0' * 32}"),
)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.org"])
def test_beyond_loopback_a_token_is_needed_to_start(host):
    with pytest.raises(ServerError, match="needs a token"):
        ServerSettings(host=host)
    with pytest.raises(ServerError, match="at least 16"):
        ServerSettings(host=host, token="short")
    with pytest.raises(ServerError, match="visible ASCII"):
        ServerSettings(host=host, token="sixteen letters and blanks")
    assert ServerSettings(host=host, token=TOKEN).rate == 1_200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_on_loopback_none_is_needed_and_no_rate_holds(host):
    assert ServerSettings(host=host).rate is None


@pytest.mark.parametrize(
    "setting",
    [
        {"port": 70_000},
        {"threads": 0},
        {"max_upload_bytes": 0},
        {"requests_per_minute": 0},
        {"certificate": "a.pem"},
    ],
)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ServerError):
        ServerSettings(**setting)


@pytest.mark.parametrize(("method", "path"), PRIVATE)
def test_nothing_of_the_index_is_told_without_the_token(client, served, method, path):
    http = client(**AWAY)
    wrong = f"Bearer {TOKEN[:-1]}x"
    for headers in ({}, {"authorization": wrong}, {"authorization": f"Basic {TOKEN}"}):
        answer = http.request(method, path, headers=headers)
        assert answer.status_code == 401 and "needs its token" in answer.json()["error"]
        assert answer.headers["www-authenticate"] == "Bearer"
    assert http.request(method, path, headers=BEARER).status_code != 401
    assert TOKEN not in answer.text


def test_the_page_and_health_need_no_token_and_hold_nothing(client):
    http = client(**AWAY)
    for path in ("/", "/docs", "/health", "/openapi.json"):
        answer = http.get(path)
        assert answer.status_code == 200
        assert "fruit" not in answer.text and "kept-index" not in answer.text


def test_wrong_tokens_use_up_the_rate(client):
    http = client(**AWAY, requests_per_minute=100)
    answers = [http.get("/info", headers={"authorization": "Bearer x"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_the_rate_is_one_client_s_own_and_comes_back():
    now = [0.0]
    rates = Rates(60, clock=lambda: now[0])
    assert [rates.take("a") for _ in range(60)] == [0.0] * 60
    assert rates.take("a") == pytest.approx(1.0) and rates.take("b") == 0.0
    now[0] = 2.0
    assert rates.take("a") == 0.0 == rates.take("a")
    assert rates.take("a") > 0


def test_other_names_of_loopback_are_not_answered(client):
    """What another site's name that points to 127.0.0.1 would ask for."""
    assert client().get("/info").status_code == 200
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        answer = client().get("/info", headers={"host": host})
        assert answer.status_code == 421
    named = client(hosts=("pages.example",))
    assert named.get("/info", headers={"host": "Pages.example:8000"}).status_code == 200
    assert named.get("/info").status_code == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999"])
def test_pages_of_other_sites_cannot_write_or_search(client, served, origin):
    http = client()
    upload = [("files", ("a.txt", b"words"))]
    assert http.post("/pages", files=upload, headers={"origin": origin}).status_code == 403
    assert http.delete("/pages?source=sea", headers={"origin": origin}).status_code == 403
    assert http.post("/search", json={"query": "a"}, headers={"origin": origin}).status_code == 403
    crossing = {"sec-fetch-site": "cross-site"}
    assert http.post("/pages", files=upload, headers=crossing).status_code == 403
    preflight = http.options("/pages", headers={"origin": origin})
    assert "access-control-allow-origin" not in preflight.headers
    assert len(served) == 3
    assert http.post("/pages", files=upload, headers={"origin": LOCAL}).status_code == 200


def test_cors_headers_are_sent_for_origins_that_were_named_only(client):
    http = client(origins=("https://ours.example",), **AWAY)
    ours = {"origin": "https://ours.example"}
    answer = http.options("/search", headers=ours)
    assert answer.status_code == 204 and "POST" in answer.headers["access-control-allow-methods"]
    answer = http.post("/search", json={"query": "apples"}, headers={**ours, **BEARER})
    assert answer.headers["access-control-allow-origin"] == "https://ours.example"
    answer = http.get("/health")
    assert "access-control-allow-origin" not in answer.headers


def test_what_is_too_large_is_refused_before_it_is_read(client, served):
    http = client(max_upload_bytes=2_000_000)
    answer = http.post("/pages", files=[("files", ("a.txt", b"x" * 3_000_000))])
    assert answer.status_code == 413 and "2,000,000 bytes" in answer.json()["error"]
    answer = http.post("/search", json={"query": "x" * 2_000_000})
    assert answer.status_code == 413

    def untold():
        for _ in range(40):
            yield b"x" * 100_000

    answer = http.post(
        "/pages", content=untold(), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code in (400, 413)
    answer = http.post("/search", content=untold(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert len(served) == 3


async def test_a_client_that_keeps_silent_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr("metaembed_rag.serving.access._SILENCE", 0.01)

    async def never():
        await asyncio.sleep(10)

    limited = _Limited(never, 100, {})
    with pytest.raises(Refusal, match="too slowly") as refused:
        await limited()
    assert refused.value.status == 408


async def test_no_websockets():
    sent: list = []

    async def app(scope, receive, send):
        sent.append(scope)

    await Access(app, ServerSettings())({"type": "websocket"}, None, None)  # type: ignore[arg-type]
    assert sent == []


def test_every_answer_has_headers_that_keep_browsers_from_guessing(client):
    http = client()
    answers = [http.get(path) for path in ("/", "/docs", "/info", "/nothing", "/openapi.json")]
    answers.append(http.get("/info", headers={"host": "evil.example"}))
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_no_answer_names_a_folder_of_this_machine(client, served, folder, tmp_path):
    http = client()
    found = http.post("/search", json={"query": "apples pears whales"}).json()
    texts = [str(found), http.get("/info").text, http.get("/sources").text]
    texts += [http.get(f"/pages/{hit['id']}").text for hit in found["hits"]]
    bad = [("files", ("bad.pdf", b"%PDF-1.4 nothing"))]
    texts.append(http.post("/pages", files=bad).text)
    texts.append(http.post("/pages", files=bad, headers={"accept": "text/event-stream"}).text)
    probe = {"query": "apples", "where": {"source": (folder / "fruit.pdf").as_posix()}}
    answer = http.post("/search", json=probe).json()
    assert answer["hits"] == []  # nobody learns whether a path is indexed
    for text in [*texts, str(answer)]:
        assert str(tmp_path) not in text and "private-folder" not in text


def test_failures_name_no_folder_either(client, served, monkeypatch, folder, caplog):
    from metaembed_rag.errors import StoreError

    def fails(*args, **keywords):
        raise StoreError(f"{folder}/chroma.sqlite3 is damaged; see {folder}/log, http://a.b/c/d")

    monkeypatch.setattr(served, "search_vectors", fails)
    with caplog.at_level(logging.ERROR):
        said = client().post("/search", json={"query": "apples"}).json()["error"]
    assert said == "chroma.sqlite3 is damaged; see log, http://a.b/c/d"
