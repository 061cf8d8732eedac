"""``metaembed prune``, ``delete`` of folders and patterns, and what ``index`` says of moves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("loaded")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("red apples")
    (folder / "sub" / "b.txt").write_text("blue whales")
    return folder


@pytest.fixture
def index(tmp_path, docs, run) -> Path:
    run("index", docs, "--index", tmp_path / "i")
    return tmp_path / "i"


def test_index_says_what_moved(index, docs, tmp_path, run):
    docs.rename(tmp_path / "elsewhere")
    out, _ = run("index", tmp_path / "elsewhere", "--index", index)
    assert "2 removed, 0 skipped, 2 moved: 2 pages in" in out
    out, _ = run("index", tmp_path / "elsewhere", "--index", index, "--json")
    assert (json.loads(out)["moved"], json.loads(out)["unchanged"]) == (0, 2)


def test_index_of_a_folder_that_has_gone_says_what_to_do(index, docs, tmp_path, run):
    shutil.rmtree(docs)
    _, err = run("index", docs, "--index", index, code=1)
    assert f"{docs}: is not there any more, and 2 pages of it stay in the index. Moved?" in err
    _, err = run("index", tmp_path / "typo", "--index", index, code=1)
    assert "there is no such file or folder; check the path" in err
    _, err = run("index", tmp_path / "typo", "--index", tmp_path / "none", code=1)
    assert "there is no such file or folder; check the path" in err
    assert not (tmp_path / "none").exists()


def test_prune_lists_and_removes(index, docs, run):
    (docs / "a.txt").unlink()
    out, _ = run("prune", "--index", index, "--dry-run")
    assert out.startswith(f"{docs}/a.txt: 1 page\n1 page of 1 file would be removed: 2 pages in")
    out, _ = run("prune", "--index", index, "--json")
    found = json.loads(out)
    assert (found["removed"], found["pages"], found["dry_run"]) == (1, 1, False)
    assert found["files"] == [{"source": f"{docs}/a.txt", "pages": 1}]
    assert "0 pages of 0 files removed: 1 page in" in run("prune", "--index", index)[0]


def test_prune_asks_before_it_empties_an_index(index, docs, tmp_path, run):
    docs.rename(tmp_path / "mine")
    _, err = run("prune", "--index", index, code=1)
    assert "none of the index's 2 files is there, so nothing was removed" in err
    out, _ = run("prune", "--index", index, "--root", f"{docs}={tmp_path / 'mine'}")
    assert "0 pages of 0 files removed: 2 pages in" in out
    assert "is no root" in run("prune", "--index", index, "--root", "x", code=2)[1]
    assert "2 pages of 2 files removed: 0 pages in" in run("prune", "--index", index, "--yes")[0]


def test_delete_of_a_folder_and_a_pattern(index, docs, run):
    out, _ = run("delete", "--index", index, "--source", "sub/*", "--dry-run")
    assert out.startswith(f"{docs}/sub/b.txt#1\n1 page would be deleted from")
    out, _ = run("delete", "--index", index, "--all", "--dry-run", "--json")
    assert json.loads(out)["would_delete"] == [f"{docs}/a.txt#1", f"{docs}/sub/b.txt#1"]
    out, _ = run("delete", "--index", index, "--source", docs / "sub", "--json")
    assert json.loads(out) == {"index": str(index), "deleted": 1, "pages": 1}
    _, err = run("delete", "--index", index, "--source", "sub/*", "--dry-run", code=1)
    assert "nothing in the index matches sub/*" in err
    assert "stands for all files" in run("delete", "--index", index, "--source", "*", code=1)[1]
