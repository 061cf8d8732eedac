"""What a command writes does nothing to the terminal, whoever has written the words."""

from __future__ import annotations

import argparse
import json
import logging
import runpy
import sys
import unicodedata
from pathlib import Path

import pytest

from metaembed_rag.cli.output import Parser, answer, say, show_warnings, shown
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.soak.children import run

CLEAR, TITLE, CSI, TURN = "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\u202egnp.exe"
HOSTILE = f"a{CLEAR}b{TITLE}c{CSI}d{TURN}\re\x08f\x7f"


def is_harmless(text: str) -> bool:
    """Whether a text has no control or formatting characters but tabs and line ends."""
    return all(c in "\t\n" or unicodedata.category(c) not in ("Cc", "Cf", "Zl") for c in text)


def test_control_characters_are_shown_by_their_escapes():
    assert shown("a\x1b[2Jb\x9bc\u202ed\re") == r"a\x1b[2Jb\x9bc\u202ed\re"
    assert shown("tab\tline\nnaïve 漢字 😀") == "tab\tline\nnaïve 漢字 😀"
    assert is_harmless(shown(HOSTILE))
    assert shown("a\tb\nc\x1b\u2028", in_one_line=True) == r"a\tb\nc\x1b\u2028"


def test_json_says_the_same_without_control_characters(capsys):
    found = {"text": HOSTILE, "name": "naïve 漢字 😀\n"}
    answer(argparse.Namespace(json=True), found, "")
    out, _ = capsys.readouterr()
    assert is_harmless(out)
    assert json.loads(out) == found


def test_messages_warnings_and_wrong_usage_are_harmless(capsys):
    say(HOSTILE)
    show_warnings()
    logging.getLogger("metaembed_rag.test").warning("%s", HOSTILE)
    with pytest.raises(SystemExit):
        Parser(prog="metaembed").parse_args([HOSTILE])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("owned") == 3
    assert is_harmless(err)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """An index whose pages, sources, ids and metadata are hostile."""
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.add([Page(source=HOSTILE, text=HOSTILE, metadata={"section": HOSTILE})])
    return tmp_path / "index"


def as_a_program(words: list[str], scratch: Path) -> tuple[str, str]:
    """What ``python -m metaembed_rag.cli`` writes to its two outputs, its traceback among it."""
    places = (scratch / "out", scratch / "err")
    with places[0].open("w", encoding="utf-8") as out, places[1].open("w", encoding="utf-8") as err:
        sys.stdout, sys.stderr, sys.argv = out, err, ["metaembed", *words]
        try:
            runpy.run_module("metaembed_rag.cli", run_name="__main__")
        except SystemExit:
            pass
        except BaseException as error:  # noqa: BLE001 (as the interpreter shows it)
            sys.excepthook(type(error), error, error.__traceback__)
    return places[0].read_text("utf-8"), places[1].read_text("utf-8")


@pytest.mark.integration
@pytest.mark.parametrize("more", [[], ["--json"], ["--debug"]])
@pytest.mark.parametrize(
    "command",
    [
        ["info"],
        ["delete", "--id", HOSTILE],
        ["delete", "--source", f"{HOSTILE} nowhere"],
        ["info", "--collection", f"no{CLEAR}ne"],
    ],
)
def test_every_command_writes_harmless_characters(hostile: Path, command: list[str], more):
    done = run(as_a_program, [*command, "--index", str(hostile), *more], hostile.parent)
    assert not done.error, done.error
    out, err = done.value
    assert is_harmless(out), out
    assert is_harmless(err), err
    assert out or err


def test_hits_are_printed_harmlessly(hostile: Path, run, monkeypatch):
    import metaembed_rag.model

    class Loader:
        def from_pretrained(self, name, **settings):
            return FakeEncoder()

    monkeypatch.setattr(metaembed_rag.model, "MetaEmbedEncoder", Loader(), raising=False)
    out, err = run("search", "a", "--index", hostile, "--model", "fake", "--no-hybrid")
    assert "owned" in out
    assert is_harmless(out + err)
