"""Filters on the file of a page, by every way of searching and in indexes of every age."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from metaembed_rag import FederatedIndex, PageIndex, load_pages
from metaembed_rag.errors import StoreError
from metaembed_rag.metadata.typed import parsed
from metaembed_rag.pages import Page
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.testing import FakeEncoder
from tests.support.files import make_pdf, with_roman_labels

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """``a.txt`` of the second day of 1970, ``sub/b.md`` of now."""
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("red apples")
    (folder / "sub" / "b.md").write_text("green apples")
    os.utime(folder / "a.txt", (0, 86_400))
    return folder


@pytest.fixture(params=["memory", "folder"])
def index(request, files, tmp_path):
    place = ":memory:" if request.param == "memory" else tmp_path / "i"
    with PageIndex.open(place, FakeEncoder()) as index:
        index.add(load_pages(files))
        yield index


WAYS = [{}, {"exhaustive": True}, {"candidates": 10}, {"hybrid": True}]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("keywords", WAYS, ids=str)
def test_every_way_of_searching_takes_fields_of_files(index, cached, keywords):
    index._searcher._without = not cached

    def found(where: dict) -> list[str]:
        hits = index.search("apples", 9, where=where, **keywords)
        return sorted(Path(hit.page.source).name for hit in hits)

    assert found({"file_name": "a.txt"}) == ["a.txt"]
    assert found({"folder": "sub", "page": 1}) == ["b.md"]
    assert found({"last_modified_date": {"$lt": "2000"}}) == ["a.txt"]
    assert found({"file_type": {"$in": ["txt", "md"]}}) == ["a.txt", "b.md"]
    assert found({"file_name": "c.txt"}) == []


def test_a_page_of_a_pdf_is_found_by_its_label_and_the_others_by_their_number(tmp_path):
    roman = with_roman_labels(make_pdf(tmp_path / "x.pdf", ["apples"] * 3).read_bytes())
    (tmp_path / "roman.pdf").write_bytes(roman)
    index = PageIndex.open(":memory:", FakeEncoder())
    index.add(load_pages([tmp_path / "x.pdf", tmp_path / "roman.pdf"]))

    def found(label: object) -> list[tuple[str, int]]:
        pages = index.get(index.ids({"page_label": label}))
        return [(Path(page.source).name, page.number) for page in pages]

    assert found("iii") == [("roman.pdf", 3)]
    assert found("3") == found(3) == [("x.pdf", 3)]
    assert len(index.ids({"total_pages": 3})) == 6


def test_a_near_name_is_told(index, caplog):
    hits = index.search("apples", where={"file_name": "a.text"})
    note = "no page passes the filter; no page has file_name 'a.text'; did you mean 'a.txt'?"
    assert hits == []
    assert hits.note == note
    told = [one.levelname for one in caplog.records if one.name.endswith("unmatched")]
    assert told == ["WARNING"]
    assert note in caplog.text


def test_near_names_are_those_of_pages_that_pass_the_other_conditions():
    index = PageIndex.open(":memory:", FakeEncoder())
    index.add([Page("ours.pdf", text="a", metadata={"tenant": "us"})])
    index.add([Page("your.pdf", text="a", metadata={"tenant": "you"})])

    def note(name: str, tenant: str) -> str:
        return index.search("a", where={"file_name": name, "tenant": tenant}).note

    none = "no page passes the filter; no page has file_name"
    assert note("oursx.pdf", "us") == f"{none} 'oursx.pdf'; did you mean 'ours.pdf'?"
    assert note("yourx.pdf", "us") == f"{none} 'yourx.pdf'; did you mean 'ours.pdf'?"
    assert note("your.pdf", "us").startswith(f"{none} 'your.pdf'; did you mean 'ours.pdf'?")
    assert "pdf'?" not in note("yourx.pdf", "nobody")


def test_a_file_that_has_gone_has_no_date(index, files):
    (files / "a.txt").unlink()
    hits = index.search("apples", where={"last_modified_date": {"$lt": "2000"}})
    assert hits == []


def test_a_search_says_that_no_page_has_a_date():
    index = PageIndex.open(":memory:", FakeEncoder())
    index.add([Page("notes", text="apples")])
    note = index.search("apples", where={"creation_date": {"$gt": 2000}}).note
    assert note == "no page passes the filter; no page says its creation_date"


def test_pages_are_deleted_by_their_file_and_none_by_a_misspelt_one(index, caplog):
    assert index.delete(where={"file_name": "b.mt"}) == 0
    assert "no page has file_name 'b.mt'; did you mean 'b.md'?" in caplog.text
    assert index.delete(where={"file_name": {"$glob": "*.md"}}) == 1
    assert [Path(id).name for id in index.ids()] == ["a.txt#1"]


@pytest.mark.parametrize(
    "where",
    [
        {"file_name": {"$glob": "*"}},
        {"file_name": {"$ne": ""}},
        {"file_type": {"$ne": "pdf"}},
        {"file_path": {"$regex": ".*"}},
        {"$or": [{"folder": {"$icontains": "x"}}, {"folder": {"$not_icontains": "x"}}]},
    ],
    ids=str,
)
def test_what_every_page_passes_deletes_none(index, where):
    with pytest.raises(StoreError, match="delete"):
        index.delete(where=where)
    assert len(index) == 2


def test_changed_metadata_of_an_unchanged_page_are_seen(index, files):
    assert len(index.search("apples", where={"author": {"$icontains": "ann"}})) == 0
    [page] = load_pages(files / "a.txt")
    index.add([Page(**{**vars(page), "metadata": {"author": "Anna"}})])
    assert len(index.search("apples", where={"author": {"$icontains": "ann"}})) == 1


def test_several_indexes_are_filtered_as_one(files):
    encoder = FakeEncoder()
    parts = [PageIndex.open(":memory:", encoder) for _ in range(2)]
    parts[0].add(load_pages(files / "a.txt"))
    parts[1].add(load_pages(files / "sub"))
    both = FederatedIndex({"one": parts[0], "two": parts[1]})
    hits = both.search("apples", where={"file_type": "md"})
    assert [hit.page.file_path for hit in hits] == ["b.md"]
    assert "did you mean 'a.txt'" in both.search("apples", where={"file_name": "a.tx"}).note


OF_1_AND_2 = ["atlas.pdf#1", "atlas.pdf#2"]


@pytest.mark.parametrize(
    ("commit", "where", "expected"),
    [
        ("6eca08d", {"file_name": "report.pdf"}, ["report.pdf#1", "report.pdf#2"]),
        ("6eca08d", {"page_label": "1"}, ["garden.pdf#1", "report.pdf#1"]),
        ("a870c41", {"file_path": "report2.pdf", "total_pages": 10, "page": 8}, ["report2.pdf#8"]),
        ("a870c41", {"section": {"$icontains": "part 5"}, "draft": False}, ["report2.pdf#7"]),
        ("da68122", {"file_type": "pdf"}, OF_1_AND_2),
        ("da68122", {"kind": {"$glob": "M?p"}}, ["atlas.pdf#1"]),
        ("e153782", {"file_type": "application/pdf"}, OF_1_AND_2),
        ("e153782", {"file_name": {"$not_glob": "*.txt"}}, OF_1_AND_2),
    ],
    ids=str,
)
def test_indexes_of_every_age_know_the_fields(tmp_path, commit, where, expected):
    with tarfile.open(FIXTURES / commit / "index.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    store = ChromaStore.open(tmp_path / "index", None)
    assert store.ids(where) == expected
    store.close()


@pytest.mark.parametrize("way", [{}, {"hybrid": True}])
def test_of_several_indexes_a_filter_is_told_of_where_none_has_a_page_that_passes(way, caplog):
    with (
        PageIndex.open(":memory:", FakeEncoder()) as first,
        PageIndex.open(":memory:", FakeEncoder()) as second,
    ):
        first.add([Page("apples.txt", text="apples")])
        second.add([Page("pears.txt", text="pears")])
        both = FederatedIndex({"first": first, "second": second})
        assert len(both.search("apples", where={"file_name": "pears.txt"}, **way)) == 1
        assert "no page passes the filter" not in caplog.text
        hits = both.search("apples", where={"file_name": "plums"}, **way)
        assert (hits, hits.note[:25]) == ([], "no page passes the filter")
        assert caplog.text.count("no page passes the filter") == 1


def test_a_comparison_tells_once_of_a_filter_that_no_page_passes(index, caplog):
    found = index.compare("apples", where={"file_name": "plums"})
    assert found.exact == []
    assert caplog.text.count("no page passes the filter") == 1


def test_names_of_files_that_have_gone_are_not_near(index, files, caplog):
    index.sync(files)
    assert index.search("apples", where={"folder": "sub"}) != []
    (files / "sub").rename(files / "under")
    index.sync(files)
    note = index.search("apples", where={"folder": "sub"}).note
    assert "did you mean" not in note
    assert note.endswith("no page has folder 'sub'; there is '.', 'under'")


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ({"page": "1"}, "page is a number, as 1, and '1' is a text"),
        ({"page": 7}, "page is 1 to 5"),
        ({"page": {"$gt": 9}}, "page is 1 to 5"),
        ({"year": "2020"}, "year is a number, as 2020, and '2020' is a text"),
        ({"author": 7}, "author is a text, as 'Ada', and 7 is a number"),
        ({"$and": [{"author": "Ada"}, {"year": {"$gt": 2030}}]}, "year is 2020 to 2024"),
        ({"$or": [{"page": 8}, {"year": 3}]}, "page is 1 to 5; year is 2020 to 2024"),
        ({"checked": False}, "checked is True"),
        ({"page_label": "99"}, "page_label is '1', '2', '3', '4', '5'"),
        ({"folder": "2022"}, "folder is 'x/2024', 'x/2023'"),
    ],
)
def test_a_condition_that_no_page_meets_is_told_with_what_there_is(tmp_path, where, reason):
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    own = {"author": "Ada", "checked": True}
    a = [
        Page("/r/x/2023/a.pdf", n, text=f"page {n}", metadata={**own, "year": 2019 + n}, root="/r")
        for n in range(1, 6)
    ]
    index.add([*a, Page("/r/x/2024/b.md", text="page b", metadata={"author": "Bob"}, root="/r")])
    assert index.search("page", where=where).note == f"no page passes the filter; {reason}"


@pytest.mark.parametrize("asked", ["123", 5, {"$gt": 5}])
def test_the_reason_names_no_whole_path(tmp_path, asked):
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    index.add([Page("/home/ada/a.pdf", text="page", root="/home/ada")])
    assert "ada" not in index.search("page", where={"source": asked}).note


@pytest.mark.parametrize("ends", [(2005, 2001), ("2024-05", "2023"), ("2024-02-02", "2024-02-01")])
def test_a_range_that_ends_before_it_begins_is_refused(tmp_path, ends):
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    index.add([Page("a.txt", text="page")])
    with pytest.raises(StoreError, match="ends before it begins"):
        index.search("page", where={"creation_date": {"$between": [*ends]}})
    with pytest.raises(StoreError, match="ends before it begins"):
        parsed(["creation_date=" + "..".join(map(str, ends))])


@pytest.mark.parametrize(
    "ends", [(1, 1), ("2024-05", "2024"), ("2023", "2024-01"), ("2024-02-01T10:00", "2024-02-01")]
)
def test_a_range_of_one_value_or_of_dates_of_unlike_length_is_none_such(tmp_path, ends):
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    index.add([Page("a.txt", text="page")])
    index.search("page", where={"creation_date": {"$between": [*ends]}})
