"""Files that moved, were renamed, copied or deleted: nothing is encoded twice, nothing is lost."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metaembed_rag import AddReport, Page, PageIndex
from metaembed_rag.errors import StoreError
from metaembed_rag.ingest import moves
from metaembed_rag.ingest.target import Target
from metaembed_rag.pages import load_pages
from metaembed_rag.ray import PageEncoder
from metaembed_rag.store.readings import Readings
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import FORMATS
from tests.support.photos import save_photo

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ("apples.txt", "sub/pears.txt", "sub/deep/whales.txt")


def encoder() -> FakeEncoder:
    return FakeEncoder(dimension=16, query_vectors=4, document_vectors=8)


@pytest.fixture
def index() -> Iterator[PageIndex]:
    with PageIndex.open(":memory:", encoder()) as index:
        yield index


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder of three texts and a picture."""
    folder = tmp_path / "docs"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"all about {Path(name).stem}")
    Image.new("RGB", (40, 30), "red").save(folder / "red_kite.png")
    return folder


def encoded(index: PageIndex) -> list[Any]:
    """What was encoded since this was asked last."""
    found = list(index.encoder.encoded)
    index.encoder.encoded.clear()
    return found


def files(index: PageIndex) -> list[str]:
    return sorted(page.source for page in index.get(index.ids()))


def below(*folders: Path) -> list[str]:
    """The sources of all files in folders."""
    every = (path for folder in folders for path in folder.rglob("*.*"))
    return sorted(path.as_posix() for path in every)


def counts(report: AddReport) -> tuple[int, int, int, int]:
    return report.added, report.unchanged, report.removed, report.moved


def test_a_folder_that_moved_is_not_encoded_again_and_its_old_pages_go(index, docs, tmp_path):
    index.sync(docs)
    assert len(encoded(index)) == 4
    docs.rename(tmp_path / "elsewhere")
    report = index.sync(tmp_path / "elsewhere")
    assert (encoded(index), counts(report)) == ([], (4, 0, 4, 4))
    assert files(index) == below(tmp_path / "elsewhere")
    assert (report.skipped, report.unpruned) == ([], [])
    assert str(report) == "4 added, 0 updated, 0 unchanged, 4 removed, 0 skipped, 4 moved"
    assert counts(index.sync(tmp_path / "elsewhere")) == (0, 4, 0, 0)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_vectors_pictures_and_first_vectors_are_taken_over_byte_for_byte(docs, tmp_path, format):
    with PageIndex.open(tmp_path / "i", encoder(), format=format) as index:
        index.sync(docs)
        before = {page.text: page.id for page in index.get(index.ids())}
        was = {page.source.rpartition("/")[2]: page.id for page in index.get(index.ids())}
        raw = {one.id: one for one in index._store.raw(index.ids())}
        docs.rename(tmp_path / "elsewhere")
        index.sync(tmp_path / "elsewhere")
        now = {page.source.rpartition("/")[2]: page.id for page in index.get(index.ids())}
        for one in index._store.raw(index.ids()):
            old = raw[was[next(name for name, id in now.items() if id == one.id)]]
            assert one.metadata["metaembed:vectors"] == old.metadata["metaembed:vectors"]
            assert np.array_equal(one.vector, old.vector)
        kite = index.get([now["red_kite.png"]])[0]
        assert kite.load_image().getpixel((20, 15))[0] > 240
        assert index.check().findings == []
        assert index.search("whales", 1)[0].page.source.startswith(f"{tmp_path}/elsewhere")
    assert len(before) == 4


def test_a_renamed_file_is_not_encoded_again(index, docs):
    index.sync(docs)
    encoded(index)
    (docs / "apples.txt").rename(docs / "fruit.txt")
    assert counts(index.sync(docs)) == (1, 3, 1, 1)
    assert encoded(index) == []
    assert files(index) == below(docs)


def test_a_renamed_sub_folder_is_no_unmounted_disk(index, docs):
    index.sync(docs)
    encoded(index)
    (docs / "sub").rename(docs / "more")
    report = index.sync(docs)
    assert (encoded(index), counts(report), report.unpruned) == ([], (2, 2, 2, 2), [])
    assert files(index) == below(docs)


def test_files_that_change_names_in_a_row_are_not_encoded_again(index, docs):
    for number in range(5):
        (docs / f"{number}.txt").write_text(f"number {number}")
    index.sync(docs)
    encoded(index)
    for number in reversed(range(5)):
        (docs / f"{number}.txt").rename(docs / f"{number + 1}.txt")
    index.sync(docs, batch_size=1)
    assert encoded(index) == []
    assert files(index) == below(docs)
    assert index.get([f"{docs / '3.txt'}#1"])[0].text == "number 2"


@pytest.mark.parametrize("batch_size", [1, 64])
def test_files_that_swap_their_names_are_not_encoded_again(index, docs, batch_size):
    (docs / "long.txt").write_text("a long story. " * 1000)
    index.sync(docs)
    encoded(index)
    before = len(index)
    (docs / "apples.txt").rename(docs / "other.txt")
    (docs / "long.txt").rename(docs / "apples.txt")
    (docs / "other.txt").rename(docs / "long.txt")
    index.sync(docs, batch_size=batch_size)
    assert (encoded(index), len(index)) == ([], before)
    assert index.get([f"{docs}/long.txt#1"])[0].text == "all about apples"
    assert f"{docs}/apples.txt#2" in index.ids()
    assert counts(index.sync(docs)) == (0, before, 0, 0)
    assert index.check().is_sound


def test_a_file_that_moved_onto_another_one_takes_its_place(index, docs, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "apples.txt").write_text("something else")
    index.sync([docs, other])
    encoded(index)
    (docs / "apples.txt").replace(other / "apples.txt")
    report = index.sync(other)
    assert (encoded(index), report.updated, report.removed, report.moved) == ([], 1, 1, 0)
    assert files(index) == below(docs, other)


def test_what_is_not_found_again_goes_where_it_is_to_be_pruned(index, docs, tmp_path):
    index.sync(docs)
    docs.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "sub" / "pears.txt").unlink()
    report = index.sync(tmp_path / "elsewhere", prune=True)
    assert (counts(report), report.unpruned) == ((3, 0, 4, 3), [])


def test_a_copy_stays_a_copy_and_is_not_encoded(index, docs):
    index.sync(docs)
    encoded(index)
    shutil.copy(docs / "apples.txt", docs / "copy.txt")
    assert counts(index.sync(docs)) == (1, 4, 0, 0)
    assert encoded(index) == []
    assert files(index) == below(docs)


def test_two_files_of_the_same_bytes_are_encoded_once_and_move_together(index, docs, tmp_path):
    shutil.copytree(docs / "sub", docs / "again")
    index.sync(docs)
    assert len(encoded(index)) == 4
    docs.rename(tmp_path / "elsewhere")
    assert counts(index.sync(tmp_path / "elsewhere")) == (6, 0, 6, 6)
    assert encoded(index) == []
    assert files(index) == below(tmp_path / "elsewhere")


def test_a_folder_that_moved_while_one_file_changed_leaves_no_old_page(index, docs, tmp_path):
    index.sync(docs)
    encoded(index)
    docs.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "sub" / "pears.txt").write_text("all about plums")
    report = index.sync(tmp_path / "elsewhere")
    assert encoded(index) == ["all about plums"]
    assert (counts(report), report.unpruned) == ((4, 0, 4, 3), [])
    assert files(index) == below(tmp_path / "elsewhere")


def test_what_is_not_found_again_stays_and_is_listed(index, docs, tmp_path):
    index.sync(docs)
    encoded(index)
    docs.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "sub" / "pears.txt").unlink()
    report = index.sync(tmp_path / "elsewhere")
    assert (encoded(index), counts(report)) == ([], (3, 0, 3, 3))
    (left,) = report.unpruned
    assert left.source == docs.as_posix()
    assert "has moved, and 1 page of files that were not found again stay" in left.reason
    assert (docs / "sub" / "pears.txt").as_posix() in files(index)
    assert index.prune().files == {(docs / "sub" / "pears.txt").as_posix(): 1}


def test_half_deleted_and_moved_below_the_same_root(index, docs):
    index.sync(docs)
    encoded(index)
    (docs / "apples.txt").unlink()
    (docs / "sub" / "pears.txt").rename(docs / "pears.txt")
    report = index.sync(docs)
    assert (encoded(index), counts(report)) == ([], (1, 2, 2, 1))
    assert files(index) == below(docs)


def test_a_folder_may_move_twice_and_back(index, docs, tmp_path):
    index.sync(docs)
    encoded(index)
    for old, new in (("docs", "b"), ("b", "c"), ("c", "docs")):
        (tmp_path / old).rename(tmp_path / new)
        assert counts(index.sync(tmp_path / new)) == (4, 0, 4, 4)
        assert files(index) == below(tmp_path / new)
    assert encoded(index) == []


def test_a_move_from_one_root_to_another(index, docs, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "ships.txt").write_text("all about ships")
    index.sync([docs, other])
    encoded(index)
    (docs / "apples.txt").rename(other / "apples.txt")
    assert counts(index.sync(other)) == (1, 1, 1, 1)
    assert encoded(index) == []
    assert files(index) == below(docs, other)


def test_a_file_that_moved_and_was_copied_has_both_pages(index, docs):
    index.sync(docs)
    encoded(index)
    shutil.copy(docs / "apples.txt", docs / "one.txt")
    (docs / "apples.txt").rename(docs / "two.txt")
    assert counts(index.sync(docs)) == (2, 3, 1, 1)
    assert encoded(index) == []
    assert files(index) == below(docs)


def test_pages_of_a_file_that_is_there_are_never_removed_by_a_move(index, docs, tmp_path):
    shutil.copytree(docs, tmp_path / "copy")
    index.sync(docs)
    encoded(index)
    assert counts(index.sync(tmp_path / "copy")) == (4, 0, 0, 0)
    assert encoded(index) == []
    assert files(index) == below(docs, tmp_path / "copy")


def test_pages_of_a_disk_that_is_not_mounted_stay_beside_their_copies(index, docs, tmp_path):
    shutil.copytree(docs, tmp_path / "copy")
    index.sync([docs, tmp_path / "copy"])
    docs.rename(tmp_path / "unmounted")
    assert counts(index.sync(tmp_path / "copy")) == (0, 4, 0, 0)
    assert len(index) == 8


def test_another_persons_page_of_the_file_stays(index, docs, tmp_path):
    index.sync(docs)
    (page,) = load_pages(docs / "apples.txt")
    index.add([replace(page, id=f"tenant:{page.id}")])
    docs.rename(tmp_path / "elsewhere")
    index.sync(tmp_path / "elsewhere")
    assert f"tenant:{page.id}" in index.ids()
    assert len(index) == 5


def test_a_picture_whose_text_is_its_file_name_is_encoded_under_another_one(index, docs):
    save_photo(docs / "barn owl.jpg")
    index.sync(docs)
    encoded(index)
    (docs / "barn owl.jpg").rename(docs / "blue whale.jpg")
    assert index.sync(docs).moved == 0
    assert [one["text"] for one in encoded(index)] == ["blue whale"]
    assert files(index) == below(docs)


# -- ended in the middle ---------------------------------------------------------------------


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_run_that_ends_between_writing_and_removing_is_completed(
    docs, tmp_path, monkeypatch, in_memory
):
    model = encoder()
    with PageIndex.open(":memory:" if in_memory else tmp_path / "i", model) as index:
        index.sync(docs)
        docs.rename(tmp_path / "elsewhere")
        model.encoded.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Target, "remove", _killed)
            with pytest.raises(KeyboardInterrupt):
                index.sync(tmp_path / "elsewhere")
        assert len(index) == 8  # nothing is lost
        again = index if in_memory else PageIndex.open(tmp_path / "i", model)
        report = again.sync(tmp_path / "elsewhere")
        assert (report.unchanged, report.removed) == (4, 0 if in_memory else 4)
        if not in_memory:
            assert files(again) == below(tmp_path / "elsewhere")
            assert list((tmp_path / "i" / "readings").glob("*.moved")) == []
            again.close()
        assert model.encoded == []


def test_a_run_that_ends_while_it_writes_goes_on(docs, tmp_path, monkeypatch):
    model = encoder()
    with PageIndex.open(tmp_path / "i", model) as index:
        index.sync(docs)
        docs.rename(tmp_path / "elsewhere")
        model.encoded.clear()
        real, done = Target.put_records, []

        def ends(self, *given):
            done.append(1)
            if len(done) == 3:
                raise KeyboardInterrupt
            return real(self, *given)

        with monkeypatch.context() as patch:
            patch.setattr(Target, "put_records", ends)
            with pytest.raises(KeyboardInterrupt):
                index.sync(tmp_path / "elsewhere")
    with PageIndex.open(tmp_path / "i", model) as index:
        report = index.sync(tmp_path / "elsewhere")
        assert (report.added, report.unchanged, report.removed) == (2, 2, 4)
        assert files(index) == below(tmp_path / "elsewhere")
        assert index.check().is_sound
    assert model.encoded == []


def test_a_note_of_a_run_that_ended_counts_only_while_the_file_is_gone(docs, tmp_path, monkeypatch):
    model = encoder()
    with PageIndex.open(tmp_path / "i", model) as index:
        index.sync(docs)
        docs.rename(tmp_path / "elsewhere")
        with monkeypatch.context() as patch:
            patch.setattr(Target, "remove", _killed)
            with pytest.raises(KeyboardInterrupt):
                index.sync(tmp_path / "elsewhere")
        shutil.copytree(tmp_path / "elsewhere", docs)
        assert index.sync(tmp_path / "elsewhere").removed == 0
        assert files(index) == below(docs, tmp_path / "elsewhere")


def test_a_torn_note_is_read_as_far_as_it_goes(docs, tmp_path):
    with PageIndex.open(tmp_path / "i", encoder()) as index:
        (tmp_path / "i" / "readings").mkdir(exist_ok=True)
        (tmp_path / "i" / "readings" / "pages.moved").write_text('\n["a", "b", 3]\n[1\n\x00"')
        assert index.sync(docs).added == 4


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


# -- roots -----------------------------------------------------------------------------------


def test_pages_know_their_root_after_a_move(index, docs, tmp_path):
    index.sync(docs)
    docs.rename(tmp_path / "elsewhere")
    index.sync(tmp_path / "elsewhere")
    pages = index.get(index.ids())
    assert {page.root for page in pages} == {(tmp_path / "elsewhere").as_posix()}
    assert sorted(page.file_path for page in pages) == sorted([*NAMES, "red_kite.png"])


def test_pages_of_older_indexes_get_their_root_without_encoding(index, docs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("metaembed_rag.pages.load._SCHEME", _NoRoot())
        index.sync(docs)
    assert {page.root for page in index.get(index.ids())} == {""}
    encoded(index)
    assert counts(index.sync(docs)) == (0, 4, 0, 0)
    assert encoded(index) == []
    assert {page.root for page in index.get(index.ids())} == {docs.as_posix()}


def test_a_sync_of_a_sub_folder_leaves_the_root(index, docs):
    index.sync(docs)
    assert index.sync(docs / "sub").unchanged == 2
    assert {page.root for page in index.get(index.ids())} == {docs.as_posix()}
    index.add(load_pages(docs / "sub"))
    assert {page.root for page in index.get(index.ids())} == {docs.as_posix()}


class _NoRoot:
    def sub(self, *_: Any) -> str:
        return ""


@pytest.mark.parametrize(
    ("fixture", "dimension", "vectors"),
    [("a870c41", 32, 8), ("da68122", 32, 8), ("e153782", 64, 32)],
)
def test_files_move_in_indexes_that_older_versions_made(
    docs, tmp_path, monkeypatch, fixture, dimension, vectors
):
    with tarfile.open(FIXTURES / fixture / "index.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    model = FakeEncoder(
        dimension=dimension, query_vectors=4, document_vectors=vectors, dimensions=(16, dimension)
    )
    with PageIndex.open(tmp_path / "index", model, create=False) as index:
        others = set(index.ids())
        with monkeypatch.context() as patch:
            patch.setattr("metaembed_rag.pages.load._SCHEME", _NoRoot())
            index.sync(docs)
        was = {page.text: index.vectors([page.id]) for page in index.get(index.ids())}
        encoded(index)
        docs.rename(tmp_path / "elsewhere")
        assert counts(index.sync(tmp_path / "elsewhere")) == (4, 0, 4, 4)
        assert encoded(index) == []
        new = sorted(set(index.ids()) - others)
        assert [page.source for page in index.get(new)] == below(tmp_path / "elsewhere")
        for page in index.get(new):
            assert page.root == (tmp_path / "elsewhere").as_posix()
            assert np.array_equal(index.vectors([page.id]), was[page.text])
        assert others < set(index.ids())
        assert index.check().is_sound


# -- pages that are no files -------------------------------------------------------------------


def test_added_pages_of_known_content_are_not_encoded(index):
    index.add([Page("a", text="whales"), Page("b", text="whales"), Page("c", text="ships")])
    assert encoded(index) == ["whales", "ships"]
    index.add([Page("d", text="ships", metadata={"year": 2}), Page("a", text="ships")])
    assert encoded(index) == []
    assert index.get(["d#1"])[0].metadata == {"year": 2}
    assert np.array_equal(index.vectors(["a#1"]), index.vectors(["c#1"]))


def test_content_of_another_mode_is_encoded(index):
    index.add([Page("a", text="whales", image=Image.new("RGB", (9, 9), "blue"))], mode="text")
    encoded(index)
    index.add([Page("b", text="whales", image=Image.new("RGB", (9, 9), "blue"))])
    assert len(encoded(index)) == 1


def test_what_another_person_described_is_described_anew(index):
    image = Image.new("RGB", (9, 9), "blue")
    index.add([Page("a", image=image)], describe=lambda image: "a blue whale")
    encoded(index)
    index.add([Page("b", image=image)])
    assert encoded(index) == []
    assert index.get(["b#1"])[0].text == index.get(["a#1"])[0].text


# -- stores and workers ------------------------------------------------------------------------


@pytest.fixture
def store() -> Iterator[Any]:
    files = pytest.importorskip("fsspec").filesystem("memory")
    files.store.clear()
    for name in NAMES:
        files.pipe_file(f"/old/{name}", f"all about {Path(name).stem}".encode())
    yield files
    files.store.clear()


def moved_in(store: Any, old: str, new: str) -> None:
    for path in store.find(old):
        store.mv(path, path.replace(old, new, 1))


def test_a_folder_that_moved_in_a_store_is_not_encoded_again(index, store):
    index.sync("memory://old")
    assert len(encoded(index)) == 3
    moved_in(store, "/old", "/new")
    report = index.sync("memory://new")
    assert (encoded(index), counts(report)) == ([], (3, 0, 3, 3))
    assert files(index) == sorted(f"memory://new/{name}" for name in NAMES)


def test_a_copy_in_a_store_stays_a_copy(index, store):
    index.sync("memory://old")
    encoded(index)
    for path in store.find("/old"):
        store.pipe_file(path.replace("/old", "/new", 1), store.cat_file(path))
    assert counts(index.sync("memory://new")) == (3, 0, 0, 0)
    assert (encoded(index), len(index)) == ([], 6)


def test_what_moved_from_the_disk_to_a_store_is_not_encoded_again(index, store, docs):
    (docs / "red_kite.png").unlink()
    index.sync(docs)
    encoded(index)
    shutil.rmtree(docs)
    assert counts(index.sync("memory://old")) == (3, 0, 3, 3)
    assert encoded(index) == []


def test_workers_do_not_encode_what_has_moved(index, docs, tmp_path):
    model = index.encoder

    def encode(files: Any) -> Iterator[dict[str, Any]]:
        worker = PageEncoder(
            model,
            folders=files.folders,
            unchanged=files.unchanged,
            blank=files.blank,
            moved=files.moved,
        )
        return worker.rows({"path": source} for source in files.sources)

    index.sync_encoded(docs, encode)
    assert len(encoded(index)) == 4
    assert {page.root for page in index.get(index.ids())} == {docs.as_posix()}
    docs.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "apples.txt").write_text("all about plums")
    report = index.sync_encoded(tmp_path / "elsewhere", encode)
    assert encoded(index) == ["all about plums"]
    assert (counts(report), report.skipped) == ((4, 0, 4, 3), [])
    assert files(index) == below(tmp_path / "elsewhere")
    assert counts(index.sync(tmp_path / "elsewhere")) == (0, 4, 0, 0)


def test_a_store_that_only_the_index_names_is_not_asked(index, store, docs, monkeypatch):
    (docs / "red_kite.png").unlink()
    index.sync("memory://old")
    store.rm("/old", recursive=True)
    with monkeypatch.context() as patch:
        patch.setattr("metaembed_rag.ingest.whereabouts.remote_folder", _killed)
        assert counts(index.sync(docs)) == (3, 0, 0, 0)
    assert index.prune().pages == 3
    assert files(index) == below(docs)


def test_old_pages_go_also_where_a_worker_has_encoded_what_moved_in_a_store(index, store):
    model = index.encoder

    def encode(files: Any) -> Iterator[dict[str, Any]]:
        worker = PageEncoder(model, folders=files.folders, moved=files.moved)
        items = ({"path": one, "bytes": store.cat_file(one)} for one in files.sources)
        return worker.rows(items)

    index.sync_encoded("memory://old", encode)
    moved_in(store, "/old", "/new")
    report = index.sync_encoded("memory://new", encode)
    assert (counts(report), report.skipped) == ((3, 0, 3, 3), [])
    assert files(index) == sorted(f"memory://new/{name}" for name in NAMES)


@pytest.mark.parametrize("way", ["sync", "sync_encoded"])
def test_what_was_read_before_is_looked_at_once_a_run(index, docs, monkeypatch, way):
    looked: list[str] = []
    monkeypatch.setattr(Readings, "refresh", lambda self: looked.append(way))
    if way == "sync":
        index.sync(docs)
    else:
        index.sync_encoded(docs, lambda files: [])
    assert looked == [way]


# -- a folder that has gone --------------------------------------------------------------------


def test_a_sync_of_a_folder_that_has_gone_says_what_to_do(index, docs):
    index.sync(docs)
    shutil.rmtree(docs)
    (error,) = index.sync(docs).skipped
    assert error.source == docs.as_posix()
    assert "4 pages of it stay in the index. Moved? Index its new place" in error.reason
    assert "metaembed prune" in error.reason
    assert len(index) == 4


def test_prune_removes_pages_of_files_that_are_no_more(index, docs):
    index.sync(docs)
    index.add([Page("made by hand", text="no file"), Page("/no/file", text="no file either")])
    shutil.rmtree(docs / "sub")
    expected = {(docs / name).as_posix(): 1 for name in NAMES[1:]}
    planned = index.prune(dry_run=True)
    assert (planned.files, planned.dry_run, len(index)) == (expected, True, 6)
    assert index.prune().files == expected
    assert files(index) == sorted(["made by hand", "/no/file", *below(docs)])
    assert str(index.prune()) == "0 pages of 0 files removed"


def test_prune_does_not_empty_an_index_unless_it_is_told_to(index, docs):
    index.sync(docs)
    shutil.rmtree(docs)
    with pytest.raises(StoreError, match="none of the index's 4 files is there"):
        index.prune()
    assert len(index) == 4
    assert index.prune(everything=True).pages == 4
    assert len(index) == 0


def test_prune_asks_stores(index, store):
    index.sync("memory://old")
    store.rm("/old/apples.txt")
    assert index.prune().files == {"memory://old/apples.txt": 1}
    assert len(index) == 2


def test_prune_leaves_what_it_cannot_look_for(index, docs, monkeypatch):
    index.sync(docs)

    def refused(self: Path, **_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refused)
        report = index.prune()
    assert (report.pages, set(report.doubtful.values())) == (0, {"Permission denied"})


def test_prune_looks_for_files_where_they_are_on_this_machine(index, docs, tmp_path, monkeypatch):
    index.sync(docs)
    docs.rename(tmp_path / "mine")
    (tmp_path / "mine" / "apples.txt").unlink()
    roots = {docs.as_posix(): (tmp_path / "mine").as_posix()}
    expected = {(docs / "apples.txt").as_posix(): 1}
    assert index.prune(roots=roots, dry_run=True).files == expected
    monkeypatch.setenv("METAEMBED_ROOTS", f"/a=/b;{docs}/={tmp_path}/mine")
    assert index.prune().files == expected


def test_pictures_are_made_again_from_files_where_they_are_on_this_machine(docs, tmp_path):
    with PageIndex.open(tmp_path / "i", encoder()) as index:
        index.sync(docs)
        docs.rename(tmp_path / "mine")
        id = f"{docs}/red_kite.png#1"
        Path(index.get([id])[0].image_path).unlink()
        assert index.repair().restored == []
        roots = {docs.as_posix(): (tmp_path / "mine").as_posix()}
        assert index.repair(roots=roots).restored == [id]
        assert index.get([id])[0].load_image() is not None


def test_a_note_is_kept_for_moves_alone(docs, tmp_path, monkeypatch):
    noted: list[Any] = []
    monkeypatch.setattr(moves.Moves, "_keep", lambda self, new: noted.extend(new))
    with PageIndex.open(tmp_path / "i", encoder()) as index:
        index.sync(docs)
        shutil.copytree(docs, tmp_path / "copy")
        index.sync(tmp_path / "copy")
    assert noted == []


@pytest.mark.usefixtures("loaded")
def test_the_program_in_the_documentation_runs(tmp_path, monkeypatch):
    text = (Path(__file__).parents[1] / "docs" / "moves.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "docs/moves.md", "exec"), {})


@pytest.mark.parametrize("names", [("a.txt", "b.md"), ("a.md", "b.txt")])
def test_a_text_that_becomes_markdown_has_its_sections_and_the_other_way_round(
    index: PageIndex, tmp_path: Path, names: tuple[str, str]
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    before, after = (folder / name for name in names)
    before.write_text("# Tides\n\nThe water falls.\n")
    index.sync(folder)
    encoded(index)
    before.rename(after)
    report = index.sync(folder)
    [page] = index.get(index.ids())
    assert page.metadata == next(load_pages(folder)).metadata
    assert (page.source, report.moved, encoded(index)) == (str(after), 1, [])
