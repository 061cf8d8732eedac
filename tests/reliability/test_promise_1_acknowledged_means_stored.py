"""Promise 1: what was acknowledged is in the index, whatever becomes of the process."""

from __future__ import annotations

import json

import pytest

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import StoreError
from metaembed_rag.testing import FakeEncoder
from tests.soak import kills
from tests.soak.tally import Share


@pytest.mark.integration
def test_two_kills_lose_nothing_and_the_same_command_does_the_rest():
    tally = kills.kill_all(Share(seed=7, cases=2, seconds=240))  # of an `add`, here and to a server
    assert tally.is_good, tally.failures
    assert tally.cases == 2


@pytest.mark.slow
def test_one_kill_of_each_kind_loses_nothing_and_the_same_command_does_the_rest():
    tally = kills.kill_all(Share(seed=7, cases=len(kills.ALL), seconds=240))
    assert tally.is_good, tally.failures
    assert tally.faults  # some came in time


def test_progress_says_which_pages_are_acknowledged():
    told = []
    pages = [Page(name, text=f"{name} fox") for name in "abcde"]
    with PageIndex.open(":memory:", FakeEncoder()) as index:
        report = index.add(pages, batch_size=2, progress=told.append)
        again = index.add([*pages[3:], Page("empty")])
    assert [int(done) for done in told] == [2, 2, 1]
    assert [done.ids for done in told] == [("a#1", "b#1"), ("c#1", "d#1"), ("e#1",)]
    assert report.acknowledged == [page.id for page in pages]
    assert again.acknowledged == ["d#1", "e#1"]  # unchanged ones; a blank page is not stored


def test_unchanged_files_are_acknowledged_too(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"{name} fox")
    ids = [f"{(tmp_path / name).resolve().as_posix()}#1" for name in ("a.txt", "b.txt")]
    with PageIndex.open(":memory:", FakeEncoder()) as index:
        assert index.sync(tmp_path).acknowledged == ids
        assert index.sync(tmp_path).acknowledged == ids


def test_the_command_line_lists_what_is_acknowledged(tmp_path, run, loaded):
    (tmp_path / "a.txt").write_text("a fox")
    out, _ = run("index", tmp_path / "a.txt", "--index", tmp_path / "i", "--json")
    assert json.loads(out)["acknowledged"] == [f"{(tmp_path / 'a.txt').resolve().as_posix()}#1"]


def test_the_command_line_lists_what_is_acknowledged_before_a_failure(
    tmp_path, run, loaded, encoder, monkeypatch
):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"{name} fox")
    real = encoder.encode_document

    def failing(inputs):
        if "b.txt fox" in inputs:
            raise StoreError("no more")
        return real(inputs)

    monkeypatch.setattr(encoder, "encode_document", failing)
    words = ("index", tmp_path / "a.txt", tmp_path / "b.txt", "--index", tmp_path / "i")
    out, err = run(*words, "--batch-size", 1, "--json", code=1)
    found = json.loads(out)
    assert found["acknowledged"] == [f"{(tmp_path / 'a.txt').resolve().as_posix()}#1"]
    assert found["error"] == "no more"
    assert "metaembed: no more" in err
