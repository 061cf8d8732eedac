"""Filters and metadata under the names that users of LangChain know."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document

from metaembed_rag import PageIndex, load_pages
from metaembed_rag.langchain import MetaEmbedLoader, MetaEmbedRetriever, MetaEmbedVectorStore
from metaembed_rag.testing import FakeEncoder
from tests.support.files import make_pdf

pytestmark = pytest.mark.integration


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """``sub/report.pdf`` of two pages and ``notes.md``."""
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    make_pdf(folder / "sub" / "report.pdf", ["red apples", "green apples"])
    (folder / "notes.md").write_text("yellow apples")
    return folder


@pytest.fixture
def retriever(files) -> MetaEmbedRetriever:
    index = PageIndex.open(":memory:", FakeEncoder())
    index.add(load_pages(files))
    return MetaEmbedRetriever(index=index, k=9)


def names(documents: list[Document]) -> list[str]:
    return sorted(f"{one.metadata['file_name']} {one.metadata['page']}" for one in documents)


FIRST, SECOND, NOTES = "report.pdf 1", "report.pdf 2", "notes.md 1"


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"file_name": "report.pdf"}, [FIRST, SECOND]),
        ({"file_name": {"$eq": "notes.md"}}, [NOTES]),
        ({"file_path": {"$in": ["sub/report.pdf"]}, "page": 2}, [SECOND]),
        ({"file_type": {"$nin": ["pdf"]}}, [NOTES]),
        ({"file_type": "application/pdf", "page_label": "2"}, [SECOND]),
        ({"total_pages": {"$gte": 2}}, [FIRST, SECOND]),
        ({"total_pages": {"$between": [1, 1]}}, [NOTES]),
        ({"moddate": {"$gt": "2000-01-01"}}, [NOTES, FIRST, SECOND]),
        ({"creationdate": {"$lt": "2000"}}, []),
        ({"file_name": {"$contains": "port"}}, [FIRST, SECOND]),
        ({"file_name": {"$like": "%.md"}}, [NOTES]),
        ({"source": {"$ilike": "%/SUB/%"}}, [FIRST, SECOND]),
        ({"$or": [{"folder": "."}, {"page": 2}]}, [NOTES, SECOND]),
    ],
    ids=str,
)
def test_documents_are_filtered_by_their_file(retriever, filter, expected):
    assert names(retriever.invoke("apples", filter=filter)) == sorted(expected)


def test_a_filter_that_finds_nothing_is_a_warning(retriever, caplog):
    assert retriever.invoke("apples", filter={"file_name": "reprot.pdf"}) == []
    assert "no page has file_name 'reprot.pdf'; did you mean 'report.pdf'?" in caplog.text


def test_a_document_says_of_its_file_what_others_loaders_say(retriever, files):
    [found] = retriever.invoke("apples", filter={"page_label": "2"})
    said = {
        "file_name": "report.pdf",
        "file_path": "sub/report.pdf",
        "file_type": "application/pdf",
        "page_label": "2",
        "total_pages": 2,
    }
    assert said.items() <= found.metadata.items()
    loaded = next(one for one in MetaEmbedLoader(files).load() if one.metadata["page"] == 2)
    del said["total_pages"]  # a file that gains a page would be new in all of its pages
    assert said.items() <= loaded.metadata.items()


def test_the_metadata_of_a_document_win():
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", FakeEncoder()))
    mine = {"source": "/a/report.pdf", "page": 0, "page_label": "iv", "file_name": "mine"}
    dates = {"creationdate": "2024-02-01T09:30:00+01:00", "total_pages": 7}
    store.add_documents([Document("apples", metadata={**mine, **dates}, id="a")])

    def found(**filter: object) -> bool:
        [*documents] = store.similarity_search("apples", filter=filter)
        assert all(dict(one.metadata).items() >= {**mine, **dates}.items() for one in documents)
        return bool(documents)

    assert found(file_name="mine")
    assert not found(file_name="report.pdf")
    assert found(page_label="iv")
    assert found(page=0)
    assert found(total_pages={"$gt": 6})
    assert found(creationdate={"$gte": "2024-02", "$lt": "2024-03"})
    assert found(creation_date="2024-02-01")
    assert found(file_type="pdf")
    store.delete(filter={"file_type": "pdf"})
    assert not found(file_name="mine")
