"""What the loader reads by OCR, and what a store does with what it did not read."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from langchain_core.documents import Document
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from metaembed_rag.errors import MissingExtraError, ModelError
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain import MetaEmbedLoader, MetaEmbedVectorStore
from metaembed_rag.testing import FakeEncoder
from tests.support.photos import save_photo

ODD = Path(__file__).parents[1] / "fixtures" / "odd_files" / "pdf"
SCANNED, CIPHER = ODD / "scan_under_digital_header.pdf", ODD / "cipher_shifted.pdf"
LINE = "ACME Ltd Case 2024-117 Page 1"
READ = "what OCR reads of this page, which is enough to be compared with a cipher"


@pytest.fixture
def ocr(monkeypatch):
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: READ)


@pytest.fixture
def no_ocr(monkeypatch):
    def read_text(image):
        raise MissingExtraError("pip install '.[ocr]'")

    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", read_text)


def load(path: Path, tmp_path: Path, **options: object) -> Document:
    (document,) = MetaEmbedLoader(path, pictures=tmp_path / "pictures", **options).load()
    return document


def text_store(**options: object) -> MetaEmbedVectorStore:
    index = PageIndex.open(":memory:", FakeEncoder(dimension=16, modalities=["text"]))
    return MetaEmbedVectorStore(index, **options)


def test_fault_03_the_loader_gives_the_text_of_a_scan_below_a_line(ocr, tmp_path):
    document = load(SCANNED, tmp_path)
    assert document.page_content == f"{LINE}\n{READ}"
    assert document.metadata["text_from_ocr"] is True
    assert "unread" not in document.metadata


def test_fault_04_the_loader_gives_what_a_cipher_says(ocr, tmp_path):
    assert load(CIPHER, tmp_path).page_content == READ


def test_fault_03_what_the_loader_did_not_read_the_store_reads(ocr, tmp_path):
    document = load(SCANNED, tmp_path, ocr="never")
    assert (document.page_content, document.metadata["unread"]) == (LINE, "scan")
    store = text_store()
    (id,) = store.add_documents([document])
    (stored,) = store.get_by_ids([id])
    assert stored.page_content == f"{LINE}\n{READ}"
    assert "unread" not in stored.metadata


def test_fault_03_a_store_without_ocr_says_what_is_missing(no_ocr, tmp_path, caplog):
    document = load(SCANNED, tmp_path)
    store = text_store()
    with caplog.at_level(logging.WARNING):
        (id,) = store.add_documents([document])
    assert "only the short text" in caplog.text
    (stored,) = store.get_by_ids([id])
    assert (stored.page_content, stored.metadata["unread"]) == (LINE, "scan")


def test_fault_03_a_store_takes_the_ocr_policy(ocr, tmp_path):
    store = text_store(ocr="never")
    store.add_documents([load(SCANNED, tmp_path, ocr=False)])
    assert store.similarity_search("ACME", k=1)[0].page_content == LINE
    with pytest.raises(ModelError, match="always, auto, never"):
        text_store(ocr="sometimes")


def test_metadata_of_others_that_are_called_unread_stay_theirs(ocr):
    store = text_store()
    picture = str(ODD.parent / "img" / "rot180.png")
    for theirs in (3, [1, 2], "by Anna"):
        document = Document("a letter", metadata={"unread": theirs, "image_path": picture})
        (id,) = store.add_documents([document])
        assert store.get_by_ids([id])[0].metadata["unread"] == theirs


def png(path: Path) -> bytes:
    Image.new("RGB", (20, 10), "red").save(path)
    return path.read_bytes()


def test_fault_17_the_loader_takes_bytes_and_open_files(tmp_path):
    data = png(tmp_path / "a.png")
    upload = io.BytesIO(b"whales swim")
    upload.name = "notes.txt"
    loader = MetaEmbedLoader([data, upload], pictures=tmp_path / "kept")
    for _ in range(2):  # it can be rewound
        picture, text = loader.load()
        assert (text.page_content, text.id) == ("whales swim", "notes.txt#1")
        assert picture.metadata["source"].startswith("upload-")
    assert len(MetaEmbedLoader(data, pictures=tmp_path / "kept").load()) == 1


def test_fault_17_an_upload_does_not_pass_for_the_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    png(tmp_path / "secret.png")
    upload = io.BytesIO(png(tmp_path / "b.png"))
    upload.name = str(tmp_path / "secret.png")
    (document,) = MetaEmbedLoader(upload, pictures=tmp_path / "kept").load()
    assert document.metadata["source"] == "secret.png"
    assert Path(document.metadata["image_path"]).is_relative_to(tmp_path / "kept")


def test_a_picture_file_is_its_own_picture(tmp_path):
    png(tmp_path / "a.png")
    (document,) = MetaEmbedLoader(tmp_path / "a.png", pictures=tmp_path / "kept").load()
    assert document.metadata["image_path"] == str((tmp_path / "a.png").resolve())


def test_a_photo_is_found_by_its_name_and_says_what_its_text_was_made_from(monkeypatch, tmp_path):
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: "")
    document = load(save_photo(tmp_path / "red kite.jpg"), tmp_path)
    assert (document.page_content, document.metadata["text_from"]) == ("red kite", "file name")
    store = text_store()
    store.add_documents([document])
    (found,) = store.similarity_search("red kite", k=1)
    assert (found.page_content, found.metadata["text_from"]) == ("red kite", "file name")


def test_a_photo_whose_caption_changed_is_encoded_again(ocr, tmp_path):
    path = save_photo(tmp_path / "red kite.png")
    store = text_store()
    store.add_documents([load(path, tmp_path)])
    texts = PngInfo()
    texts.add_text("Title", "above the hill")
    document = load(save_photo(path, pnginfo=texts), tmp_path)
    assert document.metadata["text_from"] == "file name, comment, ocr"
    store.add_documents([document])
    (found,) = store.similarity_search("above the hill", k=1)
    assert found.page_content == f"red kite\nabove the hill\n{READ}"
    assert found.metadata["text_from"] == "file name, comment, ocr"


def test_what_the_store_reads_of_a_photo_is_said_beside_what_the_loader_gave(ocr, tmp_path):
    document = load(save_photo(tmp_path / "red kite.png"), tmp_path, ocr="never")
    assert (document.page_content, document.metadata["unread"]) == ("red kite", "scan")
    store = text_store()
    store.add_documents([document])
    (found,) = store.similarity_search("red kite", k=1)
    name, *shown, read = found.page_content.splitlines()
    assert (name, read) == ("red kite", READ)
    assert all(line.startswith("a photo") for line in shown)
    assert found.metadata["text_from"] in ("file name, ocr", "file name, visual words, ocr")
