"""What lies damaged on the disk is noticed when it is read, and never searched."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaembed_rag.errors import DamagedCacheError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.search.searcher import PageSearcher
from metaembed_rag.store import blocks, levels
from metaembed_rag.store.blocks import Blocks
from metaembed_rag.store.level_writer import CacheWriter
from metaembed_rag.store.levels import CachedVectors, Header
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import vector_format
from tests.soak.children import run

pytestmark = pytest.mark.usefixtures("vectors_alone")
"""Scores of this module are those of vectors."""

R, D = 5, 8
HEADER = Header("c", "f" * 32, "int8", D, R)
LEVEL0 = "level0"


def encoded(pages: int, seed: int = 0, format: str = "int8"):
    made = np.random.default_rng(seed).standard_normal((pages, R, D)).astype(np.float32)
    return vector_format(format).encode(made / np.linalg.norm(made, axis=-1, keepdims=True))


def written(folder: Path, pages: int = 6, format: str = "int8") -> Path:
    """The folder of a generation with so many pages."""
    header = Header("c", "f" * 32, format, D, R)
    with CacheWriter(folder, header) as writer:
        writer.append([str(n) for n in range(pages)], [""] * pages, encoded(pages, format=format))
        writer.commit()
    return folder / CachedVectors.load(folder).manifest.generation


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    """Two rows of the first level a block."""
    monkeypatch.setattr(blocks, "_BYTES", 2 * (D + 2))


@pytest.fixture
def compared(monkeypatch) -> list[int]:
    """Numbers of blocks that were compared."""
    seen: list[int] = []
    compare = Blocks._compare
    monkeypatch.setattr(Blocks, "_compare", lambda self, n: (seen.append(n), compare(self, n))[1])
    return seen


def test_only_what_is_read_is_compared_and_only_once(tmp_path, small_blocks, compared):
    written(tmp_path)
    found = CachedVectors.load(tmp_path)
    assert compared == []
    for _ in range(2):
        found.take(np.array([4, 1]), 1)
    assert compared == [0, 2]
    for _ in range(2):
        found.verify()
    assert len(compared) == 3 + 6 + 3  # of 2 rows, 1 and 2


def test_what_was_compared_is_not_again_when_the_files_have_grown(tmp_path, small_blocks, compared):
    written(tmp_path)
    old = CachedVectors.load(tmp_path)
    old.verify()
    with CacheWriter(tmp_path, HEADER, old) as writer:
        writer.append(["new"], [""], encoded(1, seed=1))
        writer.commit()
    compared.clear()
    new = CachedVectors.load(tmp_path, old)
    new.verify()
    assert len(compared) == 3  # the new block of each level
    assert np.array_equal(new.take(np.array([6]), R).values, encoded(1, seed=1).values)


@pytest.mark.parametrize("format", ["fp16", "int8", "int4", "bits"])
@pytest.mark.parametrize("name", ["level0.values", "level1.values", "level2.values"])
def test_fault_27_each_changed_bit_is_noticed(tmp_path, name, format):
    path = written(tmp_path, 3, format) / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 5)):
        for bit in (0, 7):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(DamagedCacheError, match=f"of {name[:6]} are damaged"):
                CachedVectors.load(tmp_path).take(np.arange(3), R)
    path.write_bytes(whole)
    CachedVectors.load(tmp_path).verify()


def test_fault_27_a_file_that_shrank_while_it_is_mapped_is_noticed_before_it_is_read(tmp_path):
    generation = written(tmp_path)
    for name in ("level1.values", "level1.scales"):
        found = CachedVectors.load(tmp_path)
        found.verify()
        whole = (generation / name).read_bytes()
        os.truncate(generation / name, 3)
        assert len(found.take(np.array([5]), 1)) == 1
        with pytest.raises(DamagedCacheError, match="a file of level1 is shorter"):
            found.take(np.array([0]), R)
        (generation / name).write_bytes(whole)


def test_fault_27_a_writer_cuts_off_no_file_that_may_be_mapped(tmp_path):
    """One was killed after it had written more; a reader of that time may map all of it."""
    generation = written(tmp_path)
    before = CachedVectors.load(tmp_path)
    with CacheWriter(tmp_path, HEADER, before) as writer:
        writer.append(["lost"], [""], encoded(1, seed=1))
    sizes = {path.name: path.stat().st_size for path in generation.iterdir()}
    kept = {path.name: path.open("rb") for path in generation.iterdir()}
    with CacheWriter(tmp_path, HEADER, CachedVectors.load(tmp_path)) as writer:
        writer.append(["new"], [""], encoded(1, seed=2))
        writer.commit()
    assert {name: os.fstat(file.fileno()).st_size for name, file in kept.items()} == sizes
    for file in kept.values():
        file.close()
    after = CachedVectors.load(tmp_path)
    assert after.ids.tolist() == [*map(str, range(6)), "new"]
    assert np.array_equal(after.take(np.array([6]), R).values, encoded(1, seed=2).values)
    after.verify()


def without_sums(folder: Path) -> None:
    """A folder as a version leaves it that knows checksums of whole files only."""
    manifest = CachedVectors.load(folder).manifest
    files = {name: of for name, of in manifest.files.items() if not name.endswith(".sums")}
    from metaembed_rag.store.level_writer import write_manifest

    write_manifest(folder, levels.replace(manifest, files=files))
    for path in (folder / manifest.generation).glob("*.sums"):
        path.unlink()


def test_files_of_older_versions_are_compared_as_a_whole_and_get_checksums(tmp_path, compared):
    written(tmp_path)
    without_sums(tmp_path)
    old = CachedVectors.load(tmp_path)
    assert not old.has_sums
    assert np.array_equal(old.take(np.arange(6), R).values, encoded(6).values)
    assert compared == [0, 0, 0]
    with CacheWriter(tmp_path, HEADER, old) as writer:
        writer.append(["new"], [""], encoded(1, seed=1))
        writer.commit()
    new = CachedVectors.load(tmp_path)
    assert new.has_sums
    assert new.ids.tolist() == [*map(str, range(6)), "new"]
    new.verify()


def test_fault_27_damage_in_files_of_older_versions_is_noticed(tmp_path):
    path = written(tmp_path) / "level2.scales"
    without_sums(tmp_path)
    path.write_bytes(bytes(len(path.read_bytes())))
    old = CachedVectors.load(tmp_path)
    with pytest.raises(DamagedCacheError, match="level2 are damaged"):
        old.take(np.array([0]), R)
    with pytest.raises(DamagedCacheError), CacheWriter(tmp_path, HEADER, old):
        pass


# -- through an index ----------------------------------------------------------------------


def opened(where: Any, seed: int = 0) -> PageIndex:
    encoder = FakeEncoder(dimension=16, query_vectors=4, document_vectors=8, seed=seed)
    return PageIndex.open(where, encoder)


def pages(count: int, word: str = "page") -> list[Page]:
    words = ["red", "blue", "green", "apple", "whale", "pear", "stone"]
    texts = [f"{words[n % 7]} {words[n % 5]} {words[n % 3]} {word}" for n in range(count)]
    return [Page("s", n, text) for n, text in enumerate(texts, start=1)]


WAYS: dict[str, dict[str, Any]] = {
    "cascade": {},
    "exhaustive": {"exhaustive": True},
    "filter": {"where": {"page": {"$lt": 20}}},
    "hybrid": {"hybrid": True},
}


def hits(index: PageIndex) -> dict[str, list[tuple[str, float]]]:
    return {
        way: [(hit.page.id, hit.score) for hit in index.search("red apple", 10, **keywords)]
        for way, keywords in WAYS.items()
    }


def spoiled(data: bytes, kind: str) -> bytes:
    changed = bytearray(data)
    if kind == "flipped":
        changed[len(data) // 2] ^= 4
    elif kind == "zeroed":
        changed = bytearray(len(data))
    elif kind == "random":
        changed = bytearray(np.random.default_rng(0).bytes(len(data)))
    elif kind == "nan":
        changed = bytearray(b"\x00\x7e" * (len(data) // 2))
    else:
        del changed[len(data) // 2 :]
    return bytes(changed)


def cache_files(place: Path) -> list[Path]:
    return sorted((place / "cache" / "pages").glob("*/level*"))


@pytest.mark.parametrize("kind", ["flipped", "zeroed", "random", "nan", "cut off"])
@pytest.mark.parametrize("name", ["level0.values", "level1.scales", "level2.values", "level2.sums"])
def test_fault_27_a_damaged_copy_is_told_once_and_made_again(tmp_path, name, kind, caplog):
    with opened(tmp_path) as index:
        index.add(pages(30))
        right = hits(index)
    [path] = [path for path in cache_files(tmp_path) if path.name == name]
    path.write_bytes(spoiled(path.read_bytes(), kind))
    with opened(tmp_path) as index:
        assert hits(index) == right
        told = [one for one in caplog.messages if "is made again" in one]
        assert len(told) == 1
        assert name[:6] in told[0]
    caplog.clear()
    with opened(tmp_path) as index:
        assert hits(index) == right
    assert caplog.messages == []


@pytest.mark.parametrize("what", ["add", "delete", "calibrate", "score", "compact"])
def test_fault_27_every_use_of_a_damaged_copy_makes_it_again(tmp_path, what):
    with opened(tmp_path) as index:
        index.add(pages(30))
        right = hits(index)
        index.delete("s#30")
    for path in cache_files(tmp_path):
        if path.suffix == ".values":
            path.write_bytes(spoiled(path.read_bytes(), "flipped"))
    with opened(tmp_path) as index:
        if what == "add":
            index.add([Page("t", 1, "red apple")])
            index.delete("t#1")
        elif what == "delete":
            assert index.delete("s#29") == 1
            index.add(pages(29))
        elif what == "calibrate":
            index.calibrate(["red", "blue", "apple", "whale"], k=2)
        elif what == "score":
            assert len(index.score("red apple", index.ids())) == 29
        else:
            index.compact()
        index.add(pages(30))
        assert hits(index) == right


def cut_off_while_mapped(place: Path) -> bool:
    """Whether an index finds the same after its files were cut off."""
    with opened(place) as index:
        index.add(pages(600))
        right = hits(index)
        for path in cache_files(place):
            os.truncate(path, 10)
        return hits(index) == right


@pytest.mark.integration
def test_fault_27_files_cut_off_while_they_are_mapped_do_not_end_the_process(tmp_path):
    done = run(cut_off_while_mapped, tmp_path)
    assert (done.value, done.error, done.killed) == (True, "", False)


def test_where_the_copy_is_damaged_each_time_the_records_answer(tmp_path, monkeypatch, caplog):
    with opened(tmp_path) as index:
        index.add(pages(30))
        right = hits(index)

    def damaged(self, rows=None):
        raise DamagedCacheError("a disk that forgets", self._generation)

    monkeypatch.setattr(Blocks, "verify", damaged)
    index = opened(tmp_path)
    assert hits(index) == right
    assert index.search("red apple").plan.source == "chroma"
    assert "searching without the vector cache" in caplog.text


# -- a database that was put back ----------------------------------------------------------


def put_back(backup: Path, place: Path, how: str) -> None:
    if how == "another file":
        (place / "chroma.sqlite3").unlink()
        shutil.copy2(backup / "chroma.sqlite3", place / "chroma.sqlite3")
    else:
        shutil.copyfile(backup / "chroma.sqlite3", place / "chroma.sqlite3")


@pytest.fixture
def later(tmp_path) -> tuple[Path, Path, dict[str, list[tuple[str, float]]]]:
    """An index that has gone on since its backup, the backup, and what that one found."""
    place, backup = tmp_path / "index", tmp_path / "backup"
    with opened(place) as index:
        index.add(pages(30))
        index.add(pages(5, "new"))  # some pages of the first request are replaced
        right = hits(index)
    shutil.copytree(place, backup)
    with opened(place) as index:
        index.delete([f"s#{n}" for n in range(1, 6)])
        index.add(pages(20, "other"))
        assert hits(index) != right
    return place, backup, right


@pytest.mark.parametrize("how", ["another file", "the same file"])
def test_fault_28_a_database_put_back_beside_a_newer_copy_is_noticed(later, how, caplog):
    place, backup, right = later
    put_back(backup, place, how)
    with opened(place) as index:
        assert hits(index) == right
    assert caplog.text.count("the database was put back to an earlier state") == 1
    caplog.clear()
    with opened(place) as index:
        assert hits(index) == right
        index.add(pages(30))
        assert len(hits(index)["exhaustive"]) == 10
    assert [one.message for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_fault_28_it_is_noticed_by_whoever_has_the_index_open(later):
    place, backup, right = later
    index = opened(place)
    assert hits(index) != right
    put_back(backup, place, "the same file")
    assert hits(index) == right


def test_fault_28_it_is_noticed_by_a_writer_that_goes_on_from_there(later):
    place, backup, right = later
    put_back(backup, place, "another file")
    with opened(place) as index:
        index.add([Page("t", 1, "something else")])
        index.delete("t#1")
        assert hits(index) == right


def test_fault_28_an_index_copied_over_another_ones_files_stores_no_vectors(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    with opened(other, seed=1) as theirs:
        theirs.add(pages(2))
        theirs.add(pages(3))
    index = opened(one)
    index.add(pages(3))
    shutil.copytree(other, one, dirs_exist_ok=True)
    from metaembed_rag.errors import ModelMismatchError

    for question in (lambda: index.search("red"), lambda: index.add(pages(4))):
        with pytest.raises(ModelMismatchError, match="replaced by one of another model"):
            question()
    with opened(one, seed=1) as theirs:
        assert len(theirs) == 3


def test_an_index_without_states_is_searched_and_gets_one_with_its_next_write(tmp_path):
    with opened(tmp_path) as index:
        index.add(pages(30))
        right = hits(index)
    manifest = tmp_path / "cache" / "pages" / "manifest.json"
    with sqlite3.connect(tmp_path / "chroma.sqlite3") as database:
        database.execute("DELETE FROM collection_metadata WHERE key = 'metaembed:states'")
    database.close()
    found = CachedVectors.load(manifest.parent).manifest
    manifest.write_text(levels.replace(found, state="").to_json())
    with opened(tmp_path) as index:
        assert index._store.states() == []
        assert hits(index) == right
        index.add(pages(31))
        assert len(index._store.states()) == 1


def test_one_state_a_session_that_writes(tmp_path):
    index = opened(tmp_path)
    assert index._store.states() == []
    index.add(pages(30), batch_size=5)
    index.add(pages(30))
    assert len(index._store.states()) == 1
    index.delete("s#1")
    assert len(set(index._store.states())) == 2


# -- a page that is replaced while it is searched for --------------------------------------


@pytest.mark.parametrize("way", ["cascade", "exhaustive", "candidates", "given", "hybrid"])
@pytest.mark.parametrize("often", [1, 99])
def test_fault_29_a_hit_has_the_score_of_the_text_that_it_shows(tmp_path, monkeypatch, way, often):
    """Between scoring and reading somebody replaces the best page, once or each time."""
    index, versions = opened(tmp_path), ["red apple", "red stone", "blue stone red"]
    index.add([*pages(30), Page("v", 1, versions[0])])
    other = opened(tmp_path)
    texts = {text: dict(scores_of(text)) for text in versions}
    keywords = {"candidates": {"candidates": 40}}.get(way, WAYS.get(way, {}))
    mended, done = PageSearcher.mended, []

    def meanwhile(*given):
        found = mended(*given)
        if len(done) < often:
            done.append(1)
            other.add([Page("v", 1, versions[len(done) % 3])])
        return found

    monkeypatch.setattr(PageSearcher, "mended", meanwhile)
    for _ in range(3):
        if way == "given":
            found = index.score("red apple", ["v#1", "s#1"])
        else:
            found = index.search("red apple", 40, **keywords)
        for hit in found:
            if hit.page.id == "v#1":
                score = hit.score if hit.maxsim is None else hit.maxsim
                assert score == pytest.approx(texts[hit.page.text]["v#1"], abs=1e-6)
        assert way == "hybrid" or "v#1" in {hit.page.id for hit in found}


def scores_of(text: str) -> list[tuple[str, float]]:
    with opened(":memory:") as index:
        index.add([Page("v", 1, text)])
        return [(hit.page.id, hit.score) for hit in index.search("red apple", exhaustive=True)]
