"""The commands in the documents are ones that the command line takes."""

from __future__ import annotations

import re

import pytest

from metaembed_rag import cli
from tests.support import documents

PARSER = cli._parser()
[SUBPARSERS] = [one for one in PARSER._actions if isinstance(one.choices, dict)]
COMMANDS = list(documents.commands())
SKETCH = re.compile(r"^[\[|(]|[\])]$|^\.\.\.$|\.\.\.$|…$")
"""A word of a command that shows choices rather than what one types."""


def problems(command: str, options: set[str]) -> list[str]:
    """The command, or its options, that there are not."""
    if command not in SUBPARSERS.choices:
        return [command] if command.isidentifier() else []
    known = SUBPARSERS.choices[command]._option_string_actions
    return sorted(one for one in options if one not in known)


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


def test_there_are_commands_in_the_documents():
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[place for place, _ in COMMANDS])
def test_a_command_in_a_block_is_taken_as_it_stands(place, words, capsys):
    """Choices in brackets are no command yet: of those, every option exists."""
    assert problems(words[0], options_in(" ".join(words))) == []
    if not any(map(SKETCH.search, words)):
        try:
            PARSER.parse_args(words)
        except SystemExit as error:
            assert error.code == 0, capsys.readouterr().err


def test_a_command_within_a_text_and_its_options_exist():
    wrong = [
        f"{place}: metaembed {said}"
        for place, said in documents.named_in_text()
        if problems(said.split()[0], options_in(said))
    ]
    assert wrong == []


def test_a_command_ends_where_another_program_or_a_remark_begins():
    assert documents.words("info --index 'my index' --json | jq .  # pages") == [
        "info",
        "--index",
        "my index",
        "--json",
    ]
