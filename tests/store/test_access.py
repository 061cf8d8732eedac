"""Tenants, databases and credentials of a Chroma server, and that no secret is ever shown."""

from __future__ import annotations

import base64
import logging
import pickle
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from metaembed_rag import Page, PageIndex
from metaembed_rag.cli import variables
from metaembed_rag.errors import IndexNotFoundError, StoreError
from metaembed_rag.store import access
from metaembed_rag.store.access import ServerAccess, namespace_of
from metaembed_rag.store.places import Places
from metaembed_rag.testing import FakeEncoder
from tests.support.servers import Gate, proxy

SECRET = "sesame-0pen"
BASIC = "Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode()
NO_COLLECTION = (404, {}, b'{"error": "NotFoundError", "message": "none"}')
RED, BLUE = Page(source="a", text="red fox"), Page(source="a", text="blue whale")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in (access.TOKEN, access.AUTH, access.HEADERS, access.CLOUD_KEY):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def gate(server) -> Iterator[Gate]:
    """A proxy before the server that wants a token."""
    with closing(Gate(server, {"Authorization": f"Bearer {SECRET}"})) as made:
        yield made


def opened(where: Any, **settings: Any) -> PageIndex:
    return PageIndex.open(where, FakeEncoder(), **settings)


def sent(**settings: Any) -> dict[str, str]:
    """The headers with which a server is asked."""
    with proxy() as server:
        server.always = NO_COLLECTION
        with pytest.raises(IndexNotFoundError):
            PageIndex.open(server.address, create=False, **settings)
        return {name.lower(): value for name, value in server.seen[-1][1].items()}


# -- tenants and databases -----------------------------------------------------------------------


@pytest.mark.integration
def test_tenants_share_no_page_and_no_file(server, acme, tmp_path):
    tenant, database = acme
    ours = opened(server, tenant=tenant, database=database, collection="shared")
    theirs = opened(server, collection="shared")
    ours.add([RED])
    theirs.add([BLUE])
    assert [hit.page.text for hit in ours.search("fox", 5)] == ["red fox"]
    assert [hit.page.text for hit in theirs.search("fox", 5)] == ["blue whale"]
    assert ours.search("fox", hybrid=True)[0].page.text == "red fox"
    assert (ours.info()["tenant"], ours.info()["database"]) == acme
    assert "tenant" not in theirs.info()
    for name in ("pictures", "calibration", "readings", "vectors", "words"):
        one, other = (getattr(index._store.places, name) for index in (ours, theirs))
        assert one != other and not one.is_relative_to(other) and not other.is_relative_to(one)


@pytest.mark.integration
def test_an_unknown_tenant_or_database_is_told_and_made_for_nobody(server, acme, run):
    for settings in (
        {"tenant": "nobody"},
        {"database": "nothing"},
        {"tenant": acme[0], "database": "nothing"},
        {"database": "no"},
    ):
        with pytest.raises(StoreError, match=r"no database '\w+' of a tenant .*create_tenant"):
            opened(server, **settings)
    _, err = run("info", "--index", server, "--tenant", "nobody", code=1)
    assert "of a tenant 'nobody'" in err and "--tenant" in err


@pytest.mark.integration
def test_the_command_line_opens_a_tenants_database(server, acme, run, loaded, tmp_path):
    (tmp_path / "a.txt").write_text("red foxes run")
    where = ["--index", server, "--tenant", acme[0], "--database", acme[1]]
    run("index", tmp_path / "a.txt", *where, "--quiet")
    assert "a.txt" in run("search", "fox", *where)[0]
    _, err = run("info", "--index", server, "--collection", "elsewhere", *where[2:], code=1)
    assert f"--tenant {acme[0]} --database {acme[1]}" in err


def test_places_of_two_databases_never_meet():
    named = [
        Places.of("http://h:8000", "c", namespace)
        for namespace in ("", "a_b/c", "a/b_c", "A/b_c", "a/b c", "a b/c")
    ]
    for name in ("pictures", "vectors", "calibration", "words", "readings"):
        assert len({getattr(one, name) for one in named}) == len(named)
    assert namespace_of("default_tenant", "default_database") == ""
    assert namespace_of("default_tenant", "x") == "default_tenant/x"


# -- credentials ---------------------------------------------------------------------------------


def test_a_token_a_password_and_headers_are_sent():
    assert sent(token=SECRET)["authorization"] == f"Bearer {SECRET}"
    assert sent(auth=("user", SECRET))["authorization"] == BASIC
    assert sent(headers={"x-chroma-token": SECRET})["x-chroma-token"] == SECRET


def test_the_environment_has_credentials_where_the_caller_has_none(monkeypatch):
    monkeypatch.setenv(access.HEADERS, f"X-Route: eu\nX-Other: {SECRET}")
    monkeypatch.setenv(access.TOKEN, SECRET)
    assert (sent()["authorization"], sent()["x-route"]) == (f"Bearer {SECRET}", "eu")
    assert sent(auth=("user", SECRET))["authorization"] == BASIC
    monkeypatch.delenv(access.TOKEN)
    monkeypatch.setenv(access.AUTH, f"user:{SECRET}")
    assert sent()["authorization"] == BASIC
    assert sent(token="other")["authorization"] == "Bearer other"
    names = (variables.CHROMA_TOKEN, variables.CHROMA_AUTH, variables.CHROMA_HEADERS)
    assert names == (access.TOKEN, access.AUTH, access.HEADERS)


def test_what_the_caller_says_goes_before_chromas_own_variables(monkeypatch):
    provider = "chromadb.auth.token_authn.TokenAuthClientProvider"
    monkeypatch.setenv("CHROMA_CLIENT_AUTH_PROVIDER", provider)
    monkeypatch.setenv("CHROMA_CLIENT_AUTH_CREDENTIALS", "of-chroma")
    assert sent()["authorization"] == "Bearer of-chroma"
    assert sent(token=SECRET)["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (access.AUTH, SECRET, "not written user:password"),
        (access.HEADERS, SECRET, "no header: .*'Name: value', one a line"),
        (access.TOKEN, f"{SECRET} x", "signs that cannot be sent"),
    ],
)
def test_variables_without_a_meaning_are_told_without_their_values(
    monkeypatch, name, value, message
):
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=message) as caught:
        opened("http://127.0.0.1:9")
    assert SECRET not in str(caught.value)


@pytest.mark.integration
def test_a_wrong_token_is_told_and_a_right_one_opens(gate, monkeypatch, run):
    for settings in ({}, {"token": "wrong-token"}, {"auth": ("user", "wrong-password")}):
        with pytest.raises(StoreError, match=r"401 Unauthorized.*token=.*METAEMBED_CHROMA_TOKEN"):
            opened(gate.address, **settings)
    index = opened(gate.address, token=SECRET, collection="gated")
    index.add([RED])
    again = pickle.loads(pickle.dumps(opened(gate.address, token=SECRET, collection="gated")))
    assert len(again) == 1  # the token went along
    where = ["info", "--index", gate.address, "--collection", "gated"]
    run(*where, code=1)
    monkeypatch.setenv(access.TOKEN, SECRET)
    assert "pages" in run(*where)[0]
    monkeypatch.delenv(access.TOKEN)
    assert "pages" in run(*where, "--header", f"Authorization: Bearer {SECRET}")[0]


@pytest.mark.integration
def test_both_frameworks_take_them(gate, acme):
    from metaembed_rag import langchain, llama_index

    settings: Any = {"token": SECRET, "tenant": acme[0], "database": acme[1]}
    embeddings = langchain.MetaEmbedEmbeddings(FakeEncoder())
    store = langchain.MetaEmbedVectorStore.from_texts(
        ["red fox"], embeddings, where=gate.address, collection="both", format="fp16", **settings
    )
    assert store.similarity_search("fox")[0].page_content == "red fox"
    assert store.index.info()["vector_format"] == "fp16"
    theirs = llama_index.MetaEmbedVectorStore(
        where=gate.address, collection="both", encoder=FakeEncoder(), **settings
    )
    data = theirs.to_dict()
    assert SECRET not in str(data) and (data["tenant"], data["database"]) == acme
    again = llama_index.MetaEmbedVectorStore.from_dict(data, token=SECRET, encoder=FakeEncoder())
    assert len(again.index) == 1
    with pytest.raises(StoreError, match="401"):
        llama_index.MetaEmbedVectorStore.from_dict(data, encoder=FakeEncoder())


# -- nothing shows a secret ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"token": SECRET},
        {"auth": ("user", SECRET)},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"headers": {"X-Chroma-Token": SECRET}},
    ],
)
def test_no_message_log_name_or_repr_shows_a_secret(settings, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    shown = [repr(ServerAccess(**settings))]
    with proxy() as server:
        for status in (400, 401, 403, 404, 429, 500):
            encoded = BASIC if "auth" in settings else ""
            echo = f"you sent {SECRET} {encoded}".encode()
            server.always = (status, {"Retry-After": "0"}, echo)
            with pytest.raises(StoreError) as caught:
                opened(server.address, **settings)
            shown.append(str(caught.value))
    names = [str(path) for path in (tmp_path / "cache").rglob("*")]
    everything = "\n".join([*shown, *names, caplog.text])
    assert SECRET not in everything and BASIC.partition(" ")[2] not in everything


def test_a_redirect_is_told_without_the_password_in_it():
    with proxy() as server:
        server.always = (302, {"Location": f"http://u:{SECRET}@h/"}, b"")
        with pytest.raises(StoreError, match="sends requests on to http://…@h/") as caught:
            opened(server.address)
        assert SECRET not in str(caught.value)


@pytest.mark.integration
def test_what_is_pickled_says_no_secret_of_the_environment(gate, monkeypatch, tmp_path):
    monkeypatch.setenv(access.TOKEN, SECRET)
    index = opened(gate.address, collection="pickled")
    index.add([RED])
    data = pickle.dumps(index)
    assert SECRET.encode() not in data
    assert len(pickle.loads(data)) == 1
    monkeypatch.delenv(access.TOKEN)
    with pytest.raises(StoreError, match="401"):
        pickle.loads(data)
    assert SECRET not in str(index.info()) + repr(index.__reduce__())
    assert not [path for path in Path(tmp_path).rglob("*") if SECRET in str(path)]


# -- what has no meaning -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tenant": ""}, "tenant='' is no name"),
        ({"tenant": "a/b"}, "tenant='a/b' is no name"),
        ({"database": ".."}, "is no name"),
        ({"database": "a\nb"}, "is no name"),
        ({"tenant": 5}, "tenant= is a name, not an int"),
        ({"token": ""}, "token is empty"),
        ({"token": f"{SECRET}\n"}, "signs that cannot be sent"),
        ({"token": 5}, "token= is text, not an int"),
        ({"auth": SECRET}, "auth= is a user and a password"),
        ({"auth": ("a:b", SECRET)}, "has a colon"),
        ({"token": SECRET, "auth": ("a", SECRET)}, "say the same"),
        ({"token": SECRET, "headers": {"authorization": SECRET}}, "say the same"),
        ({"headers": {"X": f"{SECRET}\r\nY: z"}}, "'X' holds signs"),
        ({"headers": {"X": 5}}, "'X' is text, not an int"),
        ({"headers": {"a b": "c"}}, "'a b' is no name"),
    ],
)
def test_what_has_no_meaning_is_refused_before_anybody_is_asked(settings, message):
    with pytest.raises(StoreError, match=message) as caught:
        opened("http://127.0.0.1:9", **settings)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("place", ["folder", ":memory:"])
def test_a_folder_has_no_tenant_and_no_key(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(access.TOKEN, SECRET)
    for settings in ({"tenant": "a"}, {"database": "b"}, {"token": "c"}, {"verify": False}):
        with pytest.raises(StoreError, match="are of a Chroma server"):
            opened(place, **settings)
    assert list(tmp_path.iterdir()) == []
    opened(place, headers={"X": "1"}, timeout=3).close()  # as ever


def test_the_options_of_a_chroma_server_are_refused_where_they_count_for_nothing(run, tmp_path):
    for option in ("--tenant", "--database", "--ca-file"):
        _, err = run("evaluate", tmp_path, option, "x", code=2)
        assert f"{option} needs --questions" in err
        _, err = run("search", "x", "--server", "http://127.0.0.1:9", option, "x", code=2)
        assert f"{option} does not go with --server" in err
    _, err = run("info", "--index", "http://127.0.0.1:9", "--header", SECRET, code=2)
    assert "a header is written 'Name: value'" in err and SECRET not in err
