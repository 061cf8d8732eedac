"""What others may read of an index: nothing, unless its user has allowed it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.testing import FakeEncoder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def filled(where: Path, number: int = 1) -> None:
    with PageIndex.open(where, FakeEncoder()) as index:
        picture = Image.new("RGB", (30, 20), "red")
        index.add([Page(source=f"{number}.pdf", text="red apples", image=picture)])
        index.search("apples", hybrid=False)


def readable(folder: Path) -> set[str]:
    """The files and folders below that others can read: all folders on their way let them in."""
    found = set()
    for path in folder.iterdir():
        mode = path.stat().st_mode
        if path.is_dir() and mode & 0o055:
            found |= {path.name} | readable(path)
        elif not path.is_dir() and mode & 0o044:
            found.add(path.name)
    return found


def test_the_folder_of_a_new_index_is_its_users(tmp_path):
    filled(tmp_path / "new" / "index")
    assert (tmp_path / "new" / "index").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "index" / "chroma.sqlite3").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755  # no part of the index


def test_in_a_folder_that_was_there_nothing_of_the_index_can_be_read(tmp_path):
    place = tmp_path / "index"
    place.mkdir(mode=0o755)
    filled(place)
    assert place.stat().st_mode & 0o777 == 0o755  # somebody's own
    told = {f".metaembed.{name}" for name in ("holder", "lock", "log", "mark", "writing")}
    assert readable(place) <= told
    assert {".metaembed.mark"} <= {path.name for path in place.iterdir()}


def test_an_index_that_others_may_read_stays_so(tmp_path):
    place = tmp_path / "index"
    filled(place)
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for folder in ("pictures", "cache"):
        for path in sorted((place / folder).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (place / folder).rmdir()
    filled(place, 2)
    assert {path.stat().st_mode & 0o777 for path in place.rglob("*") if path.is_dir()} == {0o755}
    assert (place / "chroma.sqlite3").stat().st_mode & 0o777 == 0o644


def test_a_stricter_umask_is_kept(tmp_path):
    os.umask(0o777 & ~0o500)
    if os.geteuid() == 0:
        filled(tmp_path / "index")
        assert (tmp_path / "index").stat().st_mode & 0o777 == 0o500


def test_what_is_kept_in_the_users_cache_folder_is_private(tmp_path, monkeypatch):
    from metaembed_rag.store.named_models import remember_model

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remember_model("one", "http://host#model")
    assert readable(tmp_path) == set()
