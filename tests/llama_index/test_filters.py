"""Filters and metadata under the names that users of LlamaIndex know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import MetadataMode, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)

from metaembed_rag import PageIndex, load_pages
from metaembed_rag.llama_index import MetaEmbedReader, MetaEmbedRetriever, MetaEmbedVectorStore
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
def index(files) -> PageIndex:
    index = PageIndex.open(":memory:", FakeEncoder())
    index.add(load_pages(files))
    return index


def filters(*each: tuple[str, FilterOperator, Any], condition: Any = None) -> MetadataFilters:
    made = [MetadataFilter(key=key, operator=how, value=value) for key, how, value in each]
    return MetadataFilters(filters=made, condition=condition or FilterCondition.AND)


FIRST, SECOND, NOTES = "report.pdf 1", "report.pdf 2", "notes.md 1"
OP = FilterOperator


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([("file_name", OP.EQ, "report.pdf")], [FIRST, SECOND]),
        ([("file_name", OP.NE, "report.pdf")], [NOTES]),
        ([("file_type", OP.IN, ["application/pdf", "text/csv"])], [FIRST, SECOND]),
        ([("file_type", OP.NIN, ["pdf"])], [NOTES]),
        ([("page_label", OP.EQ, "2")], [SECOND]),
        ([("file_name", OP.CONTAINS, "port")], [FIRST, SECOND]),
        ([("file_path", OP.TEXT_MATCH, "sub/")], [FIRST, SECOND]),
        ([("file_path", OP.TEXT_MATCH, "SUB/")], []),
        ([("file_path", OP.TEXT_MATCH_INSENSITIVE, "SUB/")], [FIRST, SECOND]),
        ([("file_name", OP.TEXT_MATCH, "a.b")], []),
        ([("last_modified_date", OP.GTE, "2000-01-01")], [NOTES, FIRST, SECOND]),
        ([("creation_date", OP.LT, "2000-01-01")], []),
        ([("file_size", OP.LT, 14), ("file_type", OP.EQ, "md")], [NOTES]),
        ([("total_pages", OP.GT, 1), ("page_label", OP.EQ, "1")], [FIRST]),
    ],
    ids=str,
)
def test_nodes_are_filtered_by_their_file(index, asked, expected):
    retriever = MetaEmbedRetriever(index, similarity_top_k=9, filters=filters(*asked))
    said = [one.node.metadata for one in retriever.retrieve("apples")]
    assert sorted(f"{one['file_name']} {one['page_label']}" for one in said) == sorted(expected)


def test_one_of_several_conditions_is_enough_where_that_is_said(index):
    either = filters(
        ("file_type", OP.EQ, "md"), ("page_label", OP.EQ, "2"), condition=FilterCondition.OR
    )
    found = MetaEmbedRetriever(index, similarity_top_k=9, filters=either).retrieve("apples")
    assert len(found) == 2


def test_a_filter_that_finds_nothing_is_a_warning(index, caplog):
    asked = filters(("file_name", OP.EQ, "reprot.pdf"))
    assert MetaEmbedRetriever(index, filters=asked).retrieve("apples") == []
    assert "no page has file_name 'reprot.pdf'; did you mean 'report.pdf'?" in caplog.text


def test_a_node_says_of_its_file_what_other_readers_say_and_models_are_not_told(index, files):
    asked = filters(("page_label", OP.EQ, "2"))
    [found] = MetaEmbedRetriever(index, filters=asked).retrieve("apples")
    said = {
        "file_name": "report.pdf",
        "file_path": "sub/report.pdf",
        "file_type": "application/pdf",
        "page_label": "2",
        "total_pages": 2,
    }
    assert said.items() <= found.node.metadata.items()
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        shown = found.node.get_content(mode)
        assert not [name for name in said if f"{name}:" in shown]
    documents = MetaEmbedReader().load_data(files)
    assert any(said.items() <= one.metadata.items() for one in documents)


def test_the_metadata_of_a_node_win_and_its_kind_has_its_short_name():
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", FakeEncoder()))
    mine = {
        "file_path": "/data/report.pdf",
        "file_name": "mine.pdf",
        "file_type": "application/pdf",
        "page_label": "iv",
        "creation_date": "2024-02-01",
    }
    store.add([TextNode(id_="a", text="apples", metadata=mine), TextNode(id_="b", text="pears")])

    def found(key: str, operator: FilterOperator, value: Any) -> list[str]:
        asked = VectorStoreQuery(query_str="apples", filters=filters((key, operator, value)))
        return store.query(asked).ids or []

    assert found("file_path", OP.EQ, "/data/report.pdf") == ["a"]
    assert found("file_name", OP.EQ, "report.pdf") == []
    assert found("file_name", OP.TEXT_MATCH_INSENSITIVE, "MINE") == ["a"]
    assert found("file_type", OP.EQ, "pdf") == ["a"]
    assert found("page_label", OP.EQ, "iv") == ["a"]
    assert found("creation_date", OP.GTE, "2024-01-01") == ["a"]
    assert found("creation_date", OP.LT, "2024-02-01") == []
