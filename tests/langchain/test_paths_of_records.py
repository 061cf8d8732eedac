"""What a record says of files is not believed: no document leads out of the index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("langchain_core")
from langchain_core.documents import Document

from metaembed_rag import PageIndex
from metaembed_rag.langchain.documents import document_to_page, page_to_document
from metaembed_rag.testing import FakeEncoder


def test_fault_31_a_document_has_no_path_that_only_its_record_names(tmp_path: Path) -> None:
    victim = str(tmp_path / "private.png")
    page = document_to_page(Document("apples", metadata={"year": 1}), "a")
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.add([replace(page, metadata={**page.metadata, "image_path": victim})])
        document = page_to_document(index.search("apples", 1)[0].page)
    assert "image_path" not in document.metadata
    assert document.metadata["year"] == 1
