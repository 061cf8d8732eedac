"""What the reader reads by OCR, and what a store does with what it did not read."""

from __future__ import annotations

import io
from pathlib import Path

import fsspec
import pytest
from llama_index.core import SimpleDirectoryReader
from llama_index.core.schema import Document, TextNode

from metaembed_rag.errors import ModelError
from metaembed_rag.llama_index import MetaEmbedReader, MetaEmbedVectorStore
from metaembed_rag.testing import FakeEncoder
from tests.support.files import pdf_bytes
from tests.support.photos import save_photo

ODD = Path(__file__).parents[1] / "fixtures" / "odd_files" / "pdf"
SCANNED, CIPHER = ODD / "scan_under_digital_header.pdf", ODD / "cipher_shifted.pdf"
LINE = "ACME Ltd Case 2024-117 Page 1"
READ = "what OCR reads of this page, which is enough to be compared with a cipher"


@pytest.fixture(autouse=True)
def ocr(monkeypatch):
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: READ)


def load(path: Path, tmp_path: Path, **options: object) -> Document:
    (document,) = MetaEmbedReader(pictures=tmp_path / "kept", **options).load_data(path)
    return document


def test_fault_03_the_reader_gives_the_text_of_a_scan_below_a_line(tmp_path):
    document = load(SCANNED, tmp_path)
    assert document.text == f"{LINE}\n{READ}"
    assert document.metadata["text_from_ocr"] is True


def test_fault_04_the_reader_gives_what_a_cipher_says(tmp_path):
    assert load(CIPHER, tmp_path).text == READ


def test_fault_03_what_the_reader_did_not_read_the_store_reads(tmp_path):
    document = load(SCANNED, tmp_path, ocr="never")
    assert (document.text, document.metadata["unread"]) == (LINE, "scan")
    encoder = FakeEncoder(dimension=16, modalities=["text"])
    store = MetaEmbedVectorStore(where=str(tmp_path / "i"), encoder=encoder)
    store.add([document])
    (node,) = store.get_nodes([document.id_])
    assert node.get_content() == f"{LINE}\n{READ}"
    assert "unread" not in node.metadata


def test_metadata_of_others_that_are_called_unread_stay_theirs(tmp_path):
    encoder = FakeEncoder(dimension=16, modalities=["text"])
    store = MetaEmbedVectorStore(where=str(tmp_path / "i"), encoder=encoder)
    for theirs in (3, [1, 2], "by Anna"):
        node = TextNode(text="a letter", metadata={"unread": theirs})
        store.add([node])
        assert store.get_nodes([node.node_id])[0].metadata["unread"] == theirs


def test_the_policy_is_checked_and_serialised(tmp_path):
    with pytest.raises(ModelError, match="always, auto, never"):
        MetaEmbedReader(ocr="sometimes")
    reader = MetaEmbedReader(ocr=False, pictures=tmp_path)
    assert MetaEmbedReader.from_dict(reader.to_dict()).ocr == "never"


def test_fault_17_the_reader_takes_bytes_and_open_files(tmp_path):
    upload = io.BytesIO(pdf_bytes(["whales swim", "apples grow"]))
    upload.name = "report.pdf"
    reader = MetaEmbedReader(pictures=tmp_path)
    documents = reader.load_data(upload)
    assert [document.id_ for document in documents] == ["report.pdf#1", "report.pdf#2"]
    (node,) = reader.load_nodes(b"plain words")
    assert "plain words" in node.get_content()


def test_a_photo_is_found_by_its_name_and_says_what_its_text_was_made_from(monkeypatch, tmp_path):
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: "")
    document = load(save_photo(tmp_path / "red kite.jpg"), tmp_path)
    assert (document.text, document.metadata["text_from"]) == ("red kite", "file name")
    assert "text_from" in document.excluded_llm_metadata_keys
    encoder = FakeEncoder(dimension=16, modalities=["text"])
    store = MetaEmbedVectorStore(where=str(tmp_path / "i"), encoder=encoder)
    store.add([document])
    (node,) = store.get_nodes([document.id_])
    assert (node.get_content(), node.metadata["text_from"]) == ("red kite", "file name")


def test_what_the_store_reads_of_a_photo_is_said_beside_what_the_reader_gave(tmp_path):
    document = load(save_photo(tmp_path / "red kite.png"), tmp_path, ocr="never")
    encoder = FakeEncoder(dimension=16, modalities=["text"])
    store = MetaEmbedVectorStore(where=str(tmp_path / "i"), encoder=encoder)
    store.add([document])
    (node,) = store.get_nodes([document.id_])
    name, *shown, read = node.get_content().splitlines()
    assert (name, read) == ("red kite", READ)
    assert all(line.startswith("a photo") for line in shown)
    assert node.metadata["text_from"] in ("file name, ocr", "file name, visual words, ocr")


def test_in_image_mode_a_photo_has_no_text_and_nothing_that_it_was_made_from(tmp_path):
    document = load(save_photo(tmp_path / "red kite.png"), tmp_path, mode="image")
    assert (document.text, document.metadata.get("text_from")) == ("", None)


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pipe_file("/bucket/docs/a.txt", b"red apples")
    files.pipe_file("/bucket/docs/b/c.md", b"green pears")
    yield files
    files.store.clear()


def test_a_folder_of_a_store_is_read_by_its_address_and_by_its_file_system(memory, tmp_path):
    reader = MetaEmbedReader(pictures=tmp_path)
    ids = ["memory://bucket/docs/a.txt#1", "memory://bucket/docs/b/c.md#1"]
    assert [one.id_ for one in reader.load_data("memory://bucket/docs/")] == ids
    assert [one.id_ for one in reader.load_data("/bucket/docs", fs=memory)] == ids
    assert [one.id_ for one in reader.load_data(["/bucket/docs/a.txt"], fs=memory)] == ids[:1]


def test_the_file_system_of_the_disk_reads_paths(tmp_path):
    (tmp_path / "a.txt").write_text("red apples")
    (document,) = MetaEmbedReader().load_data(tmp_path / "a.txt", fs=fsspec.filesystem("file"))
    assert document.id_ == f"{(tmp_path / 'a.txt').as_posix()}#1"


def test_simple_directory_reader_hands_its_file_system_on(memory, tmp_path):
    reader = MetaEmbedReader(pictures=tmp_path)
    directory = SimpleDirectoryReader(
        "/bucket/docs", fs=memory, recursive=True, file_extractor={".txt": reader, ".md": reader}
    )
    assert [one.text for one in directory.load_data()] == ["red apples", "green pears"]
