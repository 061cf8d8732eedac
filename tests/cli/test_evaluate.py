"""``metaembed evaluate --index``, with a fake encoder in place of the shipped one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def fake(loaded):
    """Any model's name loads the encoder without weights."""


@pytest.fixture
def place(tmp_path, run) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("red apples grow")
    (folder / "b.txt").write_text("blue whales swim")
    where: Path = tmp_path / "index"
    run("index", folder, "--index", where, "--quiet")
    return where


@pytest.fixture
def questions(tmp_path) -> Path:
    path: Path = tmp_path / "q.csv"
    path.write_text("question,file,page\nred apples,a.txt,1\nblue whales,a.txt,1\n")
    return path


def test_json_names_every_budget_and_bm25(run, place, questions):
    out, _ = run("evaluate", "--index", place, "--questions", questions, "--json", "--quiet")
    found = json.loads(out)
    assert list(found) == [
        *("index", "model", "questions", "pages", "k", "scoring", "results", "vectors_alone"),
        "bm25",
    ]
    assert len(found["results"]) == 5
    assert set(found["results"][0]) == {
        *("budget", "ndcg@5", "ndcg@10", "recall@10", "mrr@10", "precision@1"),
        *("query_ms", "bytes_per_page", "failed"),
    }
    assert found["bm25"]["precision@1"] == 0.5


def test_failures_are_listed_where_they_are_asked_for(run, place, questions):
    given = ("evaluate", "--index", place, "--questions", questions, "-k", 1, "--budget", "4,8")
    out, _ = run(*given, "--quiet")
    assert "1 question has no right page among the first 1 at (4,8); --failures lists them" in out
    assert "right:" not in out
    out, _ = run(*given, "--quiet", "--failures")
    assert "\nblue whales\n   right: a.txt page 1, at rank 2\n   1. " in out
    assert "b.txt page 1" in out
    found = json.loads(run(*given, "--quiet", "--failures", "--json")[0])
    assert [one["question"] for one in found["failures"]] == ["blue whales"]


def test_html_is_written_beside(run, place, questions, tmp_path):
    page = tmp_path / "report.html"
    given = ("evaluate", "--index", place, "--questions", questions, "-k", 1)
    out, err = run(*given, "--html", page, "--quiet")
    assert f"wrote {page}" in err
    assert "<svg" in page.read_text(encoding="utf-8")
    assert out.startswith(f"{place}: 2 questions, 2 pages, model fake")


def test_the_environment_names_the_index_and_no_other_model(run, place, questions, monkeypatch):
    monkeypatch.setenv("METAEMBED_INDEX", str(place))
    monkeypatch.setenv("METAEMBED_MODEL", "another")
    out, _ = run("evaluate", "--questions", questions, "--quiet")
    assert "2 questions" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a DATASET, or --index and --questions"),
        (["--questions", "q.csv"], "--questions needs --index"),
        (["set", "--index", "i"], "--index needs --questions"),
        (["set", "--failures"], "--failures needs --questions"),
        (["set", "-k", "3"], "-k needs --questions"),
        (["set", "--html", "x"], "--html needs --questions"),
        (["set", "--index", "i", "--questions", "q"], "leave out DATASET"),
        (["--index", "i", "--questions", "q", "--limit", "3"], "--limit is for DATASET"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_loaded(run, arguments, said):
    out, err = run("evaluate", *arguments, code=2)
    assert out == ""
    assert said in err


def test_an_unknown_file_or_column_is_a_sentence(run, place, tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("question,file,page\nx,no.txt,1\n")
    _, err = run("evaluate", "--index", place, "--questions", path, "--quiet", code=1)
    assert "line 2: the index holds no file 'no.txt'" in err
    path.write_text("question,page\nx,1\n")
    _, err = run("evaluate", "--index", place, "--questions", path, "--quiet", code=1)
    assert "no column file" in err
