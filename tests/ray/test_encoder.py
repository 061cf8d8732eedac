"""PageEncoder: what one worker makes of a batch, without a cluster."""

from __future__ import annotations

import io
import json
import socket
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metaembed_rag.errors import ModelError, ModelMismatchError, PageError, ServerError, StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.ray import PageEncoder, RayOptions
from metaembed_rag.ray import cluster as ray_cluster
from metaembed_rag.ray import files as ray_files
from metaembed_rag.testing import FakeEncoder

pyarrow = pytest.importorskip("pyarrow")


def made(**keywords: Any) -> PageEncoder:
    return PageEncoder(FakeEncoder(dimension=16, document_vectors=8), **keywords)


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "PNG")
    return file.getvalue()


def test_a_batch_of_files_becomes_tables_of_rows(tmp_path):
    paths = ["/docs/a.txt", "/docs/b.png"]
    batch = {
        "bytes": np.array([b"red fox", picture()], dtype=object),
        "path": np.array(paths, dtype=object),
    }
    (found,) = made(folders=["/docs"])(batch)
    assert isinstance(found, pyarrow.Table)
    rows = found.to_pylist()
    assert [row["id"] for row in rows] == ["/docs/a.txt#1", "/docs/b.png#1"]
    assert [row["text"] for row in rows] == ["red fox", ""]
    assert [len(row["vectors"]) for row in rows] == [8 * 18, 8 * 18]
    assert rows[0]["picture"] is None
    assert Image.open(io.BytesIO(rows[1]["picture"])).size == (40, 30)
    assert {row["fingerprint"] for row in rows} == {made().about.fingerprint}


def test_every_table_has_the_same_types_whatever_is_in_it():
    texts = {"source": ["a"], "text": ["fox"]}
    pictures = {"source": ["a"], "picture": [picture()], "metadata": ['{"year": 1}']}
    (one,), (other,) = made()(texts), made()(pictures)
    assert one.schema == other.schema
    assert json.loads(other.to_pylist()[0]["metadata"]) == {"year": 1}


def test_zeros_at_the_end_of_vectors_survive_the_table():
    worker = made()
    page = Page("a", text="fox")
    (table,) = worker({"source": ["a"], "text": ["fox"]})
    (row,) = worker.rows([page])
    assert table.to_pylist()[0]["vectors"] == row["vectors"]
    assert table.to_pylist()[0] == {**row, "metadata": "{}"}


def test_a_batch_that_is_computed_again_gives_the_same_rows():
    worker, batch = made(), {"source": ["a", "b"], "text": ["fox", "hound"]}
    assert [t.to_pylist() for t in worker(batch)] == [t.to_pylist() for t in worker(batch)]


def test_a_long_batch_comes_in_tables_of_32():
    batch = {"id": [f"p{n}" for n in range(70)], "text": ["fox"] * 70}
    assert [table.num_rows for table in made()(batch)] == [32, 32, 6]


def test_a_file_that_the_index_has_is_not_encoded(tmp_path):
    (tmp_path / "a.txt").write_text("red fox")
    path = (tmp_path / "a.txt").as_posix()
    (row,) = made().rows([{"path": path}])
    worker = made(unchanged={path: row["source_digest"]})
    (again,) = worker.rows([{"path": path}])
    assert (again["id"], again["error"], again["vectors"]) == (path, "unchanged", b"")
    (tmp_path / "a.txt").write_text("red hound")
    assert next(worker.rows([{"path": path}]))["text"] == "red hound"


def test_addresses_of_a_store_are_the_sources_of_pages():
    batch = {"bytes": [b"red fox"], "path": ["bucket/docs/a.txt"]}
    (table,) = made(prefix="s3://")(batch)
    assert table.to_pylist()[0]["id"] == "s3://bucket/docs/a.txt#1"


def test_bad_items_give_a_row_each_and_lose_no_other():
    items: list[Any] = [
        {"source": "a", "picture": b"none"},
        {"source": "b", "metadata": "{"},
        {"source": "c", "metadata": {"#x": 1}, "text": "c"},
        {"text": "no source"},
        7,
        {"path": "/d.xyz", "bytes": b"d"},
        {"path": "/e.pdf", "bytes": b""},
        Page("good", text="fox"),
    ]
    rows = list(made().rows(items))
    assert [row["id"] for row in rows if not row["error"]] == ["good#1"]
    bad = {row["id"]: row["reason"] for row in rows if row["error"]}
    assert len(bad) == 7
    assert "starts like a reserved name" in bad["c#1"]
    assert "is empty" in bad["/e.pdf"]
    assert not any(row["gone"] for row in rows)


def test_a_worker_with_another_checkpoint_is_refused_and_says_what_to_do():
    with pytest.raises(ModelMismatchError, match="put the same checkpoint .* on every worker"):
        made(fingerprint="ab" * 16)


def test_a_worker_that_makes_other_vectors_is_refused():
    with pytest.raises(StoreError, match="not 9 of 16; take the numbers of the index"):
        made(vectors=9)
    with pytest.raises(StoreError, match="not 8 of 12"):
        made(dimension=12)
    with pytest.raises(StoreError, match="int3"):
        made(format="int3")
    with pytest.raises(TypeError, match="'size'"):
        made(size=3)


def test_the_arguments_of_an_index_make_its_worker():
    model = FakeEncoder(dimension=16, document_vectors=8)
    with PageIndex.open(":memory:", model, format="int4", vectors=4) as index:
        given = PageEncoder.arguments(index, pictures="/pictures")
        assert given == {
            "model": "fake",
            "fingerprint": model.fingerprint,
            "vectors": 4,
            "format": "int4",
            "dimension": 16,
            "pictures": "/pictures",
        }
        worker = PageEncoder(**{**given, "model": model, "pictures": None})
        report = index.add_encoded(worker.rows([Page("a", text="fox")]))
    assert report.added == 1


def test_a_shipped_model_is_loaded_by_the_recorded_name(tmp_path):
    from metaembed_rag.model import MetaEmbedEncoder

    with PageIndex.open(tmp_path, MetaEmbedEncoder.from_pretrained("mini", device="cpu")) as index:
        given = PageEncoder.arguments(index)
        worker = PageEncoder(**given, device="cpu", max_passes=1)
        report = index.add_encoded(worker.rows([Page("a", text="a fox in the snow")]))
    assert (given["model"], report.added) == ("mini", 1)


class Lost(Exception):
    """An error as Ray gives it, with that of the worker inside."""

    def __init__(self, text: str, cause: BaseException | None = None) -> None:
        super().__init__(text)
        self.cause = cause


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            Lost("task", ModelMismatchError("another model: do this")),
            ModelMismatchError,
            "^another",
        ),
        (
            Lost("The actor died\n  File x\nmetaembed_rag.errors.StoreError: no room: make some\n"),
            StoreError,
            "^no room: make some$",
        ),
        (Lost("x", PageError("a.pdf", "is damaged")), PageError, "^a.pdf: is damaged$"),
        (Lost("boom\nall workers died"), ModelError, r"failed \(all workers died\).*acknowledged"),
    ],
)
def test_what_fails_on_a_worker_is_one_sentence_of_ours(error, kind, said):
    class Module:
        class exceptions:
            RayError = Lost

    def failing() -> Any:
        yield 1
        raise error

    rows = ray_cluster.told(Module, failing())
    assert next(rows) == 1
    with pytest.raises(kind, match=said):
        next(rows)


def test_all_cores_are_never_taken_by_those_that_encode():
    for cores in (1, 2, 3, 8, 64):
        for workers in range(1, cores + 1):
            share = ray_files._share(cores, workers)
            assert share > 0
            assert workers * share + 2 * 0.05 <= cores


def test_no_worker_is_none():
    with pytest.raises(ServerError, match="at least 1 worker"):
        RayOptions(workers=0)


def test_files_of_a_store_are_encoded_by_workers_and_their_pictures_kept_there():
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for name, data in {"a.txt": b"red fox", "birds/kite.png": picture(), "c.xyz": b"c"}.items():
        store.pipe_file(f"/workers/docs/{name}", data)
    model = FakeEncoder(dimension=16, document_vectors=8)

    def encode(files: Any) -> Any:
        own = index._ingest.target.pictures._own
        worker = PageEncoder(
            model,
            folders=files.folders,
            digests=files.digests,
            unchanged=files.unchanged,
            pictures=f"memory://workers/pictures/{own}",
        )
        paths = [url.removeprefix("memory://") for url in files.sources]
        return worker.rows(
            {"path": url, "bytes": store.cat_file(f"/{path}")}
            for url, path in zip(files.sources, paths, strict=True)
        )

    with PageIndex.open(":memory:", model, pictures="memory://workers/pictures") as index:
        report = index.sync_encoded("memory://workers/docs", encode)
        assert report.acknowledged == [
            "memory://workers/docs/a.txt#1",
            "memory://workers/docs/birds/kite.png#1",
        ]
        model.encoded.clear()
        assert index.sync("memory://workers/docs").unchanged == 2
        assert model.encoded == []
        hit = index.search("kite birds", k=1)[0]
        assert hit.page.load_image().size == (40, 30)
        store.rm("/workers/docs/a.txt")
        again = index.sync_encoded("memory://workers/docs", encode)
        assert (again.removed, again.unchanged) == (1, 1)


def test_the_command_line_tells_a_path_from_an_address(run, tmp_path):
    (tmp_path / "a.txt").write_text("fox")
    words = ("index", "--index", tmp_path / "i")
    _, err = run(*words, "--ray", tmp_path / "a.txt", code=2)
    assert "is no address of a Ray cluster" in err
    _, err = run(*words, tmp_path / "a.txt", "--ray-workers", 2, code=2)
    assert "--ray-workers goes with --ray" in err
    _, err = run(*words, tmp_path / "a.txt", "--describe", "http://h#m", "--ray", code=2)
    assert "--describe does not go with --ray" in err
    _, err = run("index", "--server", "http://h", tmp_path / "a.txt", "--ray", code=2)
    assert "--ray does not go with --server" in err


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "127.0.0.1:99999"])
def test_an_address_where_nobody_listens_is_a_sentence_at_once(address, free_port):
    pytest.importorskip("ray")
    address = address.format(free_port)
    with (
        pytest.raises(ServerError, match="no Ray cluster at .*ray start --head"),
        ray_cluster.cluster(RayOptions(address)),
    ):
        raise AssertionError("unreachable")


@pytest.fixture
def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
