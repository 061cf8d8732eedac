"""Where files lie: fixed, because older versions have left theirs there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

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


IN_MEMORY = """
import sys
from PIL import Image
from metaembed_rag import Page, PageIndex
from metaembed_rag.testing import FakeEncoder

index = PageIndex.open(":memory:", FakeEncoder())
index.add([Page(source="a", image=Image.new("RGB", (20, 20), "red"))])
print(index.get(["a#1"])[0].image_path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def in_memory(tmp_path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], Path]]]:
    """Start a process with an index in memory: the process, and the picture that it keeps."""
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = []

    def start() -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, "-c", IN_MEMORY]
        process = subprocess.Popen(command, env=environment, text=True, **pipes)
        started.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.integration
def test_fault_18_the_next_index_in_memory_removes_what_a_killed_one_left(in_memory, tmp_path):
    folder = tmp_path / "tmp"
    (folder / "metaembed_mine").mkdir()  # the user's own, with a name like ours
    (folder / f"metaembed_{2**22 + 1}_link").symlink_to(tmp_path)
    killed, picture = in_memory()
    living, other = in_memory()
    killed.kill()
    killed.wait()
    assert picture.exists() and other.exists()
    for lock in folder.glob("*/alive.lock"):
        os.utime(lock, (0, 0))  # long after they were made
    ended, last = in_memory()
    assert not picture.exists()
    assert other.exists() and last.exists()
    ended.communicate("")  # a process that ends by itself leaves nothing
    assert not last.exists() and other.exists()
    assert living.poll() is None
    assert len(list(folder.glob("metaembed_*"))) == 3


def test_fault_18_a_forked_child_leaves_its_parents_folder_alone():
    mine = places._folder_of_process(os.getpid())
    places._remove_at_exit(mine, FileLock(mine / "alive.lock"), os.getpid() + 1)
    assert mine.exists()
    os.utime(mine / "alive.lock", (0, 0))
    places._remove_abandoned(mine.parent)
    assert mine.exists()
