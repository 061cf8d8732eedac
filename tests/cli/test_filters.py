"""Filters as they are typed: what each form means, and what is said of one that finds nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import metaembed_rag.model
from metaembed_rag.cli.filters import where_of
from metaembed_rag.testing import FakeEncoder


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        ("title=Minutes", {"title": "Minutes"}),
        ("title=a=b", {"title": "a=b"}),
        ("title=", {"title": ""}),
        ("page=1", {"$or": [{"page": "1"}, {"page": 1}]}),
        ("draft=true", {"$or": [{"draft": "true"}, {"draft": True}]}),
        ("title = Minutes", {"title": "Minutes"}),
        ("title!=Minutes", {"title": {"$ne": "Minutes"}}),
        ("page!=1", {"page": {"$nin": ["1", 1]}}),
        ("title~=Budget", {"title": {"$icontains": "Budget"}}),
        ("file_name~=*.pdf", {"file_name": {"$glob": "*.pdf"}}),
        ("title!~=Budget", {"title": {"$not_icontains": "Budget"}}),
        ("file_name!~=*.pdf", {"file_name": {"$not_glob": "*.pdf"}}),
        ("year>2019", {"year": {"$gt": 2019}}),
        ("year >= 2019", {"year": {"$gte": 2019}}),
        ("share<0.5", {"share": {"$lt": 0.5}}),
        ("moddate<=2024-02", {"moddate": {"$lte": "2024-02"}}),
        ("creation_date>=2024", {"creation_date": {"$gte": "2024"}}),
        ("date>2024-02-01", {"date": {"$gt": "2024-02-01"}}),
        ("kind=pdf,docx", {"kind": {"$in": ["pdf,docx", "pdf", "docx"]}}),
        ("year=1, 2", {"year": {"$in": ["1, 2", "1", 1, "2", 2]}}),
        ("kind!=pdf,docx", {"kind": {"$nin": ["pdf,docx", "pdf", "docx"]}}),
        ('kind="pdf,docx"', {"$or": [{"kind": '"pdf,docx"'}, {"kind": "pdf,docx"}]}),
        (
            "year=2019..2021",
            {"$or": [{"year": "2019..2021"}, {"year": {"$gte": 2019, "$lte": 2021}}]},
        ),
        ("year=2019..", {"$or": [{"year": "2019.."}, {"year": {"$gte": 2019}}]}),
        ("year!=2019..2021", {"$or": [{"year": {"$lt": 2019}}, {"year": {"$gt": 2021}}]}),
        (
            "moddate=2019..2021-06",
            {
                "$or": [
                    {"moddate": "2019..2021-06"},
                    {"moddate": {"$gte": "2019", "$lte": "2021-06"}},
                ]
            },
        ),
        ("title=a..b", {"title": "a..b"}),
        ("title=..", {"title": ".."}),
        ("folder=sub/", {"$or": [{"folder": "sub/"}, {"folder": "sub"}]}),
        ('{"year": {"$gte": 2019}}', {"year": {"$gte": 2019}}),
    ],
)
def test_what_is_typed_means(typed, where):
    assert where_of([typed], []) == where


def test_several_conditions_must_all_hold_and_words_too():
    assert where_of(["a=x", "b=y"], ["Table 7"]) == {
        "$and": [{"#document": {"$contains": "Table 7"}}, {"a": "x"}, {"b": "y"}]
    }
    assert where_of([], []) is None


def test_a_path_that_is_here_is_meant_in_full_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    whole = (tmp_path / "docs").resolve().as_posix()
    assert where_of(["folder=docs"], []) == {"$or": [{"folder": "docs"}, {"folder": whole}]}
    assert where_of(["folder=docs"], [], here=False) == {"folder": "docs"}
    assert where_of(["title=docs"], []) == {"title": "docs"}


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("lang", "KEY=FROM..TO, KEY!=VALUE, KEY~=PART"),
        ("=x", "KEY=VALUE"),
        ("title>=M", "only numbers and dates .* a part of a text is title~=PART"),
        ("creation_date>2026-13-45", "only numbers and dates"),
        ("date<=2026-02-30", "only numbers and dates"),
        ("title~=", "takes a part of the text"),
        ('{"year"', "no JSON"),
    ],
)
def test_what_means_nothing_is_refused_by_what_can_be_typed(typed, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        where_of([typed], [])
    assert stop.value.code == 2
    assert re.search(sentence, capsys.readouterr().err)


class Loader:
    """Stands where MetaEmbedEncoder is loaded by name."""

    @staticmethod
    def from_pretrained(name: str, *, device: str | None = None) -> FakeEncoder:
        encoder = FakeEncoder()
        encoder.name = name
        return encoder


@pytest.fixture
def place(tmp_path, run, monkeypatch) -> Path:
    """An index of ``files``: ``a.txt``, ``sub/b.md`` and ``sub/deep/c.txt``."""
    monkeypatch.setattr(metaembed_rag.model, "MetaEmbedEncoder", Loader, raising=False)
    for name in ("a.txt", "sub/b.md", "sub/deep/c.txt"):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} says apples")
    run("index", tmp_path / "files", "--index", tmp_path / "i", "--quiet")
    return tmp_path / "i"


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        (["file_name=a.txt"], "a.txt"),
        (["file_path=sub/b.md"], "b.md"),
        (["folder=sub"], "b.md c.txt"),
        (["folder=files/sub/deep"], "c.txt"),
        (["file_type=txt"], "a.txt c.txt"),
        (["file_type=text/plain,md", "file_name!=c.txt"], "a.txt b.md"),
        (["file_name~=*.txt", "folder~=DEEP"], "c.txt"),
        (["page_label=1", "last_modified_date>=2020"], "a.txt b.md c.txt"),
        (["last_modified_date=1990..1991"], ""),
    ],
)
def test_pages_are_found_by_what_people_know_of_their_file(place, run, typed, names):
    options = [part for one in typed for part in ("--where", one)]
    out, _ = run("search", "apples", "--index", place, "--json", *options)
    found = sorted(Path(hit["source"]).name for hit in json.loads(out)["hits"])
    assert found == names.split()


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("file_name=B.m", "no page has file_name 'B.m'; did you mean 'b.md'?"),
        ("file_type=pdf", "no page has file_type 'pdf'; there is 'text/markdown', 'text/plain'"),
        ("file_nme=a.txt", "no page has a metadata key 'file_nme', they have page, source, and of"),
        ("source=a.txt", "a source is a whole path; the name of a file is its file_name"),
        ("creationdat>=2030", "no page has a metadata key 'creationdat'"),
        ("file_name~=zebra", "no page has in its file_name 'zebra'; there is 'a.txt', 'b.md', 'c."),
    ],
)
def test_a_filter_that_finds_nothing_says_what_there_is(place, run, typed, told):
    out, err = run("search", "apples", "--index", place, "--json", "--where", typed)
    assert json.loads(out)["hits"] == []
    assert err.startswith("metaembed: no page passes the filter; ")
    assert told in err
    assert told in json.loads(out)["note"]
