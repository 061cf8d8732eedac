"""``metaembed check``, ``repair``, ``export`` and ``import``."""

from __future__ import annotations

import io
import json
import sys

import pytest

from metaembed_rag import cli
from tests.maintenance.builders import add_foreign, made, pictures


@pytest.fixture
def where(tmp_path):
    with made(tmp_path / "index", tmp_path / "files"):
        pass
    return tmp_path / "index"


def test_check_says_that_nothing_is_wrong(where, run):
    out, err = run("check", "--index", where, "--quiet")
    assert out == f"{where}: 6 pages and 3 pictures looked at, nothing is wrong\n"
    assert err == ""
    found = json.loads(run("check", "--index", where, "--json")[0])
    assert list(found) == [
        "index", "collection", "pages", "pictures", "sound", "findings", "notes", "seconds",
    ]  # fmt: skip
    assert (found["sound"], found["findings"], found["notes"]) == (True, [], [])


def test_check_prints_a_table_of_what_is_wrong_and_exits_with_1(where, run):
    add_foreign(where)
    pictures(where)[0].unlink()
    (where / "cache" / "pages" / "oldgeneration").mkdir()
    out, _ = run("check", "--index", where, code=1)
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["record", "foreign"]
    assert "`metaembed repair` takes it out" in lines[0]
    assert lines[1].startswith("picture ")
    assert lines[2] == "untidy, but in order:"
    assert lines[-1].endswith("2 findings")
    found = json.loads(run("check", "--index", where, "--json", code=1)[0])
    assert found["sound"] is False
    assert list(found["findings"][0]) == ["kind", "what", "todo", "id"]
    assert [one["kind"] for one in found["notes"]] == ["files"]


def test_check_exits_with_2_where_it_has_no_answer(tmp_path, run):
    for command in ("check", "repair"):
        _, err = run(command, "--index", tmp_path / "none", code=2)
        assert "no index at" in err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "chroma.sqlite3").write_bytes(b"no database" * 100)
    _, err = run("check", "--index", tmp_path / "bad", code=2)
    assert "could not be checked" in err
    run("check", "--index", tmp_path / "none", "--wait", "-1", code=2)


def test_characters_that_steer_a_terminal_are_not_printed(where, run):
    from tests.maintenance.builders import raw_collection

    raw_collection(where).add(ids=["a\x1b[31m\nb"], embeddings=[[1.0] * 32])
    out, _ = run("check", "--index", where, code=1)
    assert "\x1b" not in out
    assert r"a\x1b[31m\nb" in out


def test_repair_needs_a_yes_to_take_pages_out(where, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # no terminal: it is not read
    add_foreign(where)
    out, err = run("repair", "--index", where, code=1)
    assert "1 page would be taken out; say --yes to do it" in err
    assert "left:" in out
    out, _ = run("repair", "--index", where, "--dry-run")
    assert "would be taken out" in out
    run("check", "--index", where, code=1)
    found = json.loads(run("repair", "--index", where, "--yes", "--json")[0])
    assert [one["id"] for one in found["dropped"]] == ["foreign"]
    assert (found["pages"], found["left"], found["rebuilt"]) == (6, [], ["cache", "words"])
    run("check", "--index", where)


@pytest.mark.parametrize(("said", "code"), [("y\n", 0), ("\n", 1), ("", 1)])
def test_repair_asks_on_a_terminal(where, run, monkeypatch, said, code):
    terminal = io.StringIO(said)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    add_foreign(where)
    _, err = run("repair", "--index", where, code=code)
    assert "take 1 page out of" in err


def test_repair_makes_a_picture_again_and_names_what_it_cannot(where, run):
    (where.parent / "files" / "blue.png").unlink()
    for path in pictures(where):
        path.unlink()
    out, _ = run("repair", "--index", where, code=1)
    assert "red.png#1" in out.partition("left:")[0]
    assert "blue.png#1" in out.partition("left:")[2]


def test_an_index_goes_into_a_file_and_comes_back(where, tmp_path, run):
    file = tmp_path / "index.zip"
    out, _ = run("export", file, "--index", where)
    assert out.startswith(f"{file}: 6 pages and 3 pictures, ")
    run("export", file, "--index", where, code=1)
    found = json.loads(run("export", file, "--index", where, "--force", "--json")[0])
    assert list(found) == ["index", "file", "pages", "pictures", "bytes", "left_out"]
    out, _ = run("import", file, "--index", tmp_path / "other")
    assert out == f"{tmp_path / 'other'}: 6 pages and 3 pictures imported\n"
    found = json.loads(run("import", file, "--index", tmp_path / "other", "--json")[0])
    assert (found["pages"], found["added"], found["pictures"]) == (6, 0, 0)
    run("check", "--index", tmp_path / "other")


def test_export_lists_what_is_left_out_and_exits_with_1(where, tmp_path, run):
    add_foreign(where)
    _, err = run("export", tmp_path / "index.zip", "--index", where, code=1)
    assert "1 damaged thing is left out" in err
    assert "foreign" in err


def test_a_file_that_is_no_export_is_refused_in_a_sentence(tmp_path, run):
    (tmp_path / "a.zip").write_bytes(b"PK nonsense")
    for name in ("a.zip", "none.zip"):
        _, err = run("import", tmp_path / name, "--index", tmp_path / "other", code=1)
        assert err.count("metaembed:") == 1
    assert not (tmp_path / "other").exists()


def test_the_commands_are_known():
    assert {"check", "repair", "export", "import"} <= cli.COMMANDS.keys()
