"""Pages that are named by a file, a folder or a pattern."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import StoreError
from metaembed_rag.pages.roots import Roots
from metaembed_rag.testing import FakeEncoder

NAMES = (
    "reports/2022-12.txt",
    "reports/2023-01.txt",
    "reports/2023/march.txt",
    "reports[old]/a.txt",
    "notes.txt",
)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"all about {name}")
    return folder


@pytest.fixture
def index(docs: Path) -> Iterator[PageIndex]:
    model = FakeEncoder(dimension=16, query_vectors=4, document_vectors=8)
    with PageIndex.open(":memory:", model) as index:
        index.sync(docs)
        yield index


def named(index: PageIndex, source: str | Path) -> list[str]:
    """The files below the root that a source stands for."""
    return sorted(page.file_path for page in index.get(index.ids_of(source)))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("reports/2023*", ["reports/2023-01.txt", "reports/2023/march.txt"]),
        ("reports/*", ["reports/2022-12.txt", "reports/2023-01.txt", "reports/2023/march.txt"]),
        ("*.txt", ["notes.txt"]),
        ("**/*.txt", sorted(NAMES)),
        ("reports/202[01]*", []),
        ("reports/????/*.txt", ["reports/2023/march.txt"]),
        ("**/march.*", ["reports/2023/march.txt"]),
        ("**/2023", ["reports/2023/march.txt"]),
        ("reports[[]old]/*", ["reports[old]/a.txt"]),
        ("./notes.*", ["notes.txt"]),
        ("reports", []),
        ("notes.txt", []),
        ("", []),
    ],
)
def test_a_pattern_is_of_paths_below_the_folder_that_was_indexed(index, pattern, expected):
    assert named(index, pattern) == expected


def test_a_folder_stands_for_all_that_was_read_below_it(index, docs, monkeypatch):
    expected = ["reports/2022-12.txt", "reports/2023-01.txt", "reports/2023/march.txt"]
    assert named(index, docs / "reports") == expected
    assert named(index, f"{docs}/reports/") == expected
    monkeypatch.chdir(docs)
    assert named(index, "reports") == expected
    assert named(index, "reports/2023") == ["reports/2023/march.txt"]
    assert named(index, docs.parent) == sorted(NAMES)


def test_a_folder_that_has_gone_stands_for_its_pages_too(index, docs):
    (docs / "reports").rename(docs.parent / "gone")
    assert index.delete(source=docs / "reports") == 3


def test_a_name_with_signs_of_patterns_in_it_counts_alone(index, docs):
    index.add([Page("a*.txt", text="stars"), Page("ab.txt", text="none")])
    assert index.ids_of("a*.txt") == ["a*.txt#1"]
    assert named(index, docs / "reports[old]") == ["reports[old]/a.txt"]
    assert named(index, docs / "reports[old]" / "a.txt") == ["reports[old]/a.txt"]
    assert index.delete(source="a*.txt") == 1
    assert "ab.txt#1" in index.ids()


def test_whole_paths_fit_patterns(index, docs):
    assert named(index, f"{docs}/rep*/2023*.txt") == ["reports/2023-01.txt"]


@pytest.mark.parametrize("pattern", ["*", "**", "/", "/**", "**/*"])
def test_what_stands_for_all_files_is_refused(index, pattern):
    with pytest.raises(StoreError, match=r"stands for all files; .*everything=True"):
        index.delete(source=pattern)
    assert len(index) == 5


def test_a_dry_run_deletes_nothing(index, docs):
    assert index.delete(source="reports/*", dry_run=True) == 3
    assert index.delete(docs.as_posix() + "/notes.txt#1", dry_run=True) == 1
    assert index.delete(everything=True, dry_run=True) == 5
    assert len(index) == 5


def test_folders_and_patterns_of_stores():
    files = pytest.importorskip("fsspec").filesystem("memory")
    files.store.clear()
    for name in NAMES:
        files.pipe_file(f"/docs/{name}", name.encode())
    with PageIndex.open(":memory:", FakeEncoder()) as index:
        index.sync("memory://docs")
        assert len(index.ids_of("memory://docs/reports")) == 3
        assert len(index.ids_of("memory://docs/*/2023*")) == 2
        assert index.delete(source="memory://docs/") == 5
    files.store.clear()


def test_the_longest_root_that_fits_says_where_a_file_is(monkeypatch):
    monkeypatch.setenv("METAEMBED_ROOTS", "/a=/b; /a/c=/d")
    roots = Roots.of({"/x/": "s3://bucket/x/"})
    places = [roots.here(one) for one in ("/a/1", "/a/c/1", "/ab/1", "/x/1", "/y")]
    assert places == ["/b/1", "/d/1", "/ab/1", "s3://bucket/x/1", "/y"]


@pytest.mark.parametrize("line", ["/a", "=/b", "/a="])
def test_a_root_that_names_no_two_places_is_refused(monkeypatch, line):
    monkeypatch.setenv("METAEMBED_ROOTS", line)
    with pytest.raises(StoreError, match="is no root: write OLD=NEW"):
        Roots.of()
