from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import chromadb
import numpy as np
import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import IndexLockedError, StoreError
from metaembed_rag.store import purge as purging
from metaembed_rag.store.places import DATABASE
from metaembed_rag.testing import FakeEncoder

pytestmark = pytest.mark.integration


def _page(number: int, version: int = 0) -> Page:
    words = " ".join(f"w{(number * 7 + one * 13 + version) % 997}" for one in range(200))
    return Page(source="report.pdf", number=number, text=f"secret{number}v{version}end {words}")


def _encoder() -> FakeEncoder:
    return FakeEncoder(document_vectors=16)


def _index(folder: Path, versions: int, pages: int = 20) -> PageIndex:
    index = PageIndex.open(folder, _encoder())
    for version in range(versions):
        index.add([_page(number, version) for number in range(1, pages + 1)])
    return index


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _holders(folder: Path, word: str) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if word.encode() in path.read_bytes()]


def test_fault_16_updated_pages_take_no_more_room_than_new_ones(tmp_path: Path) -> None:
    index = _index(tmp_path / "often", versions=12)
    _index(tmp_path / "once", versions=1).compact()
    before = _size(tmp_path / "often")
    hits = index.search(_page(7, 11).text, k=3, exhaustive=True, hybrid=False)

    report = index.compact()

    assert report.before.total == before
    assert report.after.total == _size(tmp_path / "often") == before - report.freed
    assert report.after.total < 1.2 * _size(tmp_path / "once") < before / 2
    again = index.search(_page(7, 11).text, k=3, exhaustive=True, hybrid=False)
    assert [(hit.page, hit.score) for hit in again] == [(hit.page, hit.score) for hit in hits]


def test_fault_16_deleted_text_cannot_be_read_from_the_files(tmp_path: Path) -> None:
    index = _index(tmp_path, versions=2)
    index.search(_page(3, 1).text, hybrid=True)  # the word index holds words of it, too
    index.delete(["report.pdf#3"])
    assert _holders(tmp_path, "secret3v1end")

    index.compact()

    assert not _holders(tmp_path, "secret3v")
    assert _holders(tmp_path, "secret4v1end") == [DATABASE]  # and nothing of the version before
    assert not _holders(tmp_path, "secret4v0end")
    assert index.search(_page(4, 1).text, k=1, hybrid=True)[0].page.number == 4


def test_fault_16_after_everything_is_deleted_no_text_is_left(tmp_path: Path) -> None:
    index = _index(tmp_path, versions=1)
    index.delete(everything=True)
    index.compact()
    assert not _holders(tmp_path, "secret")
    assert len(index) == 0
    assert index.add([_page(1)]).added == 1


def test_everything_is_as_before_for_this_process_another_one_and_a_writer(tmp_path: Path) -> None:
    index, other = _index(tmp_path, versions=2), PageIndex.open(tmp_path, _encoder())
    assert len(other.search(_page(5, 1).text, k=4, candidates=20)) == 4
    vectors = index.vectors(index.ids())
    index.delete(["report.pdf#9"])

    index.compact()

    for one in (index, other, PageIndex.open(tmp_path, _encoder())):
        assert len(one) == 19
        assert [hit.page.number for hit in one.search(_page(5, 1).text, k=1)] == [5]
        assert len(one.search(_page(5, 1).text, k=30, candidates=30)) == 19
    kept = [id != "report.pdf#9" for id in sorted({*index.ids(), "report.pdf#9"})]
    np.testing.assert_array_equal(index.vectors(index.ids()), vectors[kept])
    assert other.add([_page(9), _page(4, 1)]).added == 1
    assert index.search(_page(9, 0).text, k=1, candidates=20)[0].page.number == 9


def test_the_collection_is_left_as_it_was_made(tmp_path: Path) -> None:
    index, other = (
        _index(tmp_path, versions=1),
        PageIndex.open(tmp_path, _encoder(), collection="second"),
    )
    other.add([_page(1)])
    index.compact()
    with sqlite3.connect(tmp_path / DATABASE) as database:
        schemas = [
            row[0]
            for row in database.execute(
                "SELECT schema_str FROM collections WHERE name IN ('pages', 'second')"
            )
        ]
    database.close()
    assert len(schemas) == 2
    assert all('"sync_threshold":1000' in schema for schema in schemas)
    assert [len(one) for one in (index, other)] == [20, 1]


def test_stray_pictures_go_and_named_ones_stay(tmp_path: Path) -> None:
    index = PageIndex.open(tmp_path, FakeEncoder())
    for number in range(1, 6):
        colour = Image.new("RGB", (20, 20), (40 * number, 0, 0))
        index.add([Page(source="a.pdf", number=number, text=f"page {number}", image=colour)])
    folder = tmp_path / "pictures" / "pages"
    named = sorted(folder.glob("??/*.webp"))
    for name in ("00/stray.jpg", "zz/.half.jpg.0123"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")

    assert index.compact().stray_pictures == 2

    assert sorted(path for path in folder.rglob("*") if path.is_file()) == named
    assert len(named) == 5


def test_pictures_in_a_folder_that_was_given_are_left(tmp_path: Path) -> None:
    index = PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=tmp_path / "pictures")
    index.add([Page(source="a.pdf", text="words", image=Image.new("RGB", (9, 9)))])
    another = tmp_path / "pictures" / "ab" / "of_another_index.jpg"
    another.parent.mkdir(exist_ok=True)
    another.write_bytes(b"x")
    assert index.compact().stray_pictures == 0
    assert another.exists()


@pytest.mark.parametrize("step", ["log", "file"])
def test_a_kill_in_the_middle_loses_nothing(tmp_path: Path, step: str) -> None:
    index = _index(tmp_path, versions=3)
    given = [str(tmp_path), "pages", "64"] if step == "log" else [str(tmp_path)]
    for delay in (0.05, 0.6, 0.9, 1.1, 1.3) if step == "log" else (0.02, 0.05, 0.08, 0.12):
        child = subprocess.Popen([sys.executable, "-m", purging.__name__, step, *given])
        try:
            child.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        again = PageIndex.open(tmp_path, _encoder())
        assert len(again) == 20
        assert again.search(_page(7, 2).text, k=1, candidates=20)[0].page.number == 7
    index.compact()
    assert not _holders(tmp_path, "secret7v1end")
    assert (
        len(PageIndex.open(tmp_path, _encoder()).search(_page(7, 2).text, k=30, candidates=30))
        == 20
    )


def test_only_a_folder_that_nobody_writes_to_can_be_compacted(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="only an index in a folder"):
        PageIndex.open(":memory:", FakeEncoder()).compact()
    index, other = _index(tmp_path, versions=1), PageIndex.open(tmp_path, _encoder())
    with index._store.writing(), pytest.raises(IndexLockedError):
        other.compact()


def test_what_fails_is_said_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = _index(tmp_path / "index", versions=1)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(StoreError, match="could not be compacted"):
        index.compact()
    assert index.search(_page(7, 0).text, k=1)[0].page.number == 7


def test_lists_of_a_deleted_collection_are_given_to_no_later_page(tmp_path: Path) -> None:
    with PageIndex.open(tmp_path, _encoder(), collection="first") as index:
        index.add([Page(source="a.pdf", text="a", metadata={"tags": ["theirs"]})])
    client = chromadb.PersistentClient(tmp_path)
    client.delete_collection("first")
    client.close()
    with PageIndex.open(tmp_path, _encoder(), collection="second") as index:
        index.compact()
        index.add([Page(source="b.pdf", text="b")])
        assert index.get(index.ids())[0].metadata == {}


def test_what_ocr_read_in_a_run_that_failed_leaves_the_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: "secret of the scan")
    encoder = FakeEncoder(modalities=["text"])
    index = PageIndex.open(tmp_path, encoder)
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(encoder, "encode_document", lambda inputs: 1 / 0)
        index.add([Page(source="a.png", image=Image.new("RGB", (9, 9), "red"))])
    assert _holders(tmp_path, "secret of the scan") == ["pages.jsonl"]
    index.compact()
    assert _holders(tmp_path, "secret of the scan") == []


def test_fault_31_a_graph_that_was_saved_with_fewer_places_than_it_may_have_is_blanked(
    tmp_path: Path,
) -> None:
    used, places, size = 2, 10, 16
    graph, header = tmp_path / "data_level0.bin", tmp_path / "header.bin"
    header.write_bytes(purging._HEADER.pack(1, 0, places, used, size, *[0] * 9))
    graph.write_bytes(b"n" * used * size + b"scraps of text  " * 3)
    purging._blank_unused(graph)
    assert graph.read_bytes() == b"n" * used * size + bytes(3 * size)
    graph.write_bytes(b"n" * (used * size - 1))  # cut off: left alone
    purging._blank_unused(graph)
    assert graph.read_bytes() == b"n" * (used * size - 1)
