"""`PageIndex.export` and `PageIndex.import_`: an index is the same afterwards, whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import StoreError
from metaembed_rag.maintenance.archive import MANIFEST
from metaembed_rag.testing import FakeEncoder
from tests.maintenance.builders import (
    add_foreign,
    change_record,
    content,
    fake,
    made,
    pictures,
    reopened,
)
from tests.soak.children import Kill, run

FIXTURE = Path(__file__).parents[1] / "fixtures" / "a870c41" / "index.tar.gz"


@pytest.fixture
def file(where, tmp_path):
    with reopened(where) as index:
        index.export(tmp_path / "index.zip")
    return tmp_path / "index.zip"


def ranking(index: PageIndex) -> list[tuple[str, float]]:
    return [(hit.page.id, hit.score) for hit in index.search("whales", 6)]


@pytest.mark.parametrize("format", ["int8", "int4", "bits", "fp16"])
def test_all_of_an_index_comes_back(tmp_path, format):
    file, other = tmp_path / "index.zip", tmp_path / "other"
    with made(tmp_path / "index", tmp_path / "files", format=format) as index:
        index.calibrate(k=2)
        report = index.export(file)
        before, hits = content(index), ranking(index)
        about = index._store.about
    assert (report.pages, report.pictures, report.left_out) == (6, 3, [])
    assert report.bytes == file.stat().st_size

    done = PageIndex.import_(file, other)

    assert (done.pages, done.added, done.pictures) == (6, 6, 3)
    with reopened(other) as index:
        assert content(index) == before
        assert index._store.about == about
        assert ranking(index) == hits
        assert index.search("whales", 1, budget="auto")
        assert index.sync(tmp_path / "files", ocr=False).unchanged == 5
        assert index.check().findings == []


def test_an_index_that_was_moved_gives_the_same_file_again(file, tmp_path):
    PageIndex.import_(file, tmp_path / "other")
    with reopened(tmp_path / "other") as index:
        index.export(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("collection", ["pages", "half", "small", "signs", "cut"])
def test_an_index_of_an_old_version_is_moved(tmp_path, collection):
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    encoder = FakeEncoder(dimension=32, query_vectors=4, document_vectors=8, dimensions=(16, 32))
    with PageIndex.open(tmp_path / "index", encoder, collection=collection) as index:
        index.export(tmp_path / "index.zip")
        before = content(index)
    PageIndex.import_(tmp_path / "index.zip", tmp_path / "other")
    with PageIndex.open(tmp_path / "other", encoder) as index:
        assert content(index) == before


@pytest.mark.integration
def test_from_a_folder_to_a_server_and_back(where, file, server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    with reopened(where) as index:
        before = content(index)
    PageIndex.import_(file, server, collection="moved")
    with reopened(server, collection="moved") as index:
        assert content(index) == before
        assert index.check().findings == []
        index.export(tmp_path / "back.zip")
    PageIndex.import_(tmp_path / "back.zip", tmp_path / "back")
    with reopened(tmp_path / "back") as index:
        assert content(index) == before
    assert (tmp_path / "back.zip").read_bytes() == file.read_bytes()


def test_the_same_import_again_changes_nothing(file, tmp_path):
    PageIndex.import_(file, tmp_path / "other")
    again = PageIndex.import_(file, tmp_path / "other")
    assert (again.pages, again.added, again.pictures) == (6, 0, 0)


def test_what_an_import_before_has_written_is_not_written_again(file, tmp_path):
    PageIndex.import_(file, tmp_path / "other")
    with reopened(tmp_path / "other") as index:
        before = content(index)
        index.delete(["c.pdf#1", *index.ids({"source": str(tmp_path / "files" / "red.png")})])
    again = PageIndex.import_(file, tmp_path / "other")
    assert (again.added, again.pictures) == (2, 1)
    with reopened(tmp_path / "other") as index:
        assert content(index) == before


@pytest.mark.parametrize("other", ["another page", "another version", "another model"])
def test_an_index_of_something_else_is_left_alone(file, tmp_path, other):
    encoder = FakeEncoder(seed=1, dimension=32, document_vectors=8, query_vectors=4)
    with PageIndex.open(tmp_path / "other", encoder if "model" in other else fake()) as index:
        name = "c.pdf" if "version" in other else "own.pdf"
        index.add([Page(name, text="my own words")])
        before = content(index)
    with pytest.raises(StoreError, match="import into a new folder or collection"):
        PageIndex.import_(file, tmp_path / "other")
    with PageIndex.open(tmp_path / "other") as index:
        assert content(index) == before


def test_nothing_is_imported_into_memory(file):
    with pytest.raises(StoreError, match="memory"):
        PageIndex.import_(file, ":memory:")


def test_a_file_that_is_there_is_replaced_only_if_that_is_said(where, file):
    before = file.read_bytes()
    with reopened(where) as index:
        with pytest.raises(StoreError, match="is there already"):
            index.export(file)
        index.add([Page("d.pdf", text="more")])
        index.export(file, overwrite=True)
        with pytest.raises(StoreError, match="names no file"):
            index.export(file.parent / "nowhere" / "index.zip")
    assert file.read_bytes() != before


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_only_its_owner_reads_a_file(file):
    assert file.stat().st_mode & 0o777 == 0o600


def test_damaged_records_and_pictures_are_left_out_and_listed(where, tmp_path):
    add_foreign(where)
    change_record(where, "c.pdf#1", vectors="AAAA")
    pictures(where)[0].unlink()
    with reopened(where) as index:
        report = index.export(tmp_path / "index.zip")
    assert sorted(one.kind for one in report.left_out) == ["picture", "record", "record"]
    assert (report.pages, report.pictures) == (5, 2)
    assert PageIndex.import_(tmp_path / "index.zip", tmp_path / "other").pages == 5


def test_pages_go_in_parts_of_bounded_size(where, tmp_path, monkeypatch):
    from metaembed_rag.maintenance import exporting, scan

    monkeypatch.setattr(exporting, "_ROWS", 2)
    monkeypatch.setattr(exporting, "AT_ONCE", 3)
    assert scan.AT_ONCE == 200
    seen: list[int] = []
    with reopened(where) as index:
        before = content(index)
        index.export(tmp_path / "index.zip", progress=seen.append)
    assert seen == [3, 3]
    with zipfile.ZipFile(tmp_path / "index.zip") as archive:
        assert "vectors-000002.safetensors" in archive.namelist()
    done: list[int] = []
    PageIndex.import_(tmp_path / "index.zip", tmp_path / "other", progress=done.append)
    assert done == [2, 2, 2]
    with reopened(tmp_path / "other") as index:
        assert content(index) == before


# -- files that are not what they say ----------------------------------------------------------


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None], *, seal: bool = True) -> Path:
    """A file with other members; with ``seal`` its manifest has their checksums."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if seal:
        manifest = json.loads(members[MANIFEST])
        manifest["members"] = {
            name: [len(data), hashlib.sha256(data).hexdigest()]
            for name, data in members.items()
            if name != MANIFEST
        }
        members[MANIFEST] = json.dumps(manifest).encode()
    bad = file.with_name("bad.zip")
    with zipfile.ZipFile(bad, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return bad


def edited(members: dict[str, bytes], name: str, old: str, new: str) -> None:
    text = members[name].decode()
    assert old in text
    members[name] = text.replace(old, new).encode()


RECORDS = "records-000000.jsonl"
VECTORS = "vectors-000000.safetensors"
CHANGES: dict[str, Callable[[dict[str, bytes]], None]] = {
    "a name that leads outside": lambda m: m.update({"../evil.txt": b"x"}),
    "an absolute name": lambda m: m.update({"/tmp/evil.txt": b"x"}),
    "a picture outside": lambda m: m.update({"pictures/../../evil.jpg": b"x"}),
    "another file": lambda m: m.update({"setup.py": b"x"}),
    "a pickle": lambda m: m.update({"vectors-000001.pickle": b"x"}),
    "no manifest": lambda m: m.pop(MANIFEST) and None,
    "a manifest of nonsense": lambda m: m.update({MANIFEST: b"[1]"}),
    "another kind": lambda m: edited(m, MANIFEST, "metaembed_rag index", "cake"),
    "huge dimension": lambda m: edited(m, MANIFEST, '"dimension": 32', '"dimension": 99999999'),
    "unknown format": lambda m: edited(m, MANIFEST, '"format": "int8"', '"format": "zip"'),
    "too few pages": lambda m: edited(m, MANIFEST, '"pages": 6', '"pages": 7'),
    "a million parts": lambda m: edited(m, MANIFEST, '"parts": 1', '"parts": 1000000'),
    "a page without text": lambda m: edited(m, RECORDS, '"metaembed:text"', '"metaembed:other"'),
    "a foreign picture": lambda m: edited(m, RECORDS, 'd:image": "', 'd:image": "../'),
    "a reserved key": lambda m: edited(m, RECORDS, '"year"', '"chroma:document"'),
    "no line": lambda m: m.update({RECORDS: b"7\n"}),
    "no UTF-8": lambda m: m.update({RECORDS: b"\xff\n"}),
    "no vectors": lambda m: m.update({VECTORS: b"\0" * 64}),
    "pages twice": lambda m: m.update({RECORDS: m[RECORDS].splitlines(True)[0] * 6}),
    "a calibration of nonsense": lambda m: m.update({"calibration.json": b"{}"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_a_file_of_a_stranger_is_refused_before_anything_is_written(file, tmp_path, kind):
    bad = rewritten(file, CHANGES[kind], seal=kind not in ("no manifest", "a manifest of nonsense"))
    with pytest.raises(StoreError):
        PageIndex.import_(bad, tmp_path / "target" / "other")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", [RECORDS, VECTORS, "pictures"])
def test_a_member_with_another_checksum_is_refused(file, tmp_path, name):
    def change(members: dict[str, bytes]) -> None:
        found = next(one for one in members if one.startswith(name))
        members[found] = members[found][:-1] + b"!"

    bad = rewritten(file, change, seal=False)
    with pytest.raises(StoreError, match="damaged"):
        PageIndex.import_(bad, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_any_flipped_byte_of_a_file_is_noticed_or_changes_nothing(file, tmp_path):
    with zipfile.ZipFile(file) as archive:
        expected = {name: archive.read(name) for name in archive.namelist()}
    from metaembed_rag.maintenance.archive import ArchiveReader

    data, dice = file.read_bytes(), random.Random(3)
    bad = tmp_path / "bad.zip"
    for _ in range(300):
        at = dice.randrange(len(data))
        bad.write_bytes(data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :])
        try:
            with ArchiveReader(bad) as reader:
                reader.verify()
                assert all(reader.read(n) == expected[n] for n in reader.manifest.members)
        except StoreError:
            continue


@pytest.mark.parametrize("cut", [0, 10, 5000, -1])
def test_a_file_that_is_cut_off_is_refused(file, tmp_path, cut):
    data = file.read_bytes()
    file.write_bytes(data[:cut])
    with pytest.raises(StoreError, match="no export of an index"):
        PageIndex.import_(file, tmp_path / "other")


def test_a_packed_member_is_refused(file, tmp_path):
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(StoreError, match="packed otherwise"):
        PageIndex.import_(bad, tmp_path / "other")


def test_a_newer_version_is_refused_with_what_to_do(file, tmp_path):
    bad = rewritten(file, lambda m: edited(m, MANIFEST, '"version": 1', '"version": 2'))
    with pytest.raises(StoreError, match="has version 2, this version reads up to 1: pip install"):
        PageIndex.import_(bad, tmp_path / "other")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match="there is no file"):
        PageIndex.import_(tmp_path / "no.zip", tmp_path / "other")


# -- kills -------------------------------------------------------------------------------------


def import_(file: Path, where: Path) -> None:
    PageIndex.import_(file, where)


def export(file: Path, where: Path) -> None:
    with reopened(where) as index:
        index.export(file, overwrite=True)


def killed(function: Callable[[Path, Path], None], file: Path, where: Path, at: float) -> None:
    """In a process of its own, so many seconds after it began."""
    done = run(function, file, where, kill=Kill(seconds=at))
    assert not done.error, done.error


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with an index of many parts and its file, and what is in both; to be copied."""
    from metaembed_rag.maintenance import exporting

    place = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch, made(place / "index", place / "files") as index:
        patch.setattr(exporting, "_ROWS", 50)
        index.add([Page(f"{n}.txt", text=f"word{n} common") for n in range(2000)])
        index.export(place / "index.zip")
        return place, content(index)


@pytest.fixture
def large(tmp_path, exported, monkeypatch):
    """An index of many parts, its file, and what is in both."""
    from metaembed_rag.maintenance import exporting

    monkeypatch.setattr(exporting, "_ROWS", 50)
    place, held = exported
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    return tmp_path / "index", tmp_path / "index.zip", held


@pytest.mark.integration
def test_an_import_that_is_killed_goes_on(large, tmp_path):
    _, file, before = large
    dice = random.Random(4)
    for _ in range(6):
        killed(import_, file, tmp_path / "other", dice.uniform(0.1, 1.5))
    PageIndex.import_(file, tmp_path / "other")
    with reopened(tmp_path / "other") as index:
        assert content(index) == before
        assert index.check().findings == []


@pytest.mark.integration
def test_an_export_that_is_killed_leaves_no_half_file(large):
    where, file, _ = large
    whole, dice = file.read_bytes(), random.Random(6)
    for _ in range(4):
        killed(export, file, where, dice.uniform(0.0, 0.6))
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
    with reopened(where) as index:
        assert index.check().findings == []
    assert np.frombuffer(whole, np.uint8).size == len(whole)
