"""An S3 server on loopback: pictures and sources in its buckets, two machines on one index."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex, load_pages
from metaembed_rag.errors import StoreError, UnreadableFileError
from metaembed_rag.store import named_models, picture_cache
from metaembed_rag.testing import FakeEncoder

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
SECRET = "the-secret-of-this-test"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of the server."""
    pytest.importorskip("s3fs", reason="pip install '.[cloud]'")
    moto_server = pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch, tmp_path) -> str:
    """The name of a new bucket; credentials and address are in the environment."""
    import s3fs

    for module in (picture_cache, named_models):
        monkeypatch.setattr(module, "user_folder", lambda *parts: tmp_path.joinpath("c", *parts))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    files(s3).mkdir(name)
    s3fs.S3FileSystem.clear_instance_cache()
    yield name
    s3fs.S3FileSystem.clear_instance_cache()


def files(s3: str):
    import s3fs

    options = {"key": "test", "secret": SECRET, "endpoint_url": s3}
    return s3fs.S3FileSystem(**options, use_listings_cache=False)


def page(number: int = 1) -> Page:
    picture = Image.new("RGB", (60, 40), "red")
    return Page(source="a.pdf", number=number, text=f"red apples {number}", image=picture)


MACHINE = """
import json, sys
from metaembed_rag import Page, PageIndex
from metaembed_rag.testing import FakeEncoder
from PIL import Image

where, collection, task, *more = sys.argv[1:]
settings = {"pictures": more[0]} if more else {}
with PageIndex.open(where, FakeEncoder(), collection=collection, **settings) as index:
    if task == "add":
        colors = ("red", "green", "blue")
        index.add([
            Page(source="a.pdf", number=n, text=f"{color} apples",
                 image=Image.new("RGB", (60, 40), color))
            for n, color in enumerate(colors, 1)
        ])
    hits = index.search("apples", k=3, hybrid=False)
    pixels = [hit.page.load_image() and hit.page.load_image().getpixel((9, 9)) for hit in hits]
    print(json.dumps({
        "ids": sorted(hit.page.id for hit in hits), "pixels": sorted(map(repr, pixels)),
        "paths": [hit.page.image_path for hit in hits], "info": index.info(),
        "sound": index.check().is_sound,
    }))
"""


def on_machine(home: Path, *arguments: str) -> dict:
    """What a process with a home and a cache of its own says."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", MACHINE, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_second_machine_sees_the_pictures_without_a_parameter(bucket, server, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    collection = f"c{uuid.uuid4().hex[:8]}"
    first = on_machine(one, server, collection, "add", f"s3://{bucket}/pictures")
    second = on_machine(two, server, collection, "look")
    assert second["ids"] == first["ids"] == ["a.pdf#1", "a.pdf#2", "a.pdf#3"]
    assert second["pixels"] == first["pixels"]
    assert "None" not in first["pixels"]
    assert len(set(first["pixels"])) == 3
    assert all(path.startswith(str(two)) for path in second["paths"])
    assert second["info"]["pictures"] == f"s3://{bucket}/pictures"
    assert first["sound"]
    assert second["sound"]


def test_pages_are_added_deleted_checked_and_repaired(bucket, s3, tmp_path):
    url, store = f"s3://{bucket}/pictures", files(s3)
    with PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=url) as index:
        index.add([page(1), page(2)])
        kept = [path for path in store.find(bucket) if path.endswith(".webp")]
        assert len(kept) == 2
        assert index.check().is_sound
        store.rm(kept[0])
        assert [one.kind for one in index.check().findings] == ["picture"]
        index.add([page(1), page(2)])
        assert index.check().is_sound
        store.pipe_file(kept[0], b"")
        assert "missing from the store, or cut off" in index.check().findings[0].what
        index.delete(everything=True)
        assert not [path for path in store.find(bucket) if path.endswith(".webp")]


def test_a_folder_of_a_bucket_is_loaded_and_followed(bucket, s3, tmp_path, monkeypatch):
    store = files(s3)
    store.pipe_file(f"{bucket}/docs/a.txt", b"red apples")
    store.pipe_file(f"{bucket}/docs/deep/er/b.md", b"green pears")
    assert [one.id for one in load_pages(f"s3://{bucket}/docs/")] == [
        f"s3://{bucket}/docs/a.txt#1",
        f"s3://{bucket}/docs/deep/er/b.md#1",
    ]
    assert next(iter(load_pages(f"s3://{bucket}/docs/a.txt"))).text == "red apples"
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        assert index.sync(f"s3://{bucket}/docs").added == 2
        with monkeypatch.context() as now:
            now.setattr(type(store), "cat_file", lambda *_, **__: pytest.fail("was read"))
            assert index.sync(f"s3://{bucket}/docs").unchanged == 2
        store.pipe_file(f"{bucket}/docs/a.txt", b"red cherries")
        store.rm(f"{bucket}/docs/deep/er/b.md")
        report = index.sync(f"s3://{bucket}/docs")
        assert (report.updated, report.removed) == (1, 1)


def test_the_command_line_indexes_a_bucket_into_a_bucket(bucket, s3, tmp_path, run):
    picture = tmp_path / "red boats.png"
    Image.effect_noise((80, 60), 40).convert("RGB").save(picture)
    store = files(s3)
    store.pipe_file(f"{bucket}/docs/red boats.png", picture.read_bytes())
    index = ("--index", tmp_path / "index")
    url = f"s3://{bucket}/pictures"
    options = ("--model", "mini", "--pictures", url, "--json", "--quiet", "--no-ocr")
    out, _ = run("index", f"s3://{bucket}/docs/", *index, *options)
    assert json.loads(out)["added"] == 1
    out, _ = run("search", "red boats", *index, "--json")
    hit = json.loads(out)["hits"][0]
    assert hit["source"] == f"s3://{bucket}/docs/red boats.png"
    assert Path(hit["image"]).is_file()
    assert json.loads(run("info", *index, "--json")[0])["pictures"] == url
    assert json.loads(run("check", *index, "--json")[0])["sound"]
    run("delete", "--all", *index)
    assert not [path for path in store.find(bucket) if path.endswith(".webp")]


def test_a_bucket_that_is_not_there_is_a_sentence_and_nothing_is_added(bucket, tmp_path):
    url = f"s3://{bucket}-not-there/pictures"
    with PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=url) as index:
        with pytest.raises(StoreError, match="no such file or bucket; check the address"):
            index.add([page()])
        assert len(index) == 0
    with pytest.raises(UnreadableFileError, match="no such file or bucket|no file of a kind"):
        list(load_pages(url))


def test_refused_credentials_are_a_sentence(bucket, s3, tmp_path):
    import httpx

    url = f"s3://{bucket}/pictures"
    with PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=url) as index:
        index.add([page()])
        assert index.get(["a.pdf#1"])[0].image_path is not None
        httpx.post(f"{s3}/moto-api/reset-auth", content="0")  # from now on it looks at credentials
        try:
            with pytest.raises(StoreError, match="refuses access; check the credentials") as error:
                index.add([page(2)])
            assert SECRET not in str(error.value)
            assert len(index) == 1
            with pytest.raises(UnreadableFileError, match="refuses access"):
                list(load_pages(f"s3://{bucket}/docs/a.txt"))
        finally:
            httpx.post(f"{s3}/moto-api/reset-auth", content="inf")


@pytest.mark.parametrize("how", ["nobody listens", "it keeps silent"])
def test_a_store_that_does_not_answer_costs_a_search_little(
    how, bucket, s3, tmp_path, monkeypatch, caplog
):
    import s3fs

    url = f"s3://{bucket}/pictures"
    with PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=url) as index:
        index.add([page(number) for number in range(1, 5)])
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if how == "it keeps silent":
            silent.listen(64)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        s3fs.S3FileSystem.clear_instance_cache()
        with PageIndex.open(tmp_path / "index", FakeEncoder(), timeout=1.0) as index:
            index._pictures.connect()  # imports take their time on a loaded machine
            index.search("nothing of this", hybrid=False, k=1)
            caplog.clear()
            index._pictures._told.clear()
            index._pictures._away_until = 0.0
            start = time.monotonic()
            for _ in range(3):
                hits = index.search("apples", hybrid=False)
                assert [hit.page.image_path for hit in hits] == [None] * 4
            assert time.monotonic() - start < 20  # of which the store takes one second
            assert caplog.text.count("without pictures") == 1
            with pytest.raises(StoreError, match="check the network"):
                index.add([page(9)])
            assert len(index) == 4


def test_llama_index_reads_a_bucket_by_its_file_system(bucket, s3, tmp_path):
    pytest.importorskip("llama_index.core")
    from llama_index.core import SimpleDirectoryReader

    from metaembed_rag.llama_index import MetaEmbedReader

    store = files(s3)
    store.pipe_file(f"{bucket}/docs/a.txt", b"red apples")
    reader = MetaEmbedReader(pictures=tmp_path / "pictures")
    expected = [f"s3://{bucket}/docs/a.txt#1"]
    assert [one.id_ for one in reader.load_data(f"s3://{bucket}/docs/")] == expected
    assert [one.id_ for one in reader.load_data(f"{bucket}/docs", fs=store)] == expected
    directory = SimpleDirectoryReader(
        f"{bucket}/docs", fs=store, file_extractor={".txt": reader}, filename_as_id=False
    )
    assert [one.text for one in directory.load_data()] == ["red apples"]
