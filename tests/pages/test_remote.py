"""Files of object stores as sources of pages."""

from __future__ import annotations

import io
import logging

import fsspec
import pytest
from PIL import Image

from metaembed_rag import PageIndex, load_pages
from metaembed_rag.errors import FileTooLargeError, UnreadableFileError
from metaembed_rag.pages import Limits, remote
from metaembed_rag.testing import FakeEncoder

ROOT = "memory://bucket/docs"


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pipe_file("/bucket/docs/b/fruit.txt", b"red apples")
    files.pipe_file("/bucket/docs/a.md", b"green pears")
    files.pipe_file("/bucket/docs/.hidden/x.txt", b"hidden")
    files.pipe_file("/bucket/docs/notes.xyz", b"no kind that is read")
    files.pipe_file("/bucket/docs/kept/metaembed.json", b"{}")
    files.pipe_file("/bucket/docs/kept/00/00.jpg", b"the picture of a page")
    yield files
    files.store.clear()


def sources(paths, **options) -> list[str]:
    return [page.source for page in load_pages(paths, **options)]


@pytest.mark.parametrize("address", [ROOT, f"{ROOT}/"])
def test_a_folder_is_read_with_all_below_it_and_ids_are_addresses(memory, address):
    ignored = []
    pages = list(load_pages(address, on_ignore=ignored.append))
    assert [page.id for page in pages] == [f"{ROOT}/a.md#1", f"{ROOT}/b/fruit.txt#1"]
    assert [page.text for page in pages] == ["green pears", "red apples"]
    assert [path.name for path in ignored] == ["notes.xyz"]


def test_a_file_is_read_and_one_that_was_named_twice_only_once(memory):
    assert sources([f"{ROOT}/a.md", ROOT]) == [f"{ROOT}/a.md", f"{ROOT}/b/fruit.txt"]


def test_the_folders_of_a_picture_are_words(memory):
    file = io.BytesIO()
    Image.effect_noise((40, 40), 50).convert("RGB").save(file, "PNG")
    memory.pipe_file("/bucket/docs/harbour/red boats.png", file.getvalue())
    page = next(iter(load_pages(f"{ROOT}/harbour/red boats.png")))
    assert page.image.size == (40, 40)
    page = next(one for one in load_pages(ROOT) if one.image is not None)
    assert "red boats" in page.text
    assert "harbour" in page.text


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("memory://bucket/nothing", "no file of a kind that is read|no such file"),
        (f"{ROOT}/notes.xyz", "not a kind of file"),
        ("s3://me:hunter2@bucket/x", "credentials into the environment"),
        ("nothing://bucket/x", "no kind of store"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(memory, address, says):
    with pytest.raises(UnreadableFileError, match=says) as error:
        list(load_pages(address))
    assert "hunter2" not in str(error.value)
    skipped = []
    assert sources([address, f"{ROOT}/a.md"], on_skip=skipped.append) == [f"{ROOT}/a.md"]
    assert len(skipped) == 1


def test_a_file_over_the_limit_does_not_come_here(memory, monkeypatch):
    monkeypatch.setattr(type(memory), "cat_file", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(FileTooLargeError, match=r"11 bytes, over the limit of 5"):
        list(load_pages(f"{ROOT}/a.md", limits=Limits(max_file_bytes=5)))
    memory.pipe_file("/bucket/docs/empty.txt", b"")
    with pytest.raises(UnreadableFileError, match="is empty"):
        list(load_pages(f"{ROOT}/empty.txt"))


def test_a_store_that_hangs_is_a_sentence(memory, monkeypatch):
    import time

    monkeypatch.setattr(remote, "_SECONDS", 0.2)
    monkeypatch.setattr(type(memory), "cat_file", lambda *_, **__: time.sleep(1))
    with pytest.raises(UnreadableFileError, match="does not answer within"):
        list(load_pages(f"{ROOT}/a.md"))


def test_a_file_that_changes_while_it_is_read_is_told(memory, monkeypatch):
    monkeypatch.setattr(type(memory), "cat_file", lambda *_, **__: b"longer than before")
    with pytest.raises(UnreadableFileError, match="changed while"):
        list(load_pages(f"{ROOT}/a.md"))


def test_a_file_address_is_the_path(tmp_path):
    (tmp_path / "a b.txt").write_text("apples")
    assert sources((tmp_path / "a b.txt").as_uri()) == [(tmp_path / "a b.txt").as_posix()]
    assert sources(tmp_path.as_uri()) == [(tmp_path / "a b.txt").as_posix()]


# -- followed by an index ------------------------------------------------------------------------


def test_sync_follows_a_folder_of_a_store(memory, tmp_path):
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        assert index.sync(ROOT).added == 2
        assert index.sync(ROOT).unchanged == 2
        memory.pipe_file("/bucket/docs/a.md", b"green limes")
        assert index.sync(f"{ROOT}/").updated == 1
        memory.rm("/bucket/docs/b/fruit.txt")
        assert index.sync(ROOT).removed == 1
        assert index.ids() == [f"{ROOT}/a.md#1"]
        assert index.search("limes")[0].page.source == f"{ROOT}/a.md"
        assert index.delete(source=f"{ROOT}/a.md") == 1


def test_sync_removes_nothing_where_a_store_is_empty_or_cannot_be_listed(
    memory, tmp_path, monkeypatch
):
    def broken(*_, **__):
        raise PermissionError("refused")

    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.sync(ROOT)
        with monkeypatch.context() as now:
            now.setattr(type(memory), "find", broken)
            report = index.sync(ROOT)
            assert "credentials" in report.skipped[0].reason
        assert len(index) == 2
        memory.rm("/bucket/docs", recursive=True)
        assert index.sync(ROOT).removed == 0
        assert len(index) == 2


def test_sync_does_not_read_what_the_store_says_is_unchanged(memory, tmp_path, monkeypatch):
    versions = {"/bucket/docs/a.md": "1", "/bucket/docs/b/fruit.txt": "1"}
    find, info = type(memory).find, type(memory).info

    def found(self, path, **options):
        every = find(self, path, **options)
        return {path: {**one, "ETag": versions.get(path)} for path, one in every.items()}

    def told(self, path, **options):
        return {**info(self, path, **options), "ETag": versions.get(path)}

    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        monkeypatch.setattr(type(memory), "find", found)
        monkeypatch.setattr(type(memory), "info", told)
        assert index.sync(ROOT).added == 2
        with monkeypatch.context() as now:
            now.setattr(type(memory), "cat_file", lambda *_, **__: pytest.fail("was read"))
            assert index.sync(ROOT).unchanged == 2
        memory.pipe_file("/bucket/docs/a.md", b"green limes")
        versions["/bucket/docs/a.md"] = "2"
        report = index.sync(ROOT)
        assert (report.updated, report.unchanged) == (1, 1)


def test_nothing_of_a_store_is_logged_as_a_warning(memory, tmp_path, caplog):
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.sync(ROOT)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
