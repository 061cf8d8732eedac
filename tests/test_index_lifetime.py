"""From the opening of an index to its end: other indexes in its place, closing, copies."""

from __future__ import annotations

import copy
import gc
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chromadb
import numpy as np
import pytest
from PIL import Image

from metaembed_rag.errors import (
    IndexClosedError,
    IndexNotFoundError,
    ModelMismatchError,
    StoreError,
)
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support.counting import falls_to, open_files, settled, threads
from tests.support.processes import CONTEXT

OLD = ["old apples", "old whales", "old pears"]
NEW = ["new apples", "new trains", "new cars", "new boats"]
WAYS = {
    "cascade": {},
    "exhaustive": {"exhaustive": True},
    "hybrid": {"hybrid": True},
    "candidates": {"candidates": 10},
    "filter": {"where": {"page": 1}},
}


def pages(words: list[str]) -> list[Page]:
    return [Page(source=text.replace(" ", "_"), text=text) for text in words]


def built(folder: Path, words: list[str], **settings) -> PageIndex:
    index = PageIndex.open(folder, FakeEncoder(**settings.pop("encoder", {})), **settings)
    index.add(pages(words))
    return index


def ids(words: list[str]) -> set[str]:
    return {page.id for page in pages(words)}


def found(index: PageIndex, query: str, **way) -> set[str]:
    return {hit.page.id for hit in index.search(query, 10, **way)}


def swapped(folder: Path, other: Path) -> None:
    """Put another folder in the place of a folder."""
    folder.rename(folder.with_name("before"))
    other.rename(folder)


def made_again(folder: Path, other: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def only_its_files(folder: Path, other: Path) -> None:
    """Delete what is in a folder, then put other files in."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(other, folder, dirs_exist_ok=True)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("replace", [swapped, made_again, only_its_files])
def test_fault_11_an_index_that_took_the_place_of_another_is_found(tmp_path, way, replace):
    with built(tmp_path / "i", OLD) as served:
        built(tmp_path / "other", NEW).close()
        assert found(served, "apples", **way) == ids(OLD)
        replace(tmp_path / "i", tmp_path / "other")
        assert found(served, "apples", **way) == ids(NEW)


def test_fault_11_every_other_question_is_answered_by_the_index_that_is_there(tmp_path):
    with built(tmp_path / "i", OLD) as served:
        built(tmp_path / "other", NEW).close()
        served.search("apples", hybrid=True)
        swapped(tmp_path / "i", tmp_path / "other")
        new = sorted(ids(NEW))
        assert len(served) == served.info()["pages"] == 4
        assert served.ids() == new
        assert [page.id for page in served.get([*new, *ids(OLD)])] == new
        assert served.vectors(new).shape[0] == 4
        assert {hit.page.id for hit in served.score("apples", [*new, *ids(OLD)])} == set(new)
        assert served.recall(["apples"], k=3) == 1.0


def test_fault_11_writes_go_to_the_index_that_is_there(tmp_path):
    with built(tmp_path / "i", OLD) as served:
        built(tmp_path / "other", NEW).close()
        swapped(tmp_path / "i", tmp_path / "other")
        assert served.add(pages(["new planes"])).added == 1
        assert served.delete("new_cars#1") == 1
        expected = ids([*NEW, "new planes"]) - {"new_cars#1"}
        assert found(served, "planes") == expected
    with PageIndex.open(tmp_path / "i", FakeEncoder(), create=False) as again:
        assert set(again.ids()) == expected
    with PageIndex.open(tmp_path / "before", FakeEncoder(), create=False) as before:
        assert set(before.ids()) == ids(OLD)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_fault_11_a_backup_that_is_put_back_is_searched_as_it_was(tmp_path, way):
    """It has stamps that are known and as many pages, so only where it comes from tells."""
    with built(tmp_path / "i", OLD) as served:
        shutil.copytree(tmp_path / "i", tmp_path / "backup")
        served.add([Page(source="old_apples", text="bread and butter")])
        assert served.search("butter", 1, **way)[0].page.text == "bread and butter"
        swapped(tmp_path / "i", tmp_path / "backup")
        best = served.search("old apples", 1, **way)[0]
        assert (best.page.text, best.page.id) == ("old apples", "old_apples#1")
        assert best.score > 0.9 or "hybrid" in way


@pytest.mark.parametrize(
    "other",
    [{"encoder": {"seed": 1}}, {"format": "int4"}, {"vectors": 8}, {"encoder": {"dimension": 32}}],
    ids=["model", "format", "vectors", "dimension"],
)
def test_fault_11_an_index_of_another_model_is_neither_searched_nor_added_to(tmp_path, other):
    with built(tmp_path / "i", OLD) as served:
        built(tmp_path / "other", NEW, **other).close()
        swapped(tmp_path / "i", tmp_path / "other")
        for way in WAYS.values():
            with pytest.raises(ModelMismatchError, match="replaced by one of another"):
                served.search("apples", 10, **way)
        for use in (
            lambda: served.add(pages(["new planes"])),
            lambda: served.delete("new_cars#1"),
            lambda: served.score("apples", ["new_cars#1"]),
            served.info,
        ):
            with pytest.raises(ModelMismatchError, match="open it again with the model"):
                use()
        shutil.rmtree(tmp_path / "i")
        (tmp_path / "before").rename(tmp_path / "i")  # it goes on when its own is back
        assert found(served, "apples") == ids(OLD)


def test_fault_11_an_index_that_was_deleted_is_missed_and_found_again(tmp_path):
    with built(tmp_path / "i", OLD) as served:
        shutil.rmtree(tmp_path / "i")
        for way in WAYS.values():
            with pytest.raises(IndexNotFoundError, match="moved or deleted"):
                served.search("apples", 10, **way)
        for use in (lambda: served.add(pages(NEW)), lambda: served.delete("x"), served.info):
            with pytest.raises(IndexNotFoundError, match="moved or deleted"):
                use()
        assert not (tmp_path / "i").exists()
        built(tmp_path / "i", NEW).close()
        assert found(served, "apples") == ids(NEW)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_fault_11_a_collection_that_was_made_again_is_found(tmp_path, way):
    with built(tmp_path / "i", OLD) as served, built(tmp_path / "i", OLD[:1]) as maker:
        assert found(served, "apples", **way) == ids(OLD)
        client = chromadb.PersistentClient(str(tmp_path / "i"))
        about = client.get_collection("pages", embedding_function=None).metadata
        client.delete_collection("pages")
        with pytest.raises(IndexNotFoundError, match="no collection 'pages'"):
            served.search("apples", 10, **way)
        client.create_collection("pages", metadata=about, embedding_function=None)
        assert maker.add(pages(NEW[:3])).added == 3  # as many as there were
        assert found(served, "apples", **way) == ids(NEW[:3])
        client.close()


def test_fault_11_half_an_index_is_never_added_to_another(tmp_path):
    with built(tmp_path / "i", OLD) as served:
        built(tmp_path / "other", NEW).close()

        def swap(done: int) -> None:
            if (tmp_path / "other").exists():
                swapped(tmp_path / "i", tmp_path / "other")

        with pytest.raises(StoreError, match="replaced by another while it was being written"):
            served.add(pages([f"page {i}" for i in range(20)]), batch_size=4, progress=swap)
        assert set(served.ids()) == ids(NEW)


def test_fault_11_a_deleted_index_is_not_brought_back_by_what_is_derived(tmp_path):
    index = built(tmp_path / "i", OLD)
    texts = index._store.texts

    def deleted_meanwhile():
        yield from texts()
        shutil.rmtree(tmp_path / "i")

    index._store.texts = deleted_meanwhile
    with pytest.raises(IndexNotFoundError, match="moved or deleted"):
        index.search("apples", hybrid=True)
    assert not (tmp_path / "i").exists()
    index.close()


def test_fault_11_a_deleted_index_is_not_brought_back_by_pictures(tmp_path):
    index = built(tmp_path / "i", OLD)
    page = Page(source="red", text="red", image=Image.new("RGB", (9, 9), "red"))
    encode = index.encoder.encode_document

    def deleted_meanwhile(inputs, **options):
        shutil.rmtree(tmp_path / "i")
        return encode(inputs, **options)

    index.encoder.encode_document = deleted_meanwhile
    with pytest.raises(IndexNotFoundError, match="moved or deleted"):
        index.add([page])
    assert not (tmp_path / "i").exists()
    index.close()


@pytest.mark.integration
def test_fault_11_a_servers_collection_that_was_made_again_is_found(server):
    encoder = FakeEncoder()
    with PageIndex.open(server, encoder, collection="again") as served:
        served.add(pages(OLD))
        assert found(served, "apples") == ids(OLD)
        host, _, port = server.rpartition("/")[2].partition(":")
        client = chromadb.HttpClient(host=host, port=int(port))
        client.delete_collection("again")
        with PageIndex.open(server, encoder, collection="again") as other:
            other.add(pages(NEW[:3]))
        for way in WAYS.values():
            assert found(served, "apples", **way) == ids(NEW[:3])


def test_fault_13_threads_open_one_folder_at_once(tmp_path):
    for turn in range(3):
        folder = tmp_path / str(turn)
        barrier = threading.Barrier(8)

        def open_and_search(number: int, folder=folder, barrier=barrier) -> int:
            barrier.wait(timeout=30)
            with PageIndex.open(folder, FakeEncoder()) as index:
                return len(index.search("apples")) + len(index)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(open_and_search, range(8))) == [0] * 8


def add_one(folder: Path, number: int, barrier) -> None:
    barrier.wait(timeout=60)
    with PageIndex.open(folder, FakeEncoder()) as index:
        index.add(pages([f"page {number}"]), lock_timeout=60)
        assert index.search("page", candidates=10)


@pytest.mark.integration
def test_fault_13_processes_make_one_index_at_once(tmp_path):
    barrier = CONTEXT.Barrier(3)
    children = [
        CONTEXT.Process(target=add_one, args=(tmp_path / "i", number, barrier))
        for number in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    with PageIndex.open(tmp_path / "i", FakeEncoder()) as index:
        assert set(index.ids()) == ids(["page 0", "page 1", "page 2"])


def test_fault_13_indexes_of_one_folder_share_its_files_and_do_not_close_each_other(tmp_path):
    first = built(tmp_path / "i", OLD)
    before = settled(open_files), settled(threads)
    others = [PageIndex.open(tmp_path / "i", FakeEncoder()) for _ in range(5)]
    assert open_files() - before[0] <= 2
    assert threads() - before[1] <= 2
    for index in others:
        assert len(index) == 3
        index.close()
    assert found(first, "apples", candidates=10) == ids(OLD)
    first.close()


def test_fault_13_what_one_index_writes_another_of_the_process_finds(tmp_path):
    with built(tmp_path / "i", OLD) as first, PageIndex.open(tmp_path / "i") as second:
        second._model.loaded = FakeEncoder()
        for writer, reader, text in [(first, second, "a fig"), (second, first, "a plum")]:
            writer.add(pages([text]))
            for way in WAYS.values():
                assert reader.search(text, 1, **way)[0].page.text == text


@pytest.mark.parametrize("theirs_first", [True, False])
def test_fault_13_a_users_own_client_and_an_index_live_side_by_side(tmp_path, theirs_first):
    folder = tmp_path / "i"
    built(folder, OLD).close()
    settings = chromadb.Settings(allow_reset=True, anonymized_telemetry=False)

    def client():
        return chromadb.PersistentClient(str(folder), settings=settings)

    theirs = client() if theirs_first else None
    index = PageIndex.open(folder, FakeEncoder())
    theirs = theirs or client()
    notes = theirs.get_or_create_collection("notes", embedding_function=None)
    notes.add(ids=["n"], embeddings=[[1.0, 0.0]])
    index.add(pages(["old figs"]))
    assert theirs.get_collection("pages", embedding_function=None).count() == 4
    index._store.reconnect()
    index.close()
    notes.add(ids=["m"], embeddings=[[0.0, 1.0]])
    assert notes.query(query_embeddings=np.eye(2)[:1], n_results=2)["ids"] == [["n", "m"]]
    with PageIndex.open(folder, FakeEncoder()) as again:
        theirs.close()
        assert found(again, "figs", candidates=10) == ids([*OLD, "old figs"])


USES = {
    "search": lambda index: index.search("apples"),
    "search_batch": lambda index: index.search_batch(["apples"]),
    "search_vectors": lambda index: index.search_vectors(np.eye(16, 64, dtype=np.float32)),
    "exhaustive": lambda index: index.search("apples", exhaustive=True),
    "hybrid": lambda index: index.search("apples", hybrid=True),
    "candidates": lambda index: index.search("apples", candidates=5),
    "auto": lambda index: index.search("apples", budget="auto"),
    "score": lambda index: index.score("apples", ["old_apples#1"]),
    "recall": lambda index: index.recall(["apples"]),
    "calibrate": lambda index: index.calibrate(["apples"]),
    "add": lambda index: index.add([]),
    "sync": lambda index: index.sync([]),
    "delete": lambda index: index.delete("old_apples#1"),
    "get": lambda index: index.get(["old_apples#1"]),
    "ids": lambda index: index.ids(),
    "vectors": lambda index: index.vectors(["old_apples#1"]),
    "len": len,
    "info": lambda index: index.info(),
}


@pytest.mark.parametrize("where", ["folder", ":memory:"])
def test_fault_14_a_closed_index_says_so_whatever_it_is_asked(tmp_path, where):
    place = where if where == ":memory:" else tmp_path / "i"
    with PageIndex.open(place, FakeEncoder()) as index:
        index.add(pages(OLD))
        index.search("apples", hybrid=True)
    index.close()  # again is no error
    for use in USES.values():
        with pytest.raises(IndexClosedError, match="was closed; open it again"):
            use(index)


@pytest.mark.integration
def test_fault_14_an_index_on_a_server_is_closed_too(server):
    with PageIndex.open(server, FakeEncoder(), collection="closed") as index:
        index.add(pages(OLD))
    index.close()
    with pytest.raises(IndexClosedError, match="was closed"):
        index.search("apples")


@pytest.mark.integration
@pytest.mark.usefixtures("the_engine_in_memory_ends")
@pytest.mark.parametrize("where", ["folder", ":memory:"])
@pytest.mark.parametrize("end", ["close", "collected"])
def test_fault_14_a_hundred_openings_leave_no_files_and_no_threads(tmp_path, where, end):
    def round(number: int) -> None:
        place = where if where == ":memory:" else tmp_path / str(number % 7)
        index = PageIndex.open(place, FakeEncoder())
        index.add(pages(OLD[:1]))
        index.search("apples", candidates=5)
        index.search("apples", hybrid=True)
        if end == "close":
            index.close()

    for number in range(7):
        round(number)
    gc.collect()
    before = settled(open_files), settled(threads)
    for number in range(100 if end == "close" else 30):
        round(number)
    assert falls_to(before[0] + 4, open_files)
    assert falls_to(before[1] + 4, threads)


def test_fault_14_an_index_that_nobody_holds_is_released_without_the_collector(tmp_path):
    index = built(tmp_path / "i", OLD)
    index.search("apples", hybrid=True)
    before = settled(open_files)
    gc.disable()
    try:
        del index
        assert falls_to(before - 6, open_files)
    finally:
        gc.enable()


def test_fault_14_questions_under_way_are_answered_before_an_index_closes(tmp_path):
    index = built(tmp_path / "i", OLD)
    asked, closed = threading.Event(), threading.Event()

    def ask(connection):
        asked.set()
        assert closed.wait(30)
        return connection.collection.count()

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(index._store._link.ask, ask)
        assert asked.wait(30)
        index.close()
        closed.set()
        assert answer.result() == 3


def test_fault_14_an_opening_that_fails_leaves_no_files(tmp_path):
    built(tmp_path / "i", OLD).close()
    before = settled(open_files), settled(threads)
    for _ in range(5):
        with pytest.raises(ModelMismatchError):
            PageIndex.open(tmp_path / "i", FakeEncoder(seed=1))
        with pytest.raises(IndexNotFoundError):
            PageIndex.open(tmp_path / "i", FakeEncoder(), collection="none", create=False)
    assert falls_to(before[0] + 2, open_files)
    assert falls_to(before[1] + 2, threads)


def test_fault_17_a_pickled_index_is_the_same_index_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    index = built(Path("i"), OLD, collection="fruit")
    data = pickle.dumps(index)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pickle.loads(data) as again:
        assert again.info() == {**index.info(), "index": str(tmp_path / "i")}
        assert found(again, "apples") == ids(OLD)
        again.add(pages(["old figs"]))
    assert found(index, "figs") == ids([*OLD, "old figs"])
    index.close()


def test_fault_17_a_deep_copy_shares_the_model_and_outlives_the_first(tmp_path):
    index = built(tmp_path / "i", OLD)
    again = copy.deepcopy({"index": index})["index"]
    assert again is not index
    assert again.encoder is index.encoder
    index.close()
    assert found(again, "apples") == ids(OLD)
    again.close()


def test_fault_17_an_index_in_memory_says_why_it_cannot_be_copied(index):
    for copying in (copy.deepcopy, pickle.dumps):
        with pytest.raises(StoreError, match="in memory cannot be copied or pickled.*in a folder"):
            copying(index)


def test_fault_17_a_pickle_of_a_place_without_an_index_makes_none(tmp_path):
    index = built(tmp_path / "i", OLD)
    data = pickle.dumps(index)
    index.close()
    shutil.rmtree(tmp_path / "i")
    with pytest.raises(IndexNotFoundError):
        pickle.loads(data)
    assert not (tmp_path / "i").exists()


def test_fault_14_a_closed_index_in_memory_leaves_nothing_to_the_next_one() -> None:
    encoder = FakeEncoder()
    with PageIndex.open(":memory:", encoder) as index:
        index.add([Page(source="a.pdf", text="a", metadata={"tags": ["theirs"]})])
    with PageIndex.open(":memory:", encoder) as index:
        index.add([Page(source="b.pdf", text="b")])
        assert index.get(index.ids())[0].metadata == {}
