"""Rows that were encoded elsewhere: checked one by one, written and acknowledged as pages are."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metaembed_rag.errors import PageError, StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page, remote
from metaembed_rag.ray import PageEncoder
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import FORMATS

SMALL = {"dimension": 16, "query_vectors": 4, "document_vectors": 8}


def encoder(**changed: Any) -> FakeEncoder:
    return FakeEncoder(**{**SMALL, **changed})


def opened(**settings: Any) -> PageIndex:
    return PageIndex.open(":memory:", encoder(), **settings)


def pages() -> list[Page]:
    red = Image.new("RGB", (40, 30), "red")
    return [
        Page("a.pdf", text="red apples", image=red, metadata={"year": 2020}, page_count=2),
        Page("a.pdf", 2, text="green pears", metadata={"tags": ["x", "y"]}, page_count=2),
        Page("b.pdf", text="blue whales"),
    ]


def rows(given: Any = None, **keywords: Any) -> list[dict[str, Any]]:
    return list(PageEncoder(encoder(), **keywords).rows(pages() if given is None else given))


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_rows_make_the_index_that_pages_make(format):
    with opened(format=format) as plain, opened(format=format) as index:
        plain.add(pages())
        report = index.add_encoded(rows(format=format))
        ids = plain.ids()
        assert str(report) == "3 added, 0 updated, 0 unchanged, 0 removed, 0 skipped"
        assert report.acknowledged == ["a.pdf#1", "a.pdf#2", "b.pdf#1"]
        assert index.ids() == ids
        assert np.array_equal(index.vectors(ids), plain.vectors(ids))
        raw = [one._store.raw(ids) for one in (index, plain)]
        for mine, theirs in zip(*raw, strict=True):
            assert np.allclose(mine.vector, theirs.vector, atol=1e-6)  # Chroma's, not rounded
        for mine, theirs in zip(index.get(ids), plain.get(ids), strict=True):
            assert (mine.text, mine.metadata, mine.number) == (
                theirs.text,
                theirs.metadata,
                theirs.number,
            )
            assert mine.content_hash() == theirs.content_hash()
        hit = index.search("red apples", k=1)[0]
        assert hit.page.id == "a.pdf#1"
        assert hit.page.load_image().getpixel((20, 15))[0] > 240
        assert index.check().findings == []


def test_pages_are_unchanged_after_their_rows_and_rows_after_their_pages():
    with opened() as index:
        index.add_encoded(rows())
        index.encoder.encoded.clear()
        assert index.add(pages()).unchanged == 3
        assert index.encoder.encoded == []
        again = index.add_encoded(rows())
    assert (again.unchanged, again.added, again.updated) == (3, 0, 0)
    assert again.acknowledged == ["a.pdf#1", "a.pdf#2", "b.pdf#1"]


def test_files_are_unchanged_for_sync_after_their_rows(tmp_path):
    (tmp_path / "birds").mkdir()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "birds" / "red_kite.png")
    (tmp_path / "notes.txt").write_text("whales and ships")
    files = [{"path": path.as_posix()} for path in tmp_path.rglob("*.*")]
    with opened() as index:
        made = rows(files, folders=[tmp_path.as_posix()])
        assert len(index.add_encoded(made).acknowledged) == 2
        index.encoder.encoded.clear()
        assert str(index.sync(tmp_path)).startswith("0 added, 0 updated, 2 unchanged")
        assert index.encoder.encoded == []


def test_no_model_is_loaded_to_write_rows(monkeypatch, tmp_path):
    PageIndex.open(tmp_path, encoder()).close()
    with PageIndex.open(tmp_path) as index:
        assert index.add_encoded(rows()).added == 3
        assert index._model.loaded is None


def test_progress_tells_which_rows_are_in_the_index_and_what_was_left_out_counts():
    told: list[Any] = []
    given = rows()
    given[1] = {**given[1], "fingerprint": "0" * 32}
    with opened() as index:
        index.add_encoded(given, batch_size=2, progress=told.append)
    assert [(int(done), done.ids) for done in told] == [(2, ("a.pdf#1",)), (1, ("b.pdf#1",))]


def unit(count: int, scale: float = 1.0) -> bytes:
    from metaembed_rag.vectors.formats import pack_bytes, vector_format

    vectors = np.full((1, count, 16), scale * 0.25, np.float32)
    return pack_bytes(vector_format("int8").encode(vectors))[0]


BAD = {
    "another model": ({"fingerprint": "ab" * 16}, "another model .*give that worker"),
    "no model": ({"fingerprint": ""}, "does not name"),
    "another format": ({"format": "int4"}, "its format is 'int4', that of the index 'int8'"),
    "another dimension": ({"dimension": 8}, "its dimension is 8, that of the index 16"),
    "too few vectors": ({"vectors": unit(7)}, "126 bytes, not 144"),
    "no bytes": ({"vectors": [0.1, 0.2]}, "vectors are a list, not bytes"),
    "no unit vectors": ({"vectors": unit(8, 0.5), "first": None}, "length 0.5.*encode it again"),
    "another first vector": ({"vectors": unit(8)}, "that of another page"),
    "a first vector that is none": ({"first": b"\0" * 64}, "not of length 1"),
    "a short first vector": ({"first": b"\0" * 8}, "not 16 float32 values"),
    "metadata that cannot be stored": ({"metadata": {"source": 1}}, "'source' is set by"),
    "metadata that are no JSON": ({"metadata": "{"}, "its metadata are no JSON"),
    "metadata that are no mapping": ({"metadata": "[1]"}, "metadata are a list"),
    "a picture that is none": ({"picture": b"GIF89a"}, "its picture cannot be opened.*give"),
    "a picture of another kind": ({"picture": 5}, "its picture is an int"),
    "a picture elsewhere": ({"picture": "s3://b/x/y.jpg"}, "not one that PageEncoder"),
    "another hash": ({"text": "blue sharks"}, "its hash is not that of its text"),
    "no page number": ({"number": 0}, "count from 1"),
    "no mode": ({"mode": "sound"}, "its mode 'sound' is not one of"),
    "another mode": ({"mode": "text"}, "'text', that of the rows before 'fused'"),
    "no parts": ({"parts": "[1]"}, "its parts are"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_costs_itself_and_says_what_to_do(name):
    changed, why = BAD[name]
    given = rows()
    given[1] = {**given[1], **changed}
    with opened() as index:
        report = index.add_encoded(given)
        assert index.ids() == ["a.pdf#1", "b.pdf#1"]
    (error,) = report.skipped
    assert error.source == "a.pdf#2"
    with pytest.raises(PageError, match=why):
        raise error
    assert report.acknowledged == ["a.pdf#1", "b.pdf#1"]


def test_rows_without_an_id_are_named_by_their_number():
    with opened() as index:
        report = index.add_encoded([rows()[0], "nonsense", {"vectors": b""}])
    assert [error.source for error in report.skipped] == ["row 2", "row 3"]
    assert "is a str and no row" in report.skipped[0].reason


def test_a_bad_row_leaves_the_page_that_is_stored():
    with opened() as index:
        index.add(pages())
        index.add_encoded([{**rows()[0], "vectors": b"", "text": "other", "hash": ""}])
        assert index.get(["a.pdf#1"])[0].text == "red apples"


def test_a_minimal_row_is_enough():
    about = PageEncoder(encoder()).about
    row = {"id": "x", "fingerprint": about.fingerprint, "vectors": unit(8), "text": "ships"}
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "blue").save(file, "PNG")
    with opened() as index:
        report = index.add_encoded([row, {**row, "id": "y", "picture": file.getvalue()}])
        assert report.acknowledged == ["x", "y"]
        x, y = index.get(["x", "y"])
        assert (x.source, x.number, x.text, x.image_path) == ("x", 1, "ships", None)
        assert y.load_image().size == (8, 8)
        assert index.check().findings == []


def test_of_rows_with_one_id_the_last_counts():
    first, last = Page("a", text="old", id="1"), Page("a", text="new", id="1")
    with opened() as index:
        report = index.add_encoded(rows([first]) + rows([last]))
        assert (report.added, index.get(["1"])[0].text) == (1, "new")


def test_what_a_worker_could_not_read_is_in_the_report_and_leaves_the_index(tmp_path):
    damaged, missing = tmp_path / "a.pdf", tmp_path / "gone.txt"
    damaged.write_bytes(b"%PDF-1.7 nothing")
    given = [{"path": damaged.as_posix()}, {"path": missing.as_posix()}]
    with opened() as index:
        index.add([Page("b.pdf", text="blue whales"), Page("c.pdf", text="c")])
        made = rows([*given, Page("b.pdf", text=""), {"source": "d", "picture": b"none"}])
        report = index.add_encoded(made)
        assert index.ids() == ["c.pdf#1"]
    assert [error.source for error in report.blank] == ["b.pdf#1"]
    assert [error.source for error in report.skipped] == [
        damaged.as_posix(),
        missing.as_posix(),
        "d",
    ]
    assert "a worker sees no such file" in report.skipped[1].reason
    assert report.removed == 1


def test_pages_beyond_the_end_of_a_source_leave_the_index():
    with opened() as index:
        index.add([Page("a.pdf", n, text=f"page {n}", page_count=3) for n in (1, 2, 3)])
        report = index.add_encoded(rows(pages()[:2]))
        assert index.ids() == ["a.pdf#1", "a.pdf#2"]
    assert (report.removed, report.updated) == (1, 2)


def test_pictures_that_workers_keep_are_named_and_looked_for(tmp_path):
    with opened(pictures=tmp_path) as index, opened(pictures=tmp_path / "else") as other:
        made = rows(pictures=tmp_path.as_posix())
        assert made[0]["picture"].startswith(f"{tmp_path.as_posix()}/")
        assert made[1]["picture"] is None
        assert index.add_encoded(made).added == 3
        assert index.get(["a.pdf#1"])[0].load_image().size == (40, 30)
        report = other.add_encoded(made)
        assert other.ids() == ["a.pdf#2", "b.pdf#1"]
    assert "open the index with the pictures= that the workers write to" in str(report.skipped[0])


def test_a_row_that_was_read_completes_a_page_that_was_not(tmp_path):
    from dataclasses import replace

    scan = replace(pages()[2], unread="scan", image=Image.new("RGB", (40, 30), "blue"))
    with opened() as index:
        row = rows([scan])[0]
        index.add_encoded([{**row, "incomplete": True, "note": "only a part was read"}])
        again = {**row, "unread": "", "text": "blue whales\nswim", "text_from_ocr": True}
        again["text_layer"] = "blue whales"
        report = index.add_encoded([again])
        assert (report.updated, index.get([row["id"]])[0].text) == (1, "blue whales\nswim")
        assert index.add_encoded([again]).unchanged == 1


def test_notes_and_unread_tokens_are_reported():
    given = {**rows()[0], "note": "OCR is off", "unread_tokens": 7}
    with opened() as index:
        report = index.add_encoded([given])
    assert [str(note) for note in report.notes] == ["a.pdf#1: OCR is off"]
    assert report.cut == {"a.pdf#1": 7}


@pytest.mark.parametrize("given", ["rows", {"id": "x"}, Page("a", text="a")])
def test_something_else_than_rows_is_refused(given):
    with opened() as index, pytest.raises(PageError, match="give a list of rows"):
        index.add_encoded(given)


def test_what_was_acknowledged_stays_when_the_rows_end_in_an_error():
    told: list[str] = []

    def failing() -> Iterator[dict[str, Any]]:
        yield from rows()
        raise StoreError("the cluster is gone")

    with opened() as index:
        with pytest.raises(StoreError, match="the cluster is gone"):
            index.add_encoded(failing(), batch_size=1, progress=lambda done: told.extend(done.ids))
        assert told == ["a.pdf#1", "a.pdf#2"]
        assert set(told) <= set(index.ids())


def test_a_dataset_is_read_by_rows():
    class Dataset:
        def iter_rows(self) -> Iterator[dict[str, Any]]:
            return iter(rows())

    with opened() as index:
        assert index.add_encoded(Dataset()).added == 3


def test_sync_encoded_leaves_unchanged_files_and_removes_gone_ones(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(f"{name} fox")
    asked: list[list[str]] = []

    def encode(files: Any) -> Iterator[dict[str, Any]]:
        asked.append(sorted(files.unchanged))
        worker = PageEncoder(
            model, folders=files.folders, unchanged=files.unchanged, blank=files.blank
        )
        return worker.rows({"path": source} for source in files.sources)

    with opened() as index:
        model = index.encoder
        assert index.sync_encoded(tmp_path, encode).added == 3
        (tmp_path / "a.txt").unlink()
        (tmp_path / "b.txt").write_text("b hound")
        model.encoded.clear()
        report = index.sync_encoded(tmp_path, encode)
        assert str(report) == "0 added, 1 updated, 1 unchanged, 1 removed, 0 skipped"
        assert model.encoded == ["b hound"]
        assert len(report.acknowledged) == 2
        assert index.sync(tmp_path).unchanged == 2
    assert [len(known) for known in asked] == [0, 2]


def test_sync_encoded_follows_a_store_as_sync_does(tmp_path):
    files = pytest.importorskip("fsspec").filesystem("memory")
    files.store.clear()
    for name in ("a.txt", "sub/b.txt", ".hidden/c.txt", "p/1/metaembed.json", "p/1/d.txt", "e.xyz"):
        files.pipe_file(f"/follow/{name}", b"the fox " + name.encode())
    asked: list[list[str]] = []

    def encode(found: Any) -> Iterator[dict[str, Any]]:
        asked.append([source.removeprefix("memory://follow/") for source in found.sources])
        worker = PageEncoder(
            model, folders=["memory://follow"], unchanged=found.unchanged, digests=found.digests
        )
        data = {source: files.cat_file(source) for source in found.sources}
        return worker.rows({"path": source, "bytes": data[source]} for source in found.sources)

    with opened() as index:
        model = index.encoder
        report = index.sync_encoded("memory://follow", encode)
        assert (report.added, report.ignored) == (2, [Path("memory://follow/e.xyz")])
        assert index.sync("memory://follow").unchanged == 2
        files.rm("/follow/sub/b.txt")
        model.encoded.clear()
        report = index.sync_encoded("memory://follow", encode)
        assert report.summary == "0 added, 0 updated, 1 unchanged, 1 removed, 0 skipped"
        assert str(report).endswith("; 1 file is of kinds that are not read: e.xyz")
        assert model.encoded == []
        report = index.sync_encoded("memory://nothing", encode)
        assert "no file of a kind that is read" in str(report.skipped[0])
    assert asked[0] == ["a.txt", "sub/b.txt"]
    files.store.clear()


def test_sync_encoded_leaves_files_where_their_store_says_that_they_are_unchanged(monkeypatch):
    files = pytest.importorskip("fsspec").filesystem("memory")
    files.store.clear()
    files.pipe_file("/tagged/a.txt", b"the fox")
    monkeypatch.setattr(remote, "_version", lambda info: f"tag-{info['size']}")
    asked: list[list[str]] = []

    def encode(found: Any) -> Iterator[dict[str, Any]]:
        asked.append(list(found.sources))
        worker = PageEncoder(model, folders=["memory://tagged"], digests=found.digests)
        return worker.rows({"path": one, "bytes": files.cat_file(one)} for one in found.sources)

    with opened() as index:
        model = index.encoder
        assert index.sync_encoded("memory://tagged", encode).added == 1
        assert index.sync_encoded("memory://tagged", encode).unchanged == 1
        assert index.sync("memory://tagged").unchanged == 1
        files.pipe_file("/tagged/a.txt", b"the hound")
        assert index.sync_encoded("memory://tagged", encode).updated == 1
    assert [len(sources) for sources in asked] == [1, 1]  # not asked for the file that is unchanged
    files.store.clear()


def test_metadata_travel_as_json():
    made = rows()
    assert json.loads(made[0]["metadata"]) == {"year": 2020}
    with opened() as index:
        index.add_encoded(made)
        assert [hit.page.id for hit in index.search("apples", where={"year": 2020})] == ["a.pdf#1"]
