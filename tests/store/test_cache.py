from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from metaembed_rag.errors import StoreError
from metaembed_rag.pages import Page
from metaembed_rag.store import cache, chroma, level_writer, levels, places, records
from metaembed_rag.store.cache import VectorCache
from metaembed_rag.store.changes import Change, WriteLog, are_all_between
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.level_writer import CacheWriter
from metaembed_rag.store.levels import CachedVectors, Header, level_ends
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import FORMATS, pack, vector_format
from tests.support.processes import CONTEXT

R, D = 5, 8
ABOUT = CollectionModel("model", "f" * 32, dimension=D, vectors=R)
HEADER = Header("c", "f" * 32, "int8", D, R)
INT8 = vector_format("int8")


def vectors(pages: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((pages, R, D)).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def opened(where: Path | str, about: CollectionModel = ABOUT, name: str = "pages") -> ChromaStore:
    return ChromaStore.open(where, lambda: about, collection=name)


def put(store: ChromaStore, names: str, seed: int = 0) -> Change:
    """One page a letter, in one request; what a writer would hand over."""
    made = vectors(len(names), seed)
    encoded = vector_format(store.about.format).encode(made)
    metadatas = [
        records.to_metadata(Record(Page(source=name), payload, "h", "text"))
        for name, payload in zip(names, pack(encoded), strict=True)
    ]
    change = store.upsert([f"{name}#1" for name in names], made[:, 0], metadatas)
    return replace(change, vectors=encoded)


def in_chroma(store: ChromaStore) -> dict[str, np.ndarray]:
    """The slow, obvious definition: every page read from its record."""
    found = store.get(store.ids())
    return {id: store.about.unpack([record]).decode()[0] for id, record in found.items()}


def in_cache(found: CachedVectors) -> dict[str, np.ndarray]:
    rows = np.flatnonzero(found.alive)
    taken = found.take(rows, found.header.vectors).decode()
    return dict(zip(found.ids[rows].tolist(), taken, strict=True))


def verify(found: CachedVectors) -> None:
    """Compare every byte with its checksum."""
    for name in found.manifest.files:
        found._read(name)


def assert_equal(store: ChromaStore, found: CachedVectors) -> None:
    wanted, got = in_chroma(store), in_cache(found)
    assert wanted.keys() == got.keys()
    assert all(np.array_equal(wanted[id], got[id]) for id in wanted)
    verify(found)


@pytest.fixture
def spied(monkeypatch) -> list[str]:
    """Ids whose records were read from Chroma."""
    seen: list[str] = []
    get = ChromaStore.get

    def spy(self, ids):
        seen.extend(ids)
        return get(self, ids)

    monkeypatch.setattr(ChromaStore, "get", spy)
    return seen


# -- levels --------------------------------------------------------------------------------


def test_levels_end_where_the_papers_budgets_do():
    assert level_ends(64) == (1, 4, 8, 16, 64)
    assert level_ends(16) == (1, 4, 8, 16)
    assert level_ends(5) == (1, 4, 5)
    assert level_ends(100) == (1, 4, 8, 16, 64, 100)
    assert level_ends(1) == (1,)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("r_c", [1, 2, 4, 5])
def test_what_is_written_is_read_in_every_format(tmp_path, name, r_c):
    encoded = vector_format(name).encode(vectors(3))
    header = Header("c", "f", name, D, R)
    with CacheWriter(tmp_path, header) as writer:
        writer.append(["a", "ö\n", ""], ["1-s", "", "1-s"], encoded)
        writer.commit()
    found = CachedVectors.load(tmp_path)
    assert found.ids.tolist() == ["a", "ö\n", ""]
    assert found.rows(["", "none", "ö\n"]).tolist() == [2, -1, 1]
    assert found.stamps(np.array([0, 1, 2])) == ["1-s", "", "1-s"]
    rows = np.array([2, 0])
    assert np.array_equal(found.take(rows, r_c).decode(), encoded.first(r_c).decode()[rows])
    pieces = [level.decode() for level in found.levels(r_c)]
    assert np.array_equal(np.concatenate(pieces, axis=1), encoded.first(r_c).decode())


def test_a_coarse_budget_touches_the_coarse_level_only(tmp_path):
    with CacheWriter(tmp_path, HEADER) as writer:
        writer.append(["a", "b"], ["", ""], INT8.encode(vectors(2)))
        writer.commit()
    found = CachedVectors.load(tmp_path)
    [coarse] = found.levels(1)
    assert isinstance(coarse.values, np.memmap)
    assert coarse.values.nbytes == 2 * D
    assert (tmp_path / found.manifest.generation / "level0.values").stat().st_size == 2 * D


def test_an_older_view_stays_as_it_was(tmp_path):
    with CacheWriter(tmp_path, HEADER) as writer:
        writer.append(["a"], [""], INT8.encode(vectors(1)))
        writer.commit()
        old = CachedVectors.load(tmp_path)
        writer.kill([0])
        writer.append(["a", "b"], ["", ""], INT8.encode(vectors(2, seed=1)))
        writer.commit()
    assert in_cache(old)["a"] == pytest.approx(INT8.encode(vectors(1)).decode()[0])
    new = CachedVectors.load(tmp_path)
    assert new.alive.tolist() == [False, True, True]
    assert new.rows(["a", "b"]).tolist() == [1, 2]
    assert old.rows(["a", "b"]).tolist() == [0, -1]


def test_what_was_not_committed_does_not_count_and_is_cut_off(tmp_path):
    with CacheWriter(tmp_path, HEADER) as writer:
        writer.append(["a"], ["1-s"], INT8.encode(vectors(1)))
        writer.commit()
        writer.append(["lost"], ["1-t"], INT8.encode(vectors(1, seed=1)))
    before = CachedVectors.load(tmp_path)
    assert before.ids.tolist() == ["a"]
    with CacheWriter(tmp_path, HEADER, before) as writer:
        writer.append(["b"], ["1-u"], INT8.encode(vectors(1, seed=2)))
        writer.commit()
    found = CachedVectors.load(tmp_path)
    assert found.ids.tolist() == ["a", "b"]
    assert found.stamps(np.array([0, 1])) == ["1-s", "1-u"]
    verify(found)


def test_compaction_drops_dead_rows_and_nothing_else(tmp_path):
    with CacheWriter(tmp_path, HEADER) as writer:
        writer.append(["a", "b", "c"], ["1-s", "2-t", "2-t"], INT8.encode(vectors(3)))
        writer.kill([1])
        writer.commit("mark", ["2-t"])
    old = CachedVectors.load(tmp_path)
    level_writer.compact(tmp_path, old)
    new = CachedVectors.load(tmp_path)
    assert (len(old), len(new), new.ids.tolist()) == (3, 2, ["a", "c"])
    assert (new.manifest.mark, new.manifest.unsettled) == ("mark", ("2-t",))
    assert all(np.array_equal(in_cache(old)[id], in_cache(new)[id]) for id in "ac")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [new.manifest.generation]


@pytest.mark.parametrize("name", ["level0.values", "level2.scales", "ids.text", "rows.stamps"])
def test_a_damaged_file_is_noticed(tmp_path, name):
    with CacheWriter(tmp_path, HEADER) as writer:
        writer.append(["a", "b"], ["1-s", "1-s"], INT8.encode(vectors(2)))
        writer.commit()
    path = tmp_path / CachedVectors.load(tmp_path).manifest.generation / name
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        verify(CachedVectors.load(tmp_path))


# -- the copy of a store -------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_the_cache_equals_the_records_in_every_format(tmp_path, name):
    store = opened(tmp_path, CollectionModel("m", "f", D, R, name))
    put(store, "abc")
    found = VectorCache(store).current()
    assert_equal(store, found)


def test_it_follows_additions_changes_and_deletions(tmp_path):
    store = opened(tmp_path)
    kept = VectorCache(store)
    assert in_cache(kept.current()) == {}
    put(store, "abcd")
    assert_equal(store, kept.current())
    put(store, "bx", seed=1)
    store.delete(["a#1"])
    assert_equal(store, kept.current())
    assert_equal(store, VectorCache(opened(tmp_path)).current())
    assert kept.current().pages == 4


def test_a_page_that_was_written_twice_has_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_READ_AT_ONCE", 2)
    store = opened(tmp_path)
    put(store, "ab")
    kept = VectorCache(store)
    kept.current()
    found = kept.apply([put(store, "cde", seed=1), put(store, "c", seed=2)])
    assert found.pages == store.count() == 5
    assert_equal(store, found)


def test_only_what_changed_is_read(tmp_path, spied):
    store = opened(tmp_path)
    put(store, "abc")
    kept = VectorCache(store)
    kept.current()
    assert sorted(spied) == ["a#1", "b#1", "c#1"]
    spied.clear()
    put(store, "b", seed=1)
    kept.current()
    assert spied == ["b#1"]
    spied.clear()
    VectorCache(opened(tmp_path)).current()
    assert spied == []


def test_nothing_is_asked_when_the_mark_says_that_nobody_wrote(tmp_path, monkeypatch):
    store = opened(tmp_path)
    put(store, "ab")
    VectorCache(store).current()

    def refuse(self, stamps, after):
        raise AssertionError("asked")

    monkeypatch.setattr(ChromaStore, "written_since", refuse)
    assert VectorCache(opened(tmp_path)).current().pages == 2


def test_a_writer_tells_what_it_wrote_so_that_nothing_is_looked_for(tmp_path, monkeypatch, spied):
    store = opened(tmp_path)
    put(store, "abc")
    vectors_ = VectorCache(store)
    vectors_.current()
    spied.clear()
    monkeypatch.setattr(ChromaStore, "written_since", None)  # nobody may look
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(ChromaStore, "ids", None)
        found = vectors_.apply([put(store, "cd", seed=1), store.delete(["a#1"])])
    assert spied == []  # nor read what it has been given
    assert vectors_.current() is found
    assert_equal(store, found)


def test_a_writer_that_was_not_alone_is_not_believed(tmp_path):
    store = opened(tmp_path)
    put(store, "abc")
    vectors_ = VectorCache(store)
    vectors_.current()
    put(store, "d", seed=1)  # by somebody else, and the cache was not told
    assert_equal(store, vectors_.apply([put(store, "e", seed=2)]))


def test_a_write_to_another_collection_is_asked_about_once(tmp_path, monkeypatch):
    store = opened(tmp_path)
    put(store, "ab")
    VectorCache(store).current()
    put(opened(tmp_path, name="other"), "x")
    asked = []
    ask = ChromaStore.written_since
    monkeypatch.setattr(
        ChromaStore, "written_since", lambda self, s, after: (asked.append(1), ask(self, s))[1]
    )
    for _ in range(2):
        assert VectorCache(opened(tmp_path)).current().pages == 2
    assert len(asked) == 1


def test_a_writer_that_was_killed_between_data_and_mark_is_noticed(tmp_path, monkeypatch):
    store = opened(tmp_path)
    put(store, "a")
    kept = VectorCache(store)
    kept.current()
    monkeypatch.setattr(WriteLog, "_end", lambda self, span: None)
    put(store, "a", seed=1)
    assert_equal(store, VectorCache(opened(tmp_path)).current())


def test_metadata_alone_changes_no_vectors(tmp_path, spied):
    store = opened(tmp_path)
    put(store, "ab")
    kept = VectorCache(store)
    kept.current()
    spied.clear()
    store.update_metadata(["a#1"], [{"note": "x"}])
    assert_equal(store, kept.current())
    assert len(kept.current()) == 2


def test_pages_from_before_there_were_stamps_are_copied_once(tmp_path, monkeypatch):
    store = opened(tmp_path)
    monkeypatch.setattr(records, "new_stamp", lambda count: "")
    put(store, "ab")
    kept = VectorCache(store)
    assert_equal(store, kept.current())
    monkeypatch.undo()
    put(store, "c", seed=1)
    assert_equal(store, kept.current())
    assert len(kept.current()) == 3


def test_a_request_that_was_seen_in_part_is_looked_at_again(tmp_path, monkeypatch):
    """While the first pages are read, one request replaces one of them and one not yet read."""
    monkeypatch.setattr(cache, "_READ_AT_ONCE", 1)
    store = opened(tmp_path)
    put(store, "abc")
    get = ChromaStore.get

    def interrupted(self, ids):
        found = get(self, ids)
        if ids == ["a#1"]:
            monkeypatch.setattr(ChromaStore, "get", get)
            put(store, "ac", seed=1)
        return found

    monkeypatch.setattr(ChromaStore, "get", interrupted)
    kept = VectorCache(store)
    kept.current()
    assert_equal(store, kept.current())


def test_it_follows_a_hundred_random_writes(tmp_path):
    random = np.random.default_rng(0)
    store = opened(places.MEMORY)
    kept = VectorCache(store, tmp_path)
    for seed in range(100):
        names = "".join(random.choice(list("abcdefgh"), size=random.integers(1, 5), replace=False))
        if random.random() < 0.4:
            store.delete([f"{name}#1" for name in names])
        else:
            put(store, names, seed)
        if random.random() < 0.5:
            assert_equal(store, kept.current())


STEPS = ["put", "put", "put", "delete", "note", "other", "look", "lose", "give"]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_handed_over_is_the_same_as_what_would_be_read(tmp_path, seed):
    """At random: writes of ours and of others, hand-overs, lost ones, other readers' updates."""
    random = np.random.default_rng(seed)
    store, other = opened(tmp_path), opened(tmp_path)
    kept, theirs = VectorCache(store), VectorCache(other)
    ours: list[Change] = []
    for number in range(60):
        names = "".join(random.choice(list("abcdefgh"), size=random.integers(1, 5), replace=False))
        step = random.choice(
            ["put", "put", "put", "delete", "note", "other", "look", "lose", "give"]
        )
        if step == "put":
            ours.append(put(store, names, number))
        elif step == "delete":
            ours.append(store.delete([f"{name}#1" for name in names]))
        elif step == "note":
            there = store.ids()[:1]
            ours.append(store.update_metadata(there, [{"note": number}] * len(there)))
        elif step == "other":
            put(other, names, number)
        elif step == "look":
            theirs.current()
        elif step == "lose":
            ours.clear()
        else:
            assert_equal(store, kept.apply(ours))
            ours.clear()
    assert_equal(store, kept.current())


def test_of_a_chain_of_marks_no_link_may_be_missing():
    one, two = Change("a", "b"), Change("b", "c")
    assert are_all_between([one, two], "a", "c")
    assert not are_all_between([one, two], "", "c")  # somebody wrote before,
    assert not are_all_between([one], "a", "c")  # since,
    assert not are_all_between([one, Change("x", "c")], "a", "c")  # or between
    assert not are_all_between([one, Change(None, "c")], "a", "c")
    assert not are_all_between([one, Change("b", None)], "a", None)
    with pytest.raises(ValueError, match="1 pages were written with 0 stamps"):
        Change("a", "b", ids=["p"])


@pytest.mark.parametrize("where", ["folder", places.MEMORY])
def test_a_write_lies_between_two_marks_also_when_it_fails(tmp_path, where, monkeypatch):
    store = opened(tmp_path if where == "folder" else where)
    first, second = put(store, "ab"), store.delete(["a#1"])
    assert first.after == second.before != second.after == store.mark()
    monkeypatch.setattr(store._link._connection, "collection", None)
    with pytest.raises(AttributeError):
        store.delete(["b#1"])
    assert store.mark() not in (None, second.after)


def test_many_dead_rows_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_DEAD_ROWS", 2)
    store = opened(tmp_path)
    kept = VectorCache(store)
    for seed in range(4):
        put(store, "abc", seed)
        assert_equal(store, kept.current())
    assert len(kept.current()) <= 6


def test_deleting_the_folder_in_the_middle_of_use_loses_nothing(tmp_path):
    store = opened(tmp_path)
    put(store, "abc")
    kept = VectorCache(store)
    before = kept.current()
    shutil.rmtree(kept.folder)
    assert in_cache(kept.current()).keys() == in_chroma(store).keys()
    put(store, "d", seed=1)
    assert_equal(store, kept.current())
    assert in_cache(before).keys() == {"a#1", "b#1", "c#1"}
    assert_equal(store, VectorCache(opened(tmp_path)).current())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("{}"),
        lambda path: path.write_text("no json"),
        lambda path: path.write_text(path.read_text().replace('\\"rows\\": 2', '\\"rows\\": 1')),
        lambda path: [shutil.rmtree(p) for p in path.parent.iterdir() if p.is_dir()],
        lambda path: [os.truncate(p, 3) for p in path.parent.glob("*/level1.values")],
        lambda path: [p.write_bytes(b"x" * 6) for p in path.parent.glob("*/ids.text")],
    ],
)
def test_a_damaged_cache_is_made_again(tmp_path, spoil):
    store = opened(tmp_path)
    put(store, "ab")
    kept = VectorCache(store)
    kept.current()
    spoil(kept.folder / levels.MANIFEST)
    assert_equal(store, VectorCache(opened(tmp_path)).current())


def test_a_cache_with_two_living_rows_of_a_page_is_made_again(tmp_path):
    store = opened(tmp_path)
    put(store, "ab")
    kept = VectorCache(store)
    before = kept.current()
    with CacheWriter(kept.folder, kept.header, before) as writer:
        writer.append(["a#1"], [""], INT8.encode(vectors(1, seed=9)))
        writer.commit(before.manifest.mark, (), before.manifest.newest)
    assert_equal(store, VectorCache(opened(tmp_path)).current())


def test_a_cache_of_another_collection_or_model_is_made_again(tmp_path):
    folder = tmp_path / "cache"
    one, other = opened(places.MEMORY), opened(places.MEMORY)
    put(one, "ab")
    put(other, "ab", seed=1)
    VectorCache(one, folder).current()
    assert_equal(other, VectorCache(other, folder).current())


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    store = opened(tmp_path / "index")
    put(store, "a")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="vector cache .*file.* cannot be written"):
        VectorCache(store, tmp_path / "file" / "cache").current()


def _sync_until_killed(where: str) -> None:
    store = opened(where)
    settle = level_writer._Growing.settle

    def slow(self):
        settle(self)
        time.sleep(0.05)

    level_writer._Growing.settle = slow
    VectorCache(store).current()


@pytest.mark.integration
def test_a_cache_whose_writer_was_killed_is_never_read_half(tmp_path):
    store = opened(tmp_path)
    put(store, "abcdef")
    VectorCache(store).current()
    put(store, "cdxyz", seed=1)
    process = CONTEXT.Process(target=_sync_until_killed, args=(str(tmp_path),))
    process.start()
    folder = VectorCache(store).folder
    [ids] = folder.glob("*/ids.text")
    size = ids.stat().st_size
    deadline = time.monotonic() + 60
    while ids.stat().st_size == size:
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert CachedVectors.load(folder).pages == 6
    assert_equal(store, VectorCache(store).current())


def _sync(where: str, barrier) -> None:
    kept = VectorCache(opened(where))
    barrier.wait()
    found = kept.current()
    assert found.pages == 40
    verify(found)


@pytest.mark.integration
def test_two_processes_may_bring_it_up_to_date_at_once(tmp_path):
    store = opened(tmp_path)
    for number in range(10):
        put(store, "".join(chr(0x4E00 + 4 * number + i) for i in range(4)), number)
    barrier = CONTEXT.Barrier(2)
    both = [CONTEXT.Process(target=_sync, args=(str(tmp_path), barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    found = VectorCache(store).current()
    assert_equal(store, found)
    assert len(found) == 40


# -- a server's collection -----------------------------------------------------------------


@pytest.mark.integration
def test_a_servers_collection_is_copied_into_the_users_cache(server, tmp_path, monkeypatch, spied):
    monkeypatch.setattr(places.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    store, other = opened(server, name="one"), opened(server, name="two")
    put(store, "abc")
    put(other, "xy")
    kept = VectorCache(store)
    assert kept.folder.parent == tmp_path / "metaembed_rag" / "vectors"
    assert_equal(store, kept.current())
    assert_equal(other, VectorCache(other).current())
    spied.clear()
    put(opened(server, name="one"), "bd", seed=1)
    store.delete(["a#1"])
    assert kept.current().pages == 3
    assert sorted(spied) == ["b#1", "d#1"]
    assert_equal(store, VectorCache(opened(server, name="one")).current())


@pytest.mark.integration
def test_a_server_is_asked_for_late_records_and_once_a_minute_for_all(
    server, tmp_path, monkeypatch
):
    store = opened(server, name="three")
    put(store, "abc")
    kept = VectorCache(store, tmp_path)
    for _ in range(2):
        kept.current()
    with monkeypatch.context() as behind:
        behind.setattr(chroma, "time", SimpleNamespace(time=lambda: 1_000_000_000))
        put(store, "b", seed=1)
    assert in_cache(kept.current())["b#1"] != pytest.approx(in_chroma(store)["b#1"])
    kept._look_at_all = time.monotonic()  # a minute has passed
    assert_equal(store, kept.current())
    put(store, "c", seed=2)
    assert_equal(store, kept.current())
