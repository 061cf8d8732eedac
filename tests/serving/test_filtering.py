"""Filters of strangers on files: by what the server calls them, and nothing above the root."""

from __future__ import annotations

import pytest

from metaembed_rag.pages import load_pages


@pytest.fixture
def http(client, served, folder):
    """Beside ``fruit.pdf`` of no known root, ``docs/sub/notes.md`` below ``docs``."""
    (folder / "docs" / "sub").mkdir(parents=True)
    (folder / "docs" / "sub" / "notes.md").write_text("apples of a note")
    served.add(load_pages(folder / "docs"))
    return client()


def found(http, where: dict) -> list[str]:
    answer = http.post("/search", json={"query": "apples", "k": 9, "where": where})
    assert answer.status_code == 200, answer.text
    return sorted(f"{hit['source']} {hit['page']}" for hit in answer.json()["hits"])


FRUIT = ["fruit.pdf 1", "fruit.pdf 2"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"file_name": "fruit.pdf"}, FRUIT),
        ({"file_type": {"$in": ["md"]}}, ["notes.md 1"]),
        ({"file_path": "sub/notes.md"}, ["notes.md 1"]),
        ({"folder": {"$glob": "s*"}}, ["notes.md 1"]),
        ({"source": {"$icontains": "FRUIT"}}, FRUIT),
        ({"source": {"$not_glob": "*.*"}}, ["sea 1"]),
        ({"total_pages": {"$gte": 2}, "page": 2}, ["fruit.pdf 2"]),
        # Nothing of the private folder can be guessed.
        ({"source": {"$icontains": "private"}}, []),
        ({"file_path": {"$icontains": "private"}}, []),
        ({"folder": {"$icontains": "private"}}, []),
        ({"folder": "private-folder"}, []),
        ({"folder": "docs"}, []),
        ({"#folder": "docs"}, []),
        ({"$or": [{"folder": {"$glob": "*private*"}}]}, []),
    ],
    ids=str,
)
def test_files_are_asked_for_by_what_the_server_calls_them(http, where, expected):
    assert found(http, where) == expected


def test_an_absolute_path_is_nobodys(http, folder):
    assert found(http, {"file_path": (folder / "fruit.pdf").as_posix()}) == []
    assert found(http, {"folder": folder.as_posix()}) == []


def test_a_filter_that_finds_nothing_says_so_and_names_no_folder(http, folder):
    asked = {"query": "apples", "where": {"file_name": "friut.pdf"}}
    note = http.post("/search", json=asked).json()["note"]
    assert note.endswith("no page has file_name 'friut.pdf'; did you mean 'fruit.pdf'?")
    for where in ({"file_path": "nowhere"}, {"source": "fruit.pd"}, {"folder": "nowhere"}):
        note = http.post("/search", json={"query": "apples", "where": where}).json()["note"]
        assert note.startswith("no page passes the filter")
        assert folder.name not in note


def test_expressions_are_refused_on_every_field(http):
    asked = {"query": "a", "where": {"file_name": {"$regex": "(a+)+$"}}}
    answer = http.post("/search", json=asked)
    assert answer.status_code == 400
    assert "use $contains, $icontains, $glob" in answer.text
