"""Pictures in an object store: written before their records, read without ever failing a search."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex, filesystems
from metaembed_rag.errors import StoreError
from metaembed_rag.store import named_models, picture_cache, remote_pictures
from metaembed_rag.store.picture_cache import LEAST_BYTES, PictureCache
from metaembed_rag.testing import FakeEncoder

URL = "memory://bucket/pictures"


@pytest.fixture(autouse=True)
def memory(monkeypatch, tmp_path):
    """The store, empty; and a cache folder of this test alone."""
    for module in (picture_cache, named_models):
        monkeypatch.setattr(
            module, "user_folder", lambda *parts: tmp_path.joinpath("of user", *parts)
        )
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def page(number: int, color: str = "red") -> Page:
    picture = Image.new("RGB", (30, 20), color)
    return Page(source="a.pdf", number=number, text=f"{color} apples", image=picture)


def opened(tmp_path: Path, **settings) -> PageIndex:
    return PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=URL, **settings)


def stored(memory) -> list[str]:
    return [path for path in memory.find("/") if path.endswith(".webp")]


def broken(*_: object, **__: object) -> None:
    raise PermissionError("secret-key-123 is refused")


def test_a_hit_has_the_picture_that_lies_in_the_store(tmp_path, memory):
    with opened(tmp_path) as index:
        index.add([page(1)])
        folder = f"/bucket/pictures/{index._store.collection_id}/"
        assert [path.startswith(folder) for path in stored(memory)] == [True]
        hit = index.search("apples")[0]
        assert hit.page.load_image().getpixel((5, 5))[0] > 240
        assert not list(tmp_path.glob("index/pictures/**/*.webp"))
        assert index.info()["pictures"] == URL


def test_the_collection_notes_the_address_and_this_machine_needs_it_once(tmp_path, caplog):
    with opened(tmp_path) as index:
        index.add([page(1)])
    with PageIndex.open(tmp_path / "index", FakeEncoder(), create=False) as again:
        assert again.info()["pictures"] == URL
        assert again.search("apples")[0].page.load_image() is not None
    shutil.rmtree(tmp_path / "of user")  # as on another machine
    with PageIndex.open(tmp_path / "index", FakeEncoder(), create=False) as other:
        assert other.info()["pictures"] == str(tmp_path / "index/pictures/pages")
        assert other.search("apples")[0].page.image_path is None
    assert "name it once on this machine" in caplog.text


@pytest.mark.parametrize(
    ("noted", "where", "is_believed"),
    [
        ("s3://bucket/pictures", "http://chroma:8000", True),
        ("gs://bucket/pictures", "https://chroma", True),
        ("s3://bucket/pictures", "/somebody/elses/folder", False),
        ("file:///etc", "http://chroma:8000", False),
        ("memory://bucket", "http://chroma:8000", False),
        ("http://10.0.0.1/pictures", "http://chroma:8000", False),
        ("sftp://10.0.0.1/pictures", "http://chroma:8000", False),
        ("s3://key:secret@bucket", "http://chroma:8000", False),
        ("simplecache::s3://bucket", "http://chroma:8000", False),
    ],
)
def test_only_a_server_is_believed_and_only_in_an_object_store(noted, where, is_believed):
    store = SimpleNamespace(where=where, collection_id="1")
    assert remote_pictures._is_believed(noted, store) is is_believed


def test_an_index_that_had_its_pictures_beside_it_notes_the_store_when_it_is_written(tmp_path):
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.add([page(1)])
        assert index._store.about.pictures == ""
    with opened(tmp_path) as index:
        index.add([page(2)])
    with opened(tmp_path) as index:
        assert index._store.about.pictures == URL


@pytest.mark.parametrize(
    "noted", ["file:///etc", "memory://other", "http://10.0.0.1/x", "s3://a:b@c"]
)
def test_an_index_is_not_believed_in_a_place_of_this_machine(tmp_path, noted, caplog):
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index._store.note_pictures(noted)
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        assert index.info()["pictures"] == str(tmp_path / "index/pictures/pages")
    assert "name it once" in caplog.text
    assert noted not in caplog.text


def test_a_missing_picture_gives_the_hit_without_it_and_one_warning(tmp_path, memory, caplog):
    with opened(tmp_path) as index:
        index.add([page(1), page(2, "blue")])
        memory.rm(stored(memory))
        for _ in range(3):
            assert [hit.page.image_path for hit in index.search("apples")] == [None, None]
    assert caplog.text.count("without pictures") == 1


@pytest.mark.parametrize("found", [b"", b"<html>no</html>", b"\xff\xd8 cut off"])
def test_what_is_no_whole_picture_is_not_kept(tmp_path, memory, found):
    with opened(tmp_path) as index:
        index.add([page(1)])
        memory.pipe_file(stored(memory)[0], found)
        assert index.search("apples")[0].page.image_path is None


def test_a_store_that_refuses_costs_a_search_one_warning_without_its_words(
    tmp_path, memory, caplog, monkeypatch
):
    with opened(tmp_path) as index:
        index.add([page(1)])
        monkeypatch.setattr(type(memory), "cat_file", broken)
        for _ in range(3):
            assert index.search("apples")[0].page.image_path is None
    assert caplog.text.count("without pictures") == 1
    assert "credentials" in caplog.text
    assert "secret-key-123" not in caplog.text


def test_a_store_that_hangs_costs_one_wait(tmp_path, memory, caplog, monkeypatch):
    asked, over = [], threading.Event()

    def hangs(*given, **_):
        asked.append(given)
        over.wait(60)
        raise OSError("over")

    with opened(tmp_path, timeout=0.3) as index:
        index.add([page(number) for number in range(1, 40)])
        monkeypatch.setattr(type(memory), "cat_file", hangs)
        start = time.monotonic()
        for _ in range(3):
            assert len(index.search("apples", k=39)) == 39
        took = time.monotonic() - start
        over.set()
    assert took < 30, "the searches themselves take a while on a loaded machine"
    assert len(asked) <= 16, "it was left alone after the first time"
    assert "does not answer within 0.3 seconds" in caplog.text


def test_a_store_is_asked_again_after_a_while(tmp_path, memory, monkeypatch):
    with opened(tmp_path) as index:
        index.add([page(1)])
        with monkeypatch.context() as now:
            now.setattr(type(memory), "cat_file", broken)
            assert index.search("apples")[0].page.image_path is None
        assert index.search("apples")[0].page.image_path is None
        index._pictures._away_until = 0.0
        assert index.search("apples")[0].page.image_path is not None


def test_a_store_that_cannot_be_written_ends_in_a_sentence_and_adds_nothing(
    tmp_path, memory, monkeypatch
):
    with opened(tmp_path) as index:
        monkeypatch.setattr(type(memory), "pipe_file", broken)
        encoder = index.encoder
        monkeypatch.setattr(encoder, "encode_document", lambda _: pytest.fail("encoded in vain"))
        with pytest.raises(StoreError, match=r"memory://bucket/pictures cannot be written.*creden"):
            index.add([page(1)])
        assert len(index) == 0
        assert not stored(memory)


def test_a_picture_is_in_the_store_before_its_record_is(tmp_path, memory, monkeypatch):
    with opened(tmp_path) as index:
        seen = []
        upsert = type(index._store).upsert

        def watched(store, *given):
            seen.append(len(stored(memory)))
            return upsert(store, *given)

        monkeypatch.setattr(type(index._store), "upsert", watched)
        index.add([page(1), page(2, "blue")])
    assert seen == [2]


def test_a_picture_that_fails_in_the_middle_leaves_pages_without_records(
    tmp_path, memory, monkeypatch
):
    with opened(tmp_path) as index:
        index.add([page(1)])
        monkeypatch.setattr(type(memory), "pipe_file", broken)
        with pytest.raises(StoreError, match="cannot be written"):
            index.add([page(2, "blue")])
        assert index.ids() == ["a.pdf#1"]
        monkeypatch.undo()
        assert index.add([page(2, "blue")]).added == 1


def test_a_deleted_page_takes_its_picture_and_the_copy_here_with_it(tmp_path, memory):
    with opened(tmp_path) as index:
        index.add([page(1), page(2, "blue")])
        copy = Path(index.get(["a.pdf#1"])[0].image_path)
        assert copy.is_file()
        index.delete("a.pdf#1")
        assert len(stored(memory)) == 1
        assert not copy.exists()


def test_a_replaced_page_leaves_one_picture(tmp_path, memory):
    with opened(tmp_path) as index:
        index.add([page(1)])
        index.add([page(1, "blue")])
        assert len(stored(memory)) == 1
        assert index.get(["a.pdf#1"])[0].load_image().getpixel((5, 5))[2] > 240


def test_a_store_that_does_not_delete_costs_a_warning(tmp_path, memory, monkeypatch, caplog):
    with opened(tmp_path) as index:
        index.add([page(1)])
        monkeypatch.setattr(type(memory), "rm", broken)
        assert index.delete("a.pdf#1") == 1
        assert len(index) == 0
    assert "metaembed repair" in caplog.text


def test_check_and_repair_know_what_lies_in_the_store(tmp_path, memory, monkeypatch):
    path = tmp_path / "red.png"
    Image.effect_noise((60, 40), 40).convert("RGB").save(path)
    path.with_suffix(".txt").write_text("apples")
    with opened(tmp_path) as index:
        index.sync([tmp_path / "red.png"])
        assert index.check().is_sound
        name = stored(memory)[0]
        kept = memory.cat_file(name)
        memory.pipe_file(name, kept[:16] + bytes(len(kept) - 18) + kept[-2:])
        assert [one.kind for one in index.check().findings] == ["picture"]
        memory.rm(name)
        assert "missing" in index.check().findings[0].what
        stray = name.replace(name[-37:], "0" * 32 + ".webp")
        memory.pipe_file(stray, kept)
        assert not index.check().notes, "it may be on its way"
        monkeypatch.setattr(remote_pictures, "SETTLED_SECONDS", -1.0)
        assert "of no page" in index.check().notes[0].what
        report = index.repair()
        assert len(report.restored) == 1
        assert stored(memory) == [name]
        assert index.check().is_sound


def test_check_says_once_that_the_store_cannot_be_asked(tmp_path, memory, monkeypatch):
    with opened(tmp_path) as index:
        index.add([page(1), page(2)])
        monkeypatch.setattr(type(memory), "cat_file", broken)
        monkeypatch.setattr(type(memory), "find", broken)
        findings = index.check().findings
        assert all("credentials" in one.what for one in findings)
        assert len(findings) == 2  # reading, and listing


def test_sync_writes_pictures_again_that_have_gone(tmp_path, memory):
    Image.effect_noise((60, 40), 40).convert("RGB").save(tmp_path / "red.png")
    (tmp_path / "red.txt").write_text("apples")
    with opened(tmp_path) as index:
        index.sync([tmp_path / "red.png"])
        assert index.sync([tmp_path / "red.png"]).seconds["encode"] == 0
        memory.rm(stored(memory))
        index.sync([tmp_path / "red.png"])
        assert len(stored(memory)) == 1


def test_an_export_holds_the_pictures_and_not_the_address(tmp_path, memory):
    with opened(tmp_path) as index:
        index.add([page(1)])
        assert index.export(tmp_path / "out.zip").pictures == 1
    PageIndex.import_(tmp_path / "out.zip", tmp_path / "local")
    with PageIndex.open(tmp_path / "local", FakeEncoder(), create=False) as local:
        assert local._store.about.pictures == ""
        assert local.search("apples")[0].page.image_path.startswith(str(tmp_path / "local"))
    PageIndex.import_(tmp_path / "out.zip", tmp_path / "far", pictures=URL)
    with PageIndex.open(tmp_path / "far", FakeEncoder(), pictures=URL) as far:
        assert far._store.about.pictures == URL
        assert far.search("apples")[0].page.load_image() is not None


def test_two_collections_do_not_share_a_picture(tmp_path, memory):
    one = PageIndex.open(tmp_path / "one", FakeEncoder(), pictures=URL)
    two = PageIndex.open(tmp_path / "two", FakeEncoder(), pictures=URL)
    with one, two:
        one.add([page(1)])
        two.add([page(1)])
        one.delete("a.pdf#1")
        assert len(stored(memory)) == 1
        assert two.get(["a.pdf#1"])[0].load_image() is not None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://key:hunter2@bucket/x", "credentials into the environment"),
        ("s3://bucket/x?secret=hunter2", "credentials into the environment"),
        ("s3://", "names no bucket"),
        ("simplecache::s3://bucket/hunter2", "chains"),
        ("nothing://bucket/x", "no kind of store"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_secrets(tmp_path, url, says):
    with pytest.raises(StoreError, match=says) as error:
        PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=url)
    assert "hunter2" not in str(error.value).replace("bucket/hunter2", "")


def test_options_are_never_shown(tmp_path):
    with opened(tmp_path, picture_options={"secret": "hunter2"}) as index:
        index.add([page(1)])
        assert "hunter2" not in f"{index.info()} {index._pictures._settings}"
        assert "hunter2" not in str(index._store._collection.metadata)


def test_a_file_address_is_the_folder(tmp_path):
    url = (tmp_path / "pictures here").as_uri()
    with PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=url) as index:
        index.add([page(1)])
        assert index.info()["pictures"] == str(tmp_path / "pictures here")
        assert index.search("apples")[0].page.image_path.startswith(str(tmp_path / "pictures here"))


def test_without_fsspec_the_extra_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise filesystems.MissingExtraError("pip install '.[cloud]'")

    monkeypatch.setattr(filesystems, "require", missing)
    with pytest.raises(filesystems.MissingExtraError, match="cloud"):
        opened(tmp_path)


# -- the copies here ---------------------------------------------------------------------------


def test_copies_stay_below_the_bound_and_the_longest_unused_go_first(tmp_path):
    cache = PictureCache(LEAST_BYTES, tmp_path)
    paths = [tmp_path / "a" / f"{number:02}" / "x.jpg" for number in range(40)]
    for number, path in enumerate(paths):
        cache.put(path, bytes(50_000))
        os.utime(path, (number, number))
        if number:
            assert cache.use(paths[0]), "it was used each time"
            os.utime(paths[0], (1000, 1000))
        total = sum(one.stat().st_size for one in tmp_path.rglob("*.jpg"))
        assert total <= LEAST_BYTES
    assert paths[0].exists()
    assert not paths[1].exists()
    assert paths[-1].exists()


def test_what_a_killed_process_left_is_removed(tmp_path):
    cache = PictureCache(LEAST_BYTES, tmp_path)
    left = tmp_path / "a" / "00" / ".x.jpg.0123"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    cache.put(tmp_path / "a" / "00" / "y.jpg", b"whole")
    assert not left.exists()


@pytest.mark.parametrize("said", ["0", "lots", "1000", "-5"])
def test_a_bound_that_makes_no_sense_is_refused(tmp_path, monkeypatch, said):
    monkeypatch.setenv("METAEMBED_PICTURE_CACHE", said)
    with pytest.raises(StoreError, match="METAEMBED_PICTURE_CACHE"):
        opened(tmp_path)


WRITER = """
import sys
from pathlib import Path
from metaembed_rag.store.picture_cache import PictureCache

folder, name = Path(sys.argv[1]), sys.argv[2]
cache = PictureCache(2**20, folder)
for number in range(10**6):
    if number == 200:
        print("has thrown away copies", flush=True)
    path = folder / "a" / f"{number % 100:02}" / f"{name}{number % 7}.jpg"
    cache.put(path, b"<" + bytes(40_000) + b">")
"""


def test_writers_of_copies_that_are_killed_leave_whole_files_below_the_bound(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), name], stdout=subprocess.PIPE
        )
        for name in "xy"
    ]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    copies = list(tmp_path.rglob("[!.]*.jpg"))
    assert copies
    assert {path.stat().st_size for path in copies} == {40_002}
    cache = PictureCache(2**20, tmp_path)
    cache.put(tmp_path / "a" / "00" / "z.jpg", b"after")
    left = sum(path.stat().st_size for path in tmp_path.rglob("*.jpg*"))
    assert left <= 2**20
