"""`PageIndex.check`: it finds each kind of damage, and nothing where there is none."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import IndexLockedError, PageError
from metaembed_rag.maintenance import CheckReport, Finding
from metaembed_rag.store import records
from metaembed_rag.testing import FakeEncoder
from tests.maintenance.builders import (
    add_foreign,
    change_record,
    fake,
    flip,
    levels,
    made,
    pictures,
    raw_collection,
    reopened,
)

FIXTURE = Path(__file__).parents[1] / "fixtures" / "a870c41" / "index.tar.gz"


def checked(where: Path | str, **settings: object) -> CheckReport:
    with reopened(where, **settings) as index:
        return index.check()


def kinds(report: CheckReport) -> list[tuple[str, str]]:
    return [(one.kind, Path(one.id).name) for one in report.findings]


@pytest.mark.parametrize("format", ["int8", "int4", "bits", "fp16"])
def test_a_healthy_index_has_no_findings_and_no_notes(tmp_path, format):
    with made(tmp_path / "index", tmp_path / "files", format=format) as index:
        report = index.check()
    assert (report.findings, report.notes, report.is_sound) == ([], [], True)
    assert (report.pages, report.pictures) == (6, 3)


def test_an_index_in_memory_and_an_empty_one_are_checked(encoder):
    index = PageIndex.open(":memory:", encoder)
    assert index.check().is_sound
    index.add([Page("a", text="apples")])
    report = index.check()
    assert (report.pages, report.findings) == (1, [])


@pytest.mark.parametrize("collection", ["pages", "half", "small", "signs", "cut"])
def test_an_index_of_an_old_version_has_no_findings(tmp_path, collection):
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    encoder = FakeEncoder(dimension=32, query_vectors=4, document_vectors=8, dimensions=(16, 32))
    with PageIndex.open(tmp_path / "index", encoder, collection=collection, create=False) as index:
        report = index.check()
    assert (report.pages, report.pictures, report.findings) == (28, 3, [])


def test_nothing_that_this_package_writes_is_changed_by_a_check(where):
    add_foreign(where)
    flip(levels(where)[0])
    (where / "lexical" / "pages" / "english" / ".half").mkdir()

    def state() -> dict[str, tuple[str, int]]:
        ours = [p for p in where.rglob("*") if p.is_file() and "pages" in p.parts]
        marks = [where / ".metaembed.mark"]
        return {
            str(p): (hashlib.md5(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
            for p in [*ours, *marks]
        }

    before = state()
    assert not checked(where).is_sound
    assert state() == before


def test_progress_is_told_of_every_page(where):
    seen: list[int] = []
    with reopened(where) as index:
        index.check(progress=seen.append)
    assert sum(seen) == 6


def test_a_foreign_record_is_found_and_named(where):
    add_foreign(where)
    report = checked(where)
    assert kinds(report) == [("record", "foreign")]
    assert "lacks" in report.findings[0].what


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"vectors": "AAAA"}, "record"),
        ({"text": 5}, "record"),
        ({"text": "other words"}, "content"),
        ({"image_hash": "0" * 32}, "content"),
        ({"settings": "pdf:1"}, "content"),
    ],
)
def test_a_changed_record_is_found(where, changes, kind):
    change_record(where, "c.pdf#1", **changes)
    assert (kind, "c.pdf#1") in kinds(checked(where))


def payload_of(where: Path, id: str) -> str:
    return str(raw_collection(where).get(ids=[id])["metadatas"][0][records.VECTORS])


def test_vectors_of_another_page_are_found_by_their_checksum(where):
    with reopened(where) as index:
        [other] = index.ids({"source": str(where.parent / "files" / "a.txt")})
    change_record(where, "c.pdf#1", vectors=payload_of(where, other))
    assert ("record", "c.pdf#1") in kinds(checked(where))


def test_without_a_checksum_they_are_found_by_chromas_first_vector(where):
    with reopened(where) as index:
        [other] = index.ids({"source": str(where.parent / "files" / "a.txt")})
    change_record(where, "c.pdf#1", vectors=payload_of(where, other), sum=None)
    assert ("vectors", "c.pdf#1") in kinds(checked(where))


def test_vectors_that_are_not_of_length_one_are_found(where):
    about = reopened(where)._store.about
    short = np.full((1, 8, 32), 0.01, dtype=np.float32)
    from metaembed_rag.vectors.formats import pack, vector_format

    [payload] = pack(vector_format(about.format).encode(short))
    change_record(where, "c.pdf#1", vectors=payload, sum=None)
    report = checked(where)
    found = [one for one in report.findings if one.kind == "vectors"]
    assert [one.id for one in found] == ["c.pdf#1"]
    assert "length" in found[0].what


def test_a_wrong_vector_in_chromas_graph_is_found(where):
    vector = np.eye(1, 32, dtype=np.float32)
    raw_collection(where).update(ids=["c.pdf#1"], embeddings=vector)
    assert kinds(checked(where)) == [("graph", "c.pdf#1")]
    raw_collection(where).update(ids=["c.pdf#1"], embeddings=3 * vector)
    assert kinds(checked(where)) == [("graph", "c.pdf#1")]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["data_level0.bin", "link_lists.bin", "header.bin"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "gone"])
def test_a_damaged_graph_is_found_and_does_not_end_the_process(tmp_path, graph, name, damage):
    shutil.copytree(graph, tmp_path, dirs_exist_ok=True)
    [path] = tmp_path.glob(f"*/{name}")
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:50] if damage == "cut" else b"\x07" * len(data))
    with PageIndex.open(tmp_path, FakeEncoder(dimension=32, document_vectors=2)) as index:
        report = index.check()
    assert kinds(report) == [("graph", "")]


@pytest.mark.parametrize("damage", ["flipped", "cut"])
@pytest.mark.parametrize("number", [0, 2])
def test_a_damaged_level_of_the_cache_is_found(where, number, damage):
    path = levels(where)[number]
    flip(path) if damage == "flipped" else path.write_bytes(path.read_bytes()[:-1])
    assert {one.kind for one in checked(where).findings} == {"cache"}


def test_a_cache_that_says_it_is_current_and_is_not_is_found(where):
    manifest = where / "cache" / "pages"
    shutil.copytree(manifest, where.parent / "old")
    with reopened(where) as index:
        index.add([Page("c.pdf", text="other pears"), Page("d.pdf", text="new")])
    shutil.rmtree(manifest)
    shutil.copytree(where.parent / "old", manifest)
    behind = checked(where)
    assert behind.is_sound
    assert any(one.kind == "cache" and "2 pages behind" in one.what for one in behind.notes)

    from dataclasses import replace

    from metaembed_rag.store.level_writer import write_manifest
    from metaembed_rag.store.levels import CachedVectors

    lying = replace(
        CachedVectors.load(manifest).manifest, mark=(where / ".metaembed.mark").read_text()
    )
    write_manifest(manifest, lying)
    assert kinds(checked(where)) == [("cache", "")]


def test_a_dropped_index_of_words_is_in_order_and_a_damaged_one_is_not(where):
    [kept] = list((where / "lexical/pages/english").iterdir())
    flip(kept / "pairs.npz")
    assert kinds(checked(where)) == [("words", "")]
    shutil.rmtree(where / "lexical")
    assert checked(where).is_sound


def test_an_index_of_words_that_is_not_of_the_texts_is_found(where):
    change_record(where, "c.pdf#1", text="other words")
    assert ("words", "") in kinds(checked(where))


def test_an_index_of_words_that_is_behind_is_a_note(where):
    with reopened(where) as index:
        index.add([Page("new.pdf", text="new words")])
        report = index.check()
    assert report.is_sound
    assert [one.kind for one in report.notes] == ["words"]


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "garbage"])
def test_a_damaged_picture_is_found_with_its_page(where, damage):
    path = pictures(where)[0]
    data = path.read_bytes()
    made_of = {"cut": data[:-40], "empty": b"", "garbage": data[:2] + b"\x11" * 600 + data[-2:]}
    path.unlink() if damage == "gone" else path.write_bytes(made_of[damage])
    report = checked(where)
    assert [one.kind for one in report.findings] == ["picture"]
    assert report.findings[0].id.endswith(".png#1")


def test_a_picture_that_another_page_names_is_found(where):
    name = pictures(where)[0].relative_to(where / "pictures" / "pages").as_posix()
    change_record(where, "c.pdf#1", image=name)
    assert ("picture", "c.pdf#1") in kinds(checked(where))
    change_record(where, "c.pdf#1", image="../../../etc/passwd")
    assert ("picture", "c.pdf#1") in kinds(checked(where))


def test_left_over_files_are_notes(where):
    hidden = "." + "x." + "0" * 32
    stray = where / "pictures" / "pages" / "ab" / "abc.jpg"
    stray.parent.mkdir(exist_ok=True)  # a page's picture may lie there
    stray.write_bytes(b"")
    (where / "cache" / "pages" / hidden).write_bytes(b"")
    (where / "cache" / "pages" / "oldgeneration").mkdir()
    (where / ".metaembed.writing").touch()
    report = checked(where)
    assert report.is_sound
    assert len([one for one in report.notes if one.kind == "files"]) == 4


def test_a_calibration_that_cannot_be_read_is_found(where):
    path = where / "calibration" / "pages.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"plans": 3}))
    assert kinds(checked(where)) == [("calibration", "")]


def test_a_lock_that_is_a_folder_is_found(where):
    (where / ".metaembed.lock").unlink(missing_ok=True)
    (where / ".metaembed.lock").mkdir()
    assert ("lock", "") in kinds(checked(where))


def test_a_writer_is_waited_for_and_then_named(where):
    lock = FileLock(where / ".metaembed.lock")
    with reopened(where) as index, lock, pytest.raises(IndexLockedError):
        index.check(lock_timeout=0.05)


@pytest.mark.integration
def test_a_damaged_database_is_found(tmp_path):
    encoder = FakeEncoder(dimension=32, document_vectors=8)
    with PageIndex.open(tmp_path, encoder) as index:
        index.add([Page(f"{n}.txt", text=f"word{n} " * 50) for n in range(300)])
    path = tmp_path / "chroma.sqlite3"
    data = bytearray(path.read_bytes())
    half = len(data) // 2 // 4096 * 4096
    data[half : half + 200 * 4096] = b"\x55" * (200 * 4096)
    path.write_bytes(data)
    with PageIndex.open(tmp_path, encoder) as index:
        report = index.check()
    assert "database" in {one.kind for one in report.findings}


@pytest.mark.integration
def test_an_index_on_a_server_is_checked(server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    with made(server, tmp_path / "files", collection="checked") as index:
        assert index.check().is_sound
        store = index._store
        store._collection.add(ids=["foreign"], embeddings=np.ones((1, 32)), metadatas=[{"a": 1}])
        next((tmp_path / "user").rglob("*.webp")).unlink()
        report = index.check()
    assert sorted(one.kind for one in report.findings) == ["picture", "record"]


def test_a_finding_is_of_a_known_kind():
    with pytest.raises(ValueError, match="no kind"):
        Finding("nonsense", "what", "todo")
    assert str(Finding("record", "what", "todo", "id")) == "record: id: what; todo"


def test_more_pages_than_one_batch_are_looked_at(tmp_path, monkeypatch):
    from metaembed_rag.maintenance import scan

    monkeypatch.setattr(scan, "AT_ONCE", 2)
    with made(tmp_path / "index", tmp_path / "files") as index:
        report = index.check()
    assert (report.pages, report.findings) == (6, [])
    assert fake().document_vectors == 8


def test_a_batch_of_which_the_cache_has_no_page_is_a_note(tmp_path):
    """As after an `add` that was stopped before anybody searched."""

    def stop(pages: int) -> None:
        raise PageError("a", "was stopped here")

    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.search("one")
        with pytest.raises(PageError):
            index.add([Page("a", text="one")], progress=stop)
        report = index.check()
    assert report.is_sound and {note.what for note in report.notes} == {"it is 1 pages behind"}
