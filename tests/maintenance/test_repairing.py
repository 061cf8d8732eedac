"""`PageIndex.repair`: afterwards a check finds nothing, and what was whole is as it was."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.maintenance import Finding, RepairReport
from metaembed_rag.testing import FakeEncoder
from tests.maintenance.builders import (
    add_foreign,
    change_record,
    content,
    fake,
    flip,
    levels,
    made,
    pictures,
    raw_collection,
    reopened,
)
from tests.soak.children import Kill, run


def repaired(where: Path, **options: object) -> RepairReport:
    with reopened(where) as index:
        return index.repair(**options)  # type: ignore[arg-type]


def assert_sound(where: Path) -> None:
    with reopened(where) as index:
        report = index.check()
    assert (report.findings, report.notes) == ([], [])


def test_a_healthy_index_is_as_it_was(where):
    with reopened(where) as index:
        before = content(index)
    report = repaired(where)
    assert (report.dropped, report.restored, report.rewritten, report.left) == ([], [], [], [])
    assert report.rebuilt == ["cache", "words"]
    with reopened(where) as index:
        assert content(index) == before
    assert_sound(where)


def test_damaged_records_are_dropped_and_listed_and_come_back_from_their_files(where):
    add_foreign(where)
    source = (where.parent / "files" / "a.txt").as_posix()
    change_record(where, f"{source}#1", vectors="AAAA")
    change_record(where, "c.pdf#1", text="other words")

    report = repaired(where)

    assert {one.id for one in report.dropped} == {"foreign", f"{source}#1", "c.pdf#1"}
    assert report.left == []
    with reopened(where) as index:
        assert len(index) == 4
        assert index.sync(where.parent / "files", ocr=False).added == 1
        assert index.search("red apples", 1)[0].page.source == source
    assert_sound(where)


def test_nothing_is_changed_where_it_is_only_tried(where):
    add_foreign(where)
    flip(levels(where)[0])
    pictures(where)[0].unlink()
    report = repaired(where, dry_run=True)
    assert report.dry_run
    assert [one.id for one in report.dropped] == ["foreign"]
    assert len(report.restored) == 1
    with reopened(where) as index:
        assert {one.kind for one in index.check().findings} == {"record", "picture", "cache"}


def test_damaged_pages_stay_where_nobody_agrees(where):
    add_foreign(where)
    flip(levels(where)[0])
    asked: list[list[Finding]] = []
    report = repaired(where, confirm=lambda findings: bool(asked.append(list(findings))))
    assert [one.id for one in asked[0]] == ["foreign"]
    assert (report.dropped, [one.id for one in report.left]) == ([], ["foreign"])
    with reopened(where) as index:
        assert [one.kind for one in index.check().findings] == ["record"]


@pytest.mark.parametrize("damage", ["gone", "cut", "garbage"])
def test_a_picture_is_made_again_from_its_file(where, damage):
    with reopened(where) as index:
        before = content(index)
    for path in pictures(where):
        data = path.read_bytes()
        path.unlink()
        if damage != "gone":
            made_of = {"cut": data[:-40], "garbage": data[:2] + b"\x11" * 600 + data[-2:]}
            path.write_bytes(made_of[damage])
    report = repaired(where)
    assert (len(report.restored), report.left) == (3, [])
    with reopened(where) as index:
        assert content(index) == before
    assert_sound(where)


def test_a_picture_whose_file_has_changed_or_gone_is_left_and_named(where):
    files = where.parent / "files"
    Image.new("RGB", (40, 30), "yellow").save(files / "red.png")
    (files / "blue.png").unlink()
    for path in pictures(where):
        path.unlink()
    report = repaired(where)
    assert [Path(id).name for id in report.restored] == ["green.png#1"]
    assert sorted(Path(one.id).name for one in report.left) == ["blue.png#1", "red.png#1"]
    assert {one.kind for one in report.left} == {"picture"}


def test_a_picture_of_a_record_that_leads_outside_is_named_by_its_content_again(where):
    outside = where.parent / "outside.jpg"
    outside.write_bytes(b"private")
    source = (where.parent / "files" / "red.png").as_posix()
    change_record(where, f"{source}#1", image="../../../outside.jpg")
    report = repaired(where)
    assert report.restored == [f"{source}#1"]
    assert outside.read_bytes() == b"private"
    assert_sound(where)


@pytest.mark.parametrize("how", ["repair", "dropped", "delete", "add"])
def test_a_record_that_names_the_picture_of_another_page_does_not_take_it_along(where, how):
    files = where.parent / "files"
    thief, other = f"{files}/red.png#1", f"{files}/blue.png#1"
    with reopened(where) as index:
        name = index._store.get([other])[other].page.image_path
    damage = {"vectors": "AAAA"} if how == "dropped" else {}
    change_record(where, thief, image=name, **damage)
    for colour in ("blue", "red"):
        (files / f"{colour}.png").unlink()  # nothing could be restored
    with reopened(where) as index:
        if how in ("repair", "dropped"):
            index.repair()
        elif how == "delete":
            index.delete(thief)
        else:
            index.add([Page(f"{files}/red.png", text="red")])
        assert name in {
            picture.relative_to(index._pictures.folder).as_posix() for picture in pictures(where)
        }
        wrong = {finding.id for finding in index.check().findings}
    assert wrong == ({thief} if how == "repair" else set())


def test_a_page_gets_its_own_picture_again_and_the_other_one_keeps_its_own(where):
    files = where.parent / "files"
    thief, other = f"{files}/red.png#1", f"{files}/blue.png#1"
    with reopened(where) as index:
        name = index._store.get([other])[other].page.image_path
    change_record(where, thief, image=name)
    assert repaired(where).restored == [thief]
    assert_sound(where)


def test_a_vector_that_chromas_graph_has_wrong_is_written_again(where):
    raw_collection(where).update(ids=["c.pdf#1"], embeddings=np.eye(1, 32, dtype=np.float32))
    report = repaired(where)
    assert (report.rewritten, report.left) == (["c.pdf#1"], [])
    with reopened(where) as index:
        assert index.search("green pears", 1, candidates=1)[0].page.id == "c.pdf#1"
    assert_sound(where)


@pytest.mark.integration
@pytest.mark.parametrize("damage", ["garbage", "folder gone"])
def test_a_damaged_graph_is_made_again(tmp_path, damage):
    encoder = FakeEncoder(dimension=32, document_vectors=2)
    with PageIndex.open(tmp_path, encoder) as index:
        index.add([Page(f"{n}.txt", text=f"word{n} common") for n in range(1200)])
        before = content(index)
    [path] = tmp_path.glob("*/data_level0.bin")
    if damage == "garbage":
        path.write_bytes(b"\x07" * path.stat().st_size)
    else:
        for one in path.parent.iterdir():
            one.unlink()
        path.parent.rmdir()
    with PageIndex.open(tmp_path, encoder) as index:
        report = index.repair()
        assert report.left == []
        assert len(report.rewritten) >= 1000
    with PageIndex.open(tmp_path, encoder) as index:
        assert content(index) == before
        assert index.check().findings == []
        assert index.search("word7", 1, candidates=5)[0].page.id == "7.txt#1"


def test_an_open_index_serves_no_damage_after_its_repair(where):
    with reopened(where) as index:
        expected = [(hit.page.id, hit.score) for hit in index.search("red apples", 6)]
    for path in levels(where):
        path.write_bytes(bytes(path.stat().st_size))
    with reopened(where) as index:
        index.search("red apples", 6)
        index.repair()
        found = [(hit.page.id, hit.score) for hit in index.search("red apples", 6)]
    assert found == expected


def test_left_over_files_are_removed(where):
    stray = where / "pictures" / "pages" / "ab" / "abc.jpg"
    stray.parent.mkdir()
    stray.write_bytes(b"")
    (where / "cache" / "pages" / "oldgeneration").mkdir()
    (where / ".metaembed.writing").touch()
    mark = (where / ".metaembed.mark").read_text()
    assert len(repaired(where).removed) == 3
    assert not stray.exists()
    assert (where / ".metaembed.mark").read_text() != mark
    assert_sound(where)


def test_a_calibration_that_cannot_be_read_is_removed(where):
    path = where / "calibration" / "pages.json"
    path.parent.mkdir()
    path.write_text("{")
    assert repaired(where).removed == [str(path)]
    assert_sound(where)


def test_an_index_in_memory_is_repaired(encoder):
    index = PageIndex.open(":memory:", encoder)
    index.add([Page("a", text="apples")])
    index._store._collection.add(ids=["foreign"], embeddings=np.ones((1, 64)))
    assert [one.id for one in index.repair().dropped] == ["foreign"]
    assert index.check().is_sound
    assert len(index.search("apples", 2)) == 1


@pytest.mark.integration
def test_a_repair_that_is_killed_is_done_by_the_next_one(tmp_path):
    where, dice = tmp_path / "index", random.Random(5)
    with made(where, tmp_path / "files") as index:
        index.add([Page(f"{n}.txt", text=f"word{n} common") for n in range(400)])
        whole = content(index)
    damaged = [f"{n}.txt#1" for n in range(0, 400, 40)]
    for id in damaged:
        change_record(where, id, vectors="AAAA")
    for id in [f"{n}.txt#1" for n in range(1, 400, 40)]:
        raw_collection(where).update(ids=[id], embeddings=np.eye(1, 32, dtype=np.float32))
    for path in pictures(where):
        path.unlink()
    add_foreign(where)
    for _ in range(6):
        done = run(repaired, where, kill=Kill(seconds=dice.uniform(0.2, 1.8)))
        assert not done.error, done.error
    assert repaired(where).left == []
    with reopened(where) as index:
        now = content(index)
        assert index.check().findings == []
        assert index.search("word7", 1)[0].page.id == "7.txt#1"
    assert now == {id: page for id, page in whole.items() if id not in damaged}
    assert fake().encoded == []
