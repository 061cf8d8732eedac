"""What follows from the source of a page: name, path, folder, kind and dates of its file."""

from __future__ import annotations

import os

import pytest

from metaembed_rag.metadata.fields import (
    FIELDS,
    KNOWN,
    Facts,
    is_date,
    iso,
    mime_type,
    path_below,
    said,
    shown_fields,
)
from metaembed_rag.pages import Page

REPORT = Facts({}, "/home/me/docs/2024/q1/Report.PDF", 7, "/home/me/docs", 12)
ROOTLESS = REPORT._replace(root="")


def equal(key: str, facts: Facts) -> set:
    return set(said(key, facts, lambda source: None).equal)


@pytest.mark.parametrize(
    ("key", "shown", "also"),
    [
        ("file_name", "Report.PDF", set()),
        ("file_path", "2024/q1/Report.PDF", {"/home/me/docs/2024/q1/Report.PDF"}),
        ("file_type", "application/pdf", {"pdf"}),
        ("page_label", "7", {7}),
        ("total_pages", 12, set()),
        ("page_count", 12, set()),
        ("source", "/home/me/docs/2024/q1/Report.PDF", set()),
        ("page", 7, set()),
        (
            "folder",
            "2024/q1",
            {
                *("2024", "docs", "docs/2024", "docs/2024/q1"),
                *("/home/me/docs", "/home/me/docs/2024", "/home/me/docs/2024/q1"),
            },
        ),
        ("#file_path", "2024/q1/Report.PDF", set()),
        ("#folder", "2024/q1", {"2024"}),
    ],
)
def test_what_a_page_of_a_file_below_a_root_is_called(key, shown, also):
    assert said(key, REPORT).shown == shown
    assert equal(key, REPORT) == {shown, *also}


def test_where_no_root_is_known_every_end_of_the_path_is_a_name():
    whole = "/home/me/docs/2024/q1/Report.PDF"
    ends = {whole[-length:] for length in (10, 13, 18, 23, 26, 31, 32)}
    assert "q1/Report.PDF" in ends
    assert equal("file_path", ROOTLESS) == ends
    assert {"q1", "2024/q1", "2024", "docs", "/home/me", "me"} < equal("folder", ROOTLESS)


def test_to_a_stranger_nothing_above_the_root_is_named():
    assert said("#file_path", ROOTLESS) == ("Report.PDF", ("Report.PDF",), ("Report.PDF",))
    assert equal("#folder", ROOTLESS) == {"."}
    own = Facts({"file_path": "/secret/a.pdf"}, "x")
    assert equal("#file_path", own) == {"a.pdf"}


def test_a_file_in_the_root_lies_in_a_dot():
    assert said("folder", Facts({}, "/docs/a.pdf", root="/docs")).shown == "."


def test_a_page_of_no_file_has_its_sources_name_and_no_kind():
    facts = Facts({}, "notes")
    assert said("file_name", facts).shown == "notes"
    assert said("file_type", facts).shown is None
    assert said("folder", facts).shown == "."
    assert said("creation_date", facts).shown is None


@pytest.mark.parametrize(
    ("source", "name", "folder"),
    [
        ("s3://bucket/docs/a.pdf", "a.pdf", "s3://bucket/docs"),
        ("https://example.org/a/b.pdf", "b.pdf", "https://example.org/a"),
        ("C:\\docs\\a.pdf", "a.pdf", "."),
        ("a/b.txt", "b.txt", "a"),
    ],
)
def test_sources_that_are_no_paths_of_this_machine(source, name, folder):
    assert said("file_name", Facts({}, source)).shown == name
    assert said("folder", Facts({}, source)).shown == folder


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("a.pdf", "application/pdf"),
        ("a.PDF", "application/pdf"),
        ("a.md", "text/markdown"),
        ("a.txt", "text/plain"),
        ("a.jpg", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a", None),
        (".pdf", None),
    ],
)
def test_kinds_are_called_as_llama_indexs_readers_call_them(name, mime):
    assert mime_type(f"/d/{name}") == mime


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("application/pdf", {"application/pdf", "pdf"}),
        ("pdf", {"application/pdf", "pdf"}),
        (".PDF", {"application/pdf", "pdf"}),
        ("image/jpeg", {"image/jpeg", "jpg", "jpeg"}),
        ("text/markdown", {"text/markdown", "md", "markdown"}),
    ],
)
def test_a_kind_of_the_pages_own_has_its_other_names_too(kind, names):
    assert names <= equal("file_type", Facts({"file_type": kind}, "x"))


def test_a_label_of_the_pdf_wins_over_the_number_and_the_pages_own_over_both():
    assert equal("page_label", Facts({"label": "iv"}, "x", 4)) == {"iv"}
    assert equal("page_label", Facts({"label": "iv", "page_label": "12"}, "x", 4)) == {"12", 12}


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_metadata_of_the_pages_own_with_the_name_of_a_field_win(key):
    assert said(key, Facts({key: "mine"}, "/a/b.pdf", 1, "/a", 3)).shown == "mine"


def test_dates_are_the_documents_own_or_else_those_of_its_file(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"x" * 5)
    os.utime(path, (0, 86_400))
    facts = Facts({}, path.as_posix())
    assert said("last_modified_date", facts).shown == "1970-01-02"
    assert said("moddate", facts).equal == ("1970-01-02T00:00:00+00:00",)
    assert said("file_size", facts).shown == 5
    own = facts._replace(own={"moddate": "D:20240201093000+01'00'"})
    assert said("last_modified_date", own).shown == "2024-02-01"
    assert said("creation_date", Facts({"creationdate": "2020-05-04T10:00:00"}, "x")).shown == (
        "2020-05-04"
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (2024, "2024"),
        ("2024", "2024"),
        ("2024-02", "2024-02"),
        ("2024-02-01 09:30", "2024-02-01T09:30"),
        ("D:20240201093000+01'00'", "2024-02-01T09:30:00+01:00"),
        ("D:20240201093000Z", "2024-02-01T09:30:00+00:00"),
        ("D:2024", "2024"),
        ("last week", None),
        (True, None),
        (99_999, None),
    ],
)
def test_dates_are_read_in_the_ways_that_documents_write_them(given, meant):
    assert iso(given) == meant


def test_a_year_alone_may_be_any_number_and_is_no_date_by_itself():
    assert is_date("2024-02")
    assert not is_date("2024")
    assert not is_date("2024-02-xx")


def test_a_pages_path_is_the_one_definition():
    page = Page("/docs/a/b.pdf", root="/docs")
    assert page.file_path == path_below(page.source, page.root) == "a/b.pdf"
    assert path_below("/other/b.pdf", "/docs") == "b.pdf"


def test_frameworks_are_shown_the_names_that_they_use():
    assert shown_fields(REPORT) == {
        "file_name": "Report.PDF",
        "file_path": "2024/q1/Report.PDF",
        "file_type": "application/pdf",
        "page_label": "7",
        "total_pages": 12,
    }
    assert "file_name" not in shown_fields(REPORT._replace(own={"file_name": "mine"}))


def test_names_of_fields_are_those_that_filters_look_up():
    assert set(FIELDS) < KNOWN
