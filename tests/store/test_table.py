"""Records in parts: texts as documents, vectors in bundles; whole for whoever reads them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import StoreError
from metaembed_rag.store import bundles, packing, purge, records, table
from metaembed_rag.store import collection as collections
from metaembed_rag.store.places import DATABASE
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import pack, vector_format
from tests.support.servers import proxy

D, R = 64, 32


def encoder() -> FakeEncoder:
    return FakeEncoder(dimension=D, document_vectors=R, query_vectors=4)


def pages(count: int, version: int = 0) -> list[Page]:
    return [Page("s", n, f"page {n} of version{version} fox") for n in range(1, count + 1)]


def opened(where: Any, **settings: Any) -> PageIndex:
    return PageIndex.open(where, encoder(), **settings)


def written(payload: str) -> bytes:
    """Packed vectors as a bundle holds them."""
    (text,) = bundles._short({records.VECTORS: payload}, R, coded=True).values()
    return text.encode()


def bundle_names(folder: Path) -> list[str]:
    """Names of the bundles in a folder's database."""
    with sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT collections.name FROM collections JOIN databases "
            "ON databases.id = collections.database_id WHERE databases.name LIKE 'metaembed-%'"
        ).fetchall()
    database.close()
    return [name for (name,) in rows]


def test_other_programs_see_the_text_as_document_and_one_collection(tmp_path):
    opened(tmp_path / "index").add(pages(3))
    client = chromadb.PersistentClient(
        str(tmp_path / "index"), Settings(anonymized_telemetry=False)
    )
    assert [one.name for one in client.list_collections()] == ["pages"]
    found = client.get_collection("pages").get(where_document={"$contains": "page 2"})
    assert found["ids"] == ["s#2"]
    assert found["documents"] == ["page 2 of version0 fox"]


def test_a_page_of_an_index_in_parts_is_as_it_was_stored(tmp_path):
    index = opened(tmp_path / "index")
    page = Page("a", text="ä", metadata={"year": 2024}, lines="12", text_layer="b")
    blank = Page("b", text="")
    vectors = encoder().encode_document([page.text, "x"])
    metadatas = [
        records.to_metadata(records.Record(one, payload, "h", "text"))
        for one, payload in zip([page, blank], packed(vectors), strict=True)
    ]
    index._store.upsert(["a#1", "b#1"], vectors[:, 0], metadatas)
    found = index._store.get(["a#1", "b#1"])
    assert [found[id].page for id in ("a#1", "b#1")] == [page, blank]
    assert [found[id].payload for id in ("a#1", "b#1")] == packed(vectors)
    with_text = index._store.ids({records.TEXT: {"$ne": ""}})
    assert with_text == ["a#1"]


def packed(vectors: np.ndarray) -> list[str]:
    return pack(vector_format("int8").encode(vectors))


def put_random(index: PageIndex, count: int) -> list[str]:
    """Pages of which no vector is repeated; their packed vectors."""
    vectors = np.random.default_rng(0).standard_normal((count, R, D)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    made = packed(vectors)
    metadatas = [
        records.to_metadata(records.Record(one, payload, one.content_hash(), "text"))
        for one, payload in zip(pages(count), made, strict=True)
    ]
    index._store.upsert([one.id for one in pages(count)], vectors[:, 0], metadatas)
    return made


def test_the_database_holds_packed_vectors_once(tmp_path):
    index = opened(tmp_path / "index")
    payload = written(put_random(index, 2)[0])
    index.close()
    with closing(sqlite3.connect(tmp_path / "index" / DATABASE)) as database:
        database.execute("VACUUM INTO ?", [str(tmp_path / "live")])  # without free pages
    held = (tmp_path / "live").read_bytes()
    pieces = [payload[at : at + 64] for at in range(0, 1000, 64)]  # one may lie over two pages
    assert max(map(held.count, pieces)) == 1


def test_small_vectors_stay_in_their_records(tmp_path):
    small = FakeEncoder(dimension=8, document_vectors=8)
    index = PageIndex.open(tmp_path / "index", small)
    index.add(pages(2))
    assert bundle_names(tmp_path / "index") == []
    assert index.check().is_sound


@pytest.mark.parametrize("version", [0, 1])
def test_bundles_go_with_the_last_of_their_pages(tmp_path, version):
    index = opened(tmp_path / "index")
    index.add(pages(10))
    [first] = bundle_names(tmp_path / "index")
    index.add(pages(4, version=1))
    assert first in bundle_names(tmp_path / "index")
    before = index.vectors(["s#10"])
    index.delete(["s#5", "s#6"])  # few are left in it, so they move
    assert first not in bundle_names(tmp_path / "index")
    assert np.array_equal(index.vectors(["s#10"]), before)
    assert index.check().is_sound
    index.delete(index.ids())
    assert bundle_names(tmp_path / "index") == []


def test_in_a_database_that_others_write_to_no_page_moves(tmp_path):
    client = chromadb.EphemeralClient()
    name = f"c{uuid4().hex}"
    index = opened(client, collection=name)
    index.add(pages(10))
    found = index._store._collection
    before = found.get(ids=["s#10"], include=["metadatas"])["metadatas"][0][records.BUNDLE]
    index.delete([f"s#{number}" for number in range(1, 9)])
    after = found.get(ids=["s#10"], include=["metadatas"])["metadatas"][0][records.BUNDLE]
    assert after == before and index.check().is_sound
    client.delete_collection(name)


def test_compaction_leaves_nothing_of_a_page_that_shares_a_bundle(tmp_path):
    index = opened(tmp_path / "index")
    gone = written(put_random(index, 10)[2])
    index.delete(["s#3"])
    assert gone[:200] in (tmp_path / "index" / DATABASE).read_bytes()
    index.compact()
    assert gone[:200] not in (tmp_path / "index" / DATABASE).read_bytes()
    assert index.check().is_sound


def test_compaction_removes_bundles_that_no_record_names(tmp_path):
    index = opened(tmp_path / "index")
    index.add(pages(3))
    named = bundle_names(tmp_path / "index")
    found = index._store._collection
    layout = table.layout_of(found)
    stray = [{records.VECTORS: "AAAA" * 40}]
    bundles.Bundles().put(found, layout.bundles, stray, R, coded=layout.coded)
    assert len(bundle_names(tmp_path / "index")) == len(named) + 1
    index.compact()
    assert bundle_names(tmp_path / "index") == named


def test_compaction_spares_bundles_of_records_that_are_in_the_log_alone(tmp_path):
    opened(tmp_path / "index", collection="other").add(pages(3))
    named = bundle_names(tmp_path / "index")
    with closing(sqlite3.connect(tmp_path / "index" / DATABASE)) as database, database:
        database.execute("DELETE FROM embedding_metadata WHERE key = 'metaembed:bundle'")
    purge._shrink_file(str(tmp_path / "index"))
    assert bundle_names(tmp_path / "index") == named != []
    with closing(sqlite3.connect(tmp_path / "index" / DATABASE)) as database, database:
        database.execute("DELETE FROM embeddings_queue")
    purge._shrink_file(str(tmp_path / "index"))
    assert bundle_names(tmp_path / "index") == []


def test_an_index_whose_maker_was_ended_before_the_database_of_bundles_is_written_to(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(collections, "prepare", lambda found: None)
    index = opened(tmp_path / "index")
    index.add(pages(3))
    assert bundle_names(tmp_path / "index") != []
    assert index.check().is_sound


def test_lines_that_come_later_are_kept_beside_the_vectors(tmp_path):
    index = opened(tmp_path / "index")
    index.add(pages(3))
    vectors = index.vectors(["s#2"])
    index._store.update_metadata(["s#2"], [{records.LINES: "0 0 1 1", "note": "x"}])
    record = index._store.get(["s#2"])["s#2"]
    assert (record.page.lines, record.page.metadata["note"]) == ("0 0 1 1", "x")
    assert np.array_equal(index.vectors(["s#2"]), vectors)
    index._store.update_metadata(["s#2"], [{records.LINES: None}])
    assert index._store.get(["s#2"])["s#2"].page.lines == ""
    assert index.check().is_sound


def test_a_page_whose_bundle_is_lost_is_named_and_healed_by_adding_it_again(tmp_path, caplog):
    index = opened(tmp_path / "index")
    index.add(pages(3))
    found = index._store._collection
    [name] = bundle_names(tmp_path / "index")
    index._store._table._bundles.drop(found, table.layout_of(found).bundles, name)
    assert {one.kind for one in index.check().findings} == {"record"}
    assert len(index._store.get(index.ids())) == 0
    assert "lacks metaembed:vectors" in caplog.text
    assert index.add(pages(3)).added == 3
    assert index.check().is_sound


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("distinct", [1, 5, 31, 32])
def test_repeated_vectors_are_written_once_and_come_back_as_they_were(distinct, coded):
    made = encoder().encode_document(["x"])[:, np.arange(R) % distinct]
    [text] = packed(made)
    short = bundles._short({records.VECTORS: text, "x": "y"}, R, coded=coded)
    assert dict(bundles._whole(short)) == {records.VECTORS: text, "x": "y"}
    assert sum(map(len, short.values())) <= len(text) * (distinct + 2) / R + 10


@pytest.mark.parametrize("coded", [False, True])
def test_a_text_that_is_no_packed_vectors_is_left_as_it_is(coded):
    for text in ("", "ü", "AAA"):
        short = bundles._short({records.VECTORS: text}, R, coded=coded)
        assert short == {records.VECTORS: text}
    odd = {records.VECTORS: "AAAA" * 11}  # bytes, but not of so many vectors
    assert bundles._whole(bundles._short(odd, R, coded=coded)) == odd
    assert (bundles._short(odd, R, coded=coded) == odd) is not coded
    for text in ("", "AA==", "/wAA"):
        with pytest.raises(ValueError):
            bundles._whole({bundles._DISTINCT: text})
    for key, text in ((bundles._CODED, "AA=="), (bundles._CODED_DISTINCT, packing.pack_text(b""))):
        with pytest.raises(ValueError):
            bundles._whole({key: text})


def test_new_indexes_code_their_vectors_and_those_of_format_3_stay_readable_for_older_versions(
    tmp_path, monkeypatch
):
    def keys(name: str) -> set[str]:
        with closing(sqlite3.connect(tmp_path / name / DATABASE)) as database:
            found = database.execute("SELECT key FROM collection_metadata WHERE key LIKE '%:%'")
            return {key.partition(":")[2] for (key,) in found if key[0].isdigit()}

    opened(tmp_path / "new").add(pages(3))
    with monkeypatch.context() as before:
        before.setattr(collections, "FORMAT", 3)
        plain = {table.DOCUMENTS: True, table.BUNDLES: "metaembed-before"}
        before.setattr(collections, "layout_for", lambda size: plain)
        opened(tmp_path / "old").add(pages(3))
    opened(tmp_path / "old").add(pages(5))
    assert keys("new") & {"coded", "coded distinct"}
    assert not keys("old") & {"coded", "coded distinct"}
    new, old = opened(tmp_path / "new"), opened(tmp_path / "old")
    assert np.array_equal(new.vectors(["s#1", "s#2"]), old.vectors(["s#1", "s#2"]))
    assert new.check().is_sound and old.check().is_sound


def test_an_index_of_before_keeps_its_form(tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(collections, "layout_for", lambda size: {})
        opened(tmp_path / "index").add(pages(2))
    index = opened(tmp_path / "index")
    index.add(pages(3, version=1))
    assert bundle_names(tmp_path / "index") == []
    assert index.check().is_sound
    assert index._store._collection.get(include=["documents"])["documents"] == [None] * 3


@pytest.mark.parametrize("error", [StoreError("403"), chromadb.errors.AuthorizationError("no")])
def test_where_no_database_may_be_made_records_hold_their_vectors(tmp_path, monkeypatch, error):
    def refused(*_: Any) -> None:
        raise error

    monkeypatch.setattr(bundles.Bundles, "make_database", refused)
    index = opened(tmp_path / "index")
    index.add(pages(2))
    assert bundle_names(tmp_path / "index") == []
    assert len(index.search("fox")) == 2
    monkeypatch.undo()
    again = opened(tmp_path / "index")
    again.add(pages(3, version=1))
    assert again.check().is_sound


@pytest.mark.integration
@pytest.mark.parametrize("at", ["create_collection", "upsert", "delete_collection"])
def test_a_kill_at_any_step_loses_no_page_that_was_acknowledged(tmp_path, at):
    index = opened(tmp_path / "index")
    index.add(pages(6))
    index.close()
    program = f"""
import os, signal
from chromadb.api.rust import RustBindingsAPI as Api
from tests.store.test_table import opened, pages
index = opened({str(tmp_path / "index")!r})
def killed(self, *args, **given):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(Api, {"_upsert" if at == "upsert" else at!r}, killed)
index.add(pages(6, version=1))
"""
    done = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    index = opened(tmp_path / "index")
    assert index.check().is_sound
    texts = {page.text for page in index.get(index.ids())}
    version = 1 if at == "delete_collection" else 0
    assert texts == {page.text for page in pages(6, version)}
    assert len(index.search("fox", 10)) == 6
    index.compact()
    assert len(bundle_names(tmp_path / "index")) == 1
    assert index.check().is_sound


@pytest.mark.integration
def test_on_a_server_pages_are_in_parts_too(server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = f"c{uuid4().hex}"
    index = opened(server, collection=name)
    index.add(pages(5))
    layout = table.layout_of(index._store._collection)
    assert layout.bundles
    assert index._store._collection.get(ids=["s#1"])["documents"] == ["page 1 of version0 fox"]
    assert records.VECTORS not in index._store._collection.get(ids=["s#1"])["metadatas"][0]
    vectors = index.vectors(index.ids())
    index.add(pages(3, version=1))
    index.delete(["s#4"])
    assert np.array_equal(index.vectors(["s#5"])[0], vectors[index.ids().index("s#5") + 1])
    other = opened(server, collection=name)
    assert len(other.search("fox", 10, exhaustive=True)) == 4
    index.delete(index.ids())
    host, _, port = server.removeprefix("http://").partition(":")
    settings = Settings(anonymized_telemetry=False)
    client = chromadb.HttpClient(host, int(port), settings=settings, database=layout.bundles)
    assert client.list_collections() == []


@pytest.mark.integration
def test_a_server_that_keeps_its_users_to_one_database_has_whole_records(
    server, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with proxy(server) as before:
        before.at["databases"] = (403, {}, b"no")
        index = opened(before.address, collection=f"c{uuid4().hex}")
        index.add(pages(3))
        assert not table.layout_of(index._store._collection).bundles
        assert records.VECTORS in index._store._collection.get(ids=["s#1"])["metadatas"][0]
        assert index.check().is_sound
