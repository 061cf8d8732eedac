"""An open client of Chroma in the place of an address."""

from __future__ import annotations

import pickle
from typing import Any

import chromadb
import pytest
from chromadb.config import Settings

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import StoreError
from metaembed_rag.testing import FakeEncoder
from tests.support.servers import proxy

RED, BLUE = Page(source="a", text="red fox"), Page(source="b", text="blue whale")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def opened(where: Any, **settings: Any) -> PageIndex:
    return PageIndex.open(where, FakeEncoder(), **settings)


def test_a_client_in_memory_is_used_and_seen_by_all_who_have_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    client = chromadb.EphemeralClient()
    one, two = opened(client, collection="one"), opened(client, collection="one")
    one.add([RED])
    assert two.search("fox")[0].page.id == "a#1"
    two.add([BLUE])
    assert {hit.page.id for hit in one.search("whale", 5)} == {"a#1", "b#1"}
    client.get_collection("one").delete(ids=["a#1"])
    assert [hit.page.id for hit in one.search("fox", 5, hybrid=True)] == ["b#1"]
    one.close()
    assert client.get_collection("one").count() == 1  # the client is its owner's
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []
    with pytest.raises(StoreError, match="in memory cannot be copied or pickled"):
        pickle.dumps(two)


def test_a_client_of_a_folder_leads_to_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    client = chromadb.PersistentClient("there")
    index = opened(client)
    index.add([RED])
    assert len(opened(tmp_path / "there", create=False)) == 1
    assert client.get_collection("pages").count() == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["there"]
    client.close()


def test_a_tenant_in_a_folder_is_refused_with_what_to_do(tmp_path):
    path = str(tmp_path / "there")
    admin = chromadb.AdminClient(Settings(is_persistent=True, persist_directory=path))
    admin.create_tenant("acme")
    admin.create_database("reports", "acme")
    client = chromadb.PersistentClient(path, tenant="acme", database="reports")
    with pytest.raises(StoreError, match=r"collection=, or run `chroma run --path"):
        opened(client)
    client.close()


@pytest.mark.integration
def test_a_client_of_a_server_brings_tenant_headers_and_key(server, acme):
    with proxy(server) as before:
        host, port = before.address.removeprefix("http://").split(":")
        settings = Settings(
            chroma_client_auth_provider="chromadb.auth.token_authn.TokenAuthClientProvider",
            chroma_client_auth_credentials="sesame-0pen",
        )
        client = chromadb.HttpClient(
            host,
            int(port),
            headers={"X-Mine": "1"},
            settings=settings,
            tenant=acme[0],
            database=acme[1],
        )
        index = opened(client)
        index.add([RED])
        about = index.info()
        assert (about["index"], about["tenant"], about["database"]) == (before.address, *acme)
        again = pickle.loads(pickle.dumps(opened(client)))
        before.seen.clear()
        assert len(again) == 1
        headers = {name.lower(): value for name, value in before.seen[-1][1].items()}
        assert headers["x-mine"] == "1" and headers["authorization"] == "Bearer sesame-0pen"
        with pytest.raises(StoreError, match="knows its tenant, database and credentials itself"):
            opened(client, tenant="other")


def test_other_objects_are_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    client = chromadb.EphemeralClient()
    waiting = chromadb.AsyncHttpClient()
    wrong = {
        "not by a collection: PageIndex.open.client, collection='some'": (
            client.get_or_create_collection("some", embedding_function=None)
        ),
        "not by an asynchronous client": waiting,
        "not by an admin client": chromadb.AdminClient(Settings()),
        "not by a dict; write 'my_index'": {},
    }
    for message, given in wrong.items():
        with pytest.raises(StoreError, match=message):
            opened(given)
    waiting.close()
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("cache", "chroma")] == []
