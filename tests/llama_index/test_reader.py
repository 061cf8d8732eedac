"""The reader: files, bytes and uploads as documents."""

from __future__ import annotations

import io

from metaembed_rag.llama_index import MetaEmbedReader
from tests.support.files import pdf_bytes


def test_fault_17_the_reader_takes_bytes_and_open_files(tmp_path):
    upload = io.BytesIO(pdf_bytes(["whales swim", "apples grow"]))
    upload.name = "report.pdf"
    reader = MetaEmbedReader(pictures=tmp_path)
    documents = reader.load_data(upload)
    assert [document.id_ for document in documents] == ["report.pdf#1", "report.pdf#2"]
    (node,) = reader.load_nodes(b"plain words")
    assert "plain words" in node.get_content()
