"""Chroma Cloud: its key, its databases and its quotas, tried against a server on loopback that
enforces them (``tests.support.servers.Cloud``) before a real Chroma."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import chromadb
import numpy as np
import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import StoreError
from metaembed_rag.store import access, connect, named_models, picture_cache, places
from metaembed_rag.store.quotas import PAGE, QuotaCollection, Quotas, quotas_at
from metaembed_rag.testing import FakeEncoder
from tests.support.servers import Cloud

KEY = "ck-sesame-0pen"
SMALL: dict[str, Any] = {"vectors": 16}
"""16 vectors of 64 int8 values: 1,408 bytes in base64."""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in (access.CLOUD_TENANT, access.CLOUD_DATABASE, access.CLOUD_KEY):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cloud(server, acme, monkeypatch) -> Iterator[Cloud]:
    """Chroma Cloud on loopback, with a key in the environment."""
    with closing(Cloud(server, KEY, acme[0], [acme[1]])) as made:
        for module in (places, connect):
            monkeypatch.setattr(module, "CLOUD", made.address)
        monkeypatch.setenv(access.CLOUD_KEY, KEY)
        yield made
        assert made.refused == []  # nothing beyond its quotas was ever sent


def opened(where: Any = "chroma-cloud://", **settings: Any) -> PageIndex:
    name = settings.pop("collection", f"c{uuid4().hex[:8]}")
    return PageIndex.open(where, FakeEncoder(), collection=name, **settings)


def pages(count: int) -> list[Page]:
    return [Page(source=f"s{n}", text=f"fox number {n}", metadata={"n": n}) for n in range(count)]


# -- the key and its databases -------------------------------------------------------------------


@pytest.mark.integration
def test_the_cloud_is_opened_by_its_name_with_the_key_of_the_environment(
    cloud, acme, monkeypatch, run
):
    index = opened(**SMALL, collection="named")
    index.add(pages(3))
    about = index.info()
    assert (about["tenant"], about["database"]) == acme
    assert KEY not in str(about) and KEY.encode() not in pickle.dumps(index)
    assert len(pickle.loads(pickle.dumps(index))) == 3
    assert len(opened(f"chroma-cloud://{acme[0]}/{acme[1]}", collection="named")) == 3
    out, _ = run("info", "--index", "chroma-cloud://", "--collection", "named")
    assert acme[1] in out and KEY not in out
    with pytest.raises(StoreError, match=r"no database 'nothing' .*--database\)$"):
        opened(f"chroma-cloud://{acme[0]}/nothing")
    monkeypatch.setenv(access.CLOUD_KEY, "wrong-key")
    with pytest.raises(StoreError, match="401.*CHROMA_API_KEY"):
        opened()
    monkeypatch.delenv(access.CLOUD_KEY)
    with pytest.raises(StoreError, match="wants an API key.*CHROMA_API_KEY"):
        opened()


@pytest.mark.integration
def test_a_key_of_several_databases_needs_one_named(cloud, acme, monkeypatch):
    cloud.identity["databases"] = [acme[1], "another"]
    with pytest.raises(StoreError, match=r"of several databases: name one.*tenant/database"):
        opened()
    monkeypatch.setenv(access.CLOUD_DATABASE, acme[1])
    assert opened(**SMALL).info()["database"] == acme[1]


@pytest.mark.integration
def test_chromas_own_client_of_the_cloud_is_taken(cloud, acme):
    host, port = cloud.address.removeprefix("http://").split(":")
    client = chromadb.CloudClient(
        *acme, api_key=KEY, cloud_host=host, cloud_port=int(port), enable_ssl=False
    )
    index = opened(client, **SMALL)
    index.add(pages(2))
    assert len(index) == 2 and index.info()["tenant"] == acme[0]


# -- requests ------------------------------------------------------------------------------------


@pytest.mark.integration
def test_no_request_exceeds_the_quotas(cloud):
    index = opened(**SMALL, collection="many")
    assert index.add(pages(700), batch_size=350).added == 700
    assert len(index.ids()) == len(index) == 700
    assert len(index.ids({"n": {"$gte": 100}})) == 600
    assert index.search("fox number 5", k=3)[0].page.source == "s5"
    assert index.search("number 5", k=3, hybrid=True)[0].page.source == "s5"
    assert len(index.search("fox", k=5, candidates=50)) == 5
    assert len(index.search("fox", k=5, candidates=50, where={"n": {"$lt": 500}})) == 5
    with pytest.raises(StoreError, match=rf"302 candidates.* 300 at most.*{PAGE}.*exhaustive"):
        index._store.candidates(index.encoder.encode_query(["fox"])[0, 0], 302)
    assert index.add(pages(700)).unchanged == 700
    again = opened(collection="many")
    assert again.search("fox number 7", k=1)[0].page.source == "s7"
    index.delete(index.ids({"n": {"$lt": 400}}))
    assert len(again) == 300


# -- records -------------------------------------------------------------------------------------


@pytest.mark.integration
def test_where_pictures_lie_is_noted_in_a_collection_that_is_there(cloud, monkeypatch, tmp_path):
    for module in (picture_cache, named_models):
        monkeypatch.setattr(module, "user_folder", lambda *parts: tmp_path.joinpath("u", *parts))
    place = "memory://cloud/pictures"
    opened(**SMALL, collection="pictured").close()
    with opened(collection="pictured", pictures=place) as index:
        index.add([Page(source="a", text="fox", image=Image.new("RGB", (9, 9)))])
    with opened(collection="pictured") as index:
        assert index.info()["pictures"] == place and index.check().is_sound
    with pytest.raises(StoreError, match="metaembed:pictures = .*has 3.. bytes.*at most"):
        opened(**SMALL, collection="far", pictures=f"memory://{'x' * 300}")


@pytest.mark.integration
def test_vectors_that_no_record_can_hold_are_refused_before_anything_is_made(cloud):
    name = f"c{uuid4().hex[:8]}"
    message = (
        r"64 vectors of a page have 5,632 bytes in base64, and Chroma Cloud takes 4,096 .*, which "
        r"46 of them have.*--format int4 or bits"
    )
    with pytest.raises(StoreError, match=message):
        opened(collection=name)
    opened(collection=name, vectors=46).add(pages(2))
    opened(format="int4").add(pages(2))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("page", "message"),
    [
        ({"text": "long " * 4000}, "its document has 20,000 bytes.*16,384.*smaller parts"),
        ({"id": "i" * 129}, "its id has 129 bytes.*128.*shorter ids"),
        ({"metadata": {"note": "ü" * 2049}}, "note has 4,098 bytes.*shorten it"),
        ({"metadata": {"k" * 37: 1}}, "the key 'k+' has 37 bytes.*rename it"),
        ({"metadata": {f"k{n}": n for n in range(30)}}, r"its metadata has \d\d keys.*32"),
    ],
)
def test_a_record_too_large_is_refused_before_it_is_sent(cloud, page, message):
    index = opened(**SMALL)
    small, large = Page(source="small", text="small"), Page(**{"source": "s", "text": "t", **page})
    with pytest.raises(StoreError, match=message) as caught:
        index.add([small, large])
    assert PAGE in str(caught.value)
    assert len(index) == 0 and index.ids() == []
    assert index.add([small]).added == 1


def test_a_filter_of_too_many_comparisons_is_refused():
    many = {"$and": [{"a": {"$gt": n}} for n in range(8)]}
    Quotas().check_filter(many)
    with pytest.raises(StoreError, match="the filter has 9 comparisons.*8 at most"):
        Quotas().check_filter({"$or": [many, {"b": 1}]})


def test_the_names_of_a_collection_are_checked():
    with pytest.raises(StoreError, match="metaembed:model = .* has 300 bytes.*256.*shorter name"):
        Quotas().check_collection("pages", {"metaembed:model": "/" + "m" * 299})
    with pytest.raises(StoreError, match="name has 129 bytes"):
        Quotas().check_collection("n" * 129, {})
    with pytest.raises(StoreError, match="a vector has 4097 values"):
        Quotas().check_records(["a"], width=4097)
    assert quotas_at("http://127.0.0.1:8000") is None
    assert quotas_at("https://api.trychroma.com") == Quotas()


def test_a_long_list_of_stamps_is_asked_in_parts_and_says_the_same():
    """As :meth:`ChromaStore.written_since` asks it, of all stamps that it knows."""
    client = chromadb.EphemeralClient()
    made = client.get_or_create_collection("stamps", embedding_function=None)
    ids = [f"i{n}" for n in range(40)]
    stamps = [{"stamp": f"{n}-" + "s" * 300, "n": n} for n in range(40)]
    made.upsert(ids=ids, embeddings=np.ones((40, 2), np.float32), metadatas=stamps)
    ours = QuotaCollection(made, Quotas(records=7))
    known = [one["stamp"] for one in stamps[:37]]
    for where in (
        {"stamp": {"$nin": known}},
        {"$and": [{"n": {"$gt": 37}}, {"stamp": {"$nin": known}}]},
    ):
        plain, parts = made.get(where=where, include=[]), ours.get(where=where, include=[])
        assert sorted(parts["ids"]) == sorted(plain["ids"])
    assert sorted(ours.get(include=[])["ids"]) == sorted(ids)
    assert len(ours.get(limit=9, include=["metadatas"])["metadatas"]) == 9
    assert ours.get(ids=ids, include=["metadatas"])["metadatas"] == (
        [made.get(ids=[id])["metadatas"][0] for id in ids]
    )
    near = ours.query(
        query_embeddings=np.ones((1, 2), np.float32), n_results=5, include=["distances"], ids=ids
    )
    assert len(near["ids"][0]) == len(near["distances"][0]) == 30  # five of each part
