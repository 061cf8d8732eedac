"""Where files lie: fixed, because older versions have left theirs there."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaembed_rag.index import PageIndex
from metaembed_rag.store import places
from metaembed_rag.store.cache import VectorCache
from metaembed_rag.store.places import MEMORY, Places, replace_file, replacing
from metaembed_rag.testing import FakeEncoder

OF_SERVERS = [  # as commit a870c41 named them
    ("http://127.0.0.1:8000", "pages", "http_127.0.0.1_8000_pages", "bf1bb8d2"),
    ("https://chroma.example.org", "tenant-1_ü", "https_chroma.example.org_tenant-1_", "6e7cedf0"),
    ("http://[::1]:8000", "a.b", "http_1_8000_a.b", "7917e722"),
]


@pytest.mark.parametrize(("where", "collection", "name", "digest"), OF_SERVERS)
def test_a_servers_files_lie_in_the_users_cache(monkeypatch, where, collection, name, digest):
    monkeypatch.setattr(places.platformdirs, "user_cache_dir", lambda name: f"/cache/{name}")
    found, folder = Places.of(where, collection), Path("/cache/metaembed_rag")
    assert found.folder is None
    assert found.vectors == folder / "vectors" / f"{name}_{digest}"
    assert found.pictures == folder / "pictures" / name
    assert found.calibration == folder / "calibration" / name / f"{collection}.json"
    assert found.lexical(None) == folder / "lexical" / name / "plain"
    assert found.lexical("german") == folder / "lexical" / name / "german"


def test_a_folders_files_lie_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    index = PageIndex.open("i", FakeEncoder(), collection="some", stemmer="german")
    folder = tmp_path / "i"
    assert index._pictures.folder == folder / "pictures" / "some"
    assert index._calibration.path == folder / "calibration" / "some.json"
    assert VectorCache(index._store).folder == folder / "cache" / "some"
    assert index._store.places.lexical("german") == folder / "lexical" / "some" / "german"
    assert index._store.places.lexical(None) == folder / "lexical" / "some" / "plain"
    monkeypatch.chdir("/")  # which moves nothing
    assert index._store.places.pictures == folder / "pictures" / "some"


def test_memory_has_no_place():
    found = Places.of(MEMORY, "pages")
    kept = (found.folder, found.vectors, found.pictures, found.calibration, found.lexical(None))
    assert kept == (None,) * 5


@pytest.mark.parametrize("data", ["größer\n", b"\x00\xff"])
@pytest.mark.parametrize("lasting", [False, True])
def test_a_file_is_replaced_whole(tmp_path, data, lasting):
    path = tmp_path / "file"
    path.write_text("before")
    replace_file(path, data, lasting=lasting)
    assert path.read_bytes() == (data if isinstance(data, bytes) else data.encode())
    assert list(tmp_path.iterdir()) == [path]


def test_after_a_failure_everything_is_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(RuntimeError), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), replacing(tmp_path / "folder") as unfinished:
        unfinished.mkdir()
        (unfinished / "half").write_text("")
        raise RuntimeError
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("file", "before")]


def test_a_folder_appears_whole(tmp_path):
    with replacing(tmp_path / "folder") as unfinished:
        unfinished.mkdir()
        (unfinished / "file").write_text("x")
        assert not (tmp_path / "folder").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "file"]
