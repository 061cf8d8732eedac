"""What the loader reads by OCR, and what a store does with what it did not read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from langchain_core.documents import Document

from metaembed_rag.errors import MissingExtraError, ModelError
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain import MetaEmbedLoader, MetaEmbedVectorStore
from metaembed_rag.testing import FakeEncoder

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
        raise MissingExtraError("pip install 'metaembed-rag[ocr]'")

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


def test_fault_03_a_store_takes_the_policy(ocr, tmp_path):
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
