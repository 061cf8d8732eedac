"""What the server calls pages and files."""

from __future__ import annotations

import pytest

from metaembed_rag.pages import Page
from metaembed_rag.serving.naming import (
    Catalog,
    public_id,
    public_metadata,
    public_names,
    without_folders,
)
from tests.support.indexes import index_of


def test_a_file_is_called_by_as_little_of_its_path_as_tells_it_from_others():
    sources = [
        "/h/a/report.pdf",
        "/h/b/report.pdf",
        "/h/c/notes.md",
        "sea",
        "https://a.b/c",
        "C:\\x\\y.pdf",
    ]
    assert public_names(sources) == {
        "/h/a/report.pdf": "a/report.pdf",
        "/h/b/report.pdf": "b/report.pdf",
        "/h/c/notes.md": "notes.md",
        "sea": "sea",
        "https://a.b/c": "https://a.b/c",
        "C:\\x\\y.pdf": "y.pdf",
    }


def test_two_sources_never_have_one_name():
    sources = ["a.pdf", "/a.pdf", "/x/a.pdf", "/y/x/a.pdf", "x/a.pdf", "file:/a.pdf"]
    names = public_names(sources)
    assert len(set(names.values())) == len(sources)
    assert names["a.pdf"] == "a.pdf"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("/home/alice/x/a.pdf: is damaged", "a.pdf: is damaged"),
        ("see http://a.b/c/d and /tmp/x/y", "see http://a.b/c/d and y"),
        ("'C:\\Users\\bob\\a.pdf' is none", "'a.pdf' is none"),
        ("and/or", "and/or"),
    ],
)
def test_a_message_loses_the_folders_of_its_paths(message, said):
    assert without_folders(message) == said


def test_metadata_keep_the_name_of_a_file_only():
    page = Page(
        source="a", metadata={"file_path": "/home/alice/a.pdf", "year": 1, "in": ["/x/y", "z"]}
    )
    assert public_metadata(page) == {"file_path": "a.pdf", "year": 1, "in": ["y", "z"]}


def test_pages_with_ids_of_their_own_are_known_by_their_source(encoder):
    pages = [
        Page(source="/h/a.pdf", number=2, text="two", id="one-of-my-own"),
        Page(source="/h/a.pdf", number=1, text="one", id="another"),
    ]
    with index_of(pages, encoder) as index:
        catalog = Catalog(index)
        assert catalog.name_of("/h/a.pdf") == "a.pdf" and catalog.source_of("a.pdf") == "/h/a.pdf"
        assert catalog.id_of(public_id("another")) == "another"
        first, second = index.get(["another", "one-of-my-own"])
        assert catalog.neighbours(first) == (None, public_id("one-of-my-own"))
        assert catalog.neighbours(second) == (public_id("another"), None)


def test_what_another_process_writes_is_found(encoder):
    with index_of([Page(source="a", text="one")], encoder) as index:
        catalog = Catalog(index)
        assert len(catalog.listed().ids) == 1
        index.add([Page(source="/x/b.pdf", text="two")])
        assert catalog.name_of("/x/b.pdf") == "b.pdf"
        assert catalog.id_of(public_id("/x/b.pdf#1")) == "/x/b.pdf#1"
