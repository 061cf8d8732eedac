"""The reference of the command line is made from its parsers."""

from __future__ import annotations

from benchmarks import command_reference


def test_the_reference_of_the_command_line_is_what_the_parsers_say(capsys):
    assert command_reference.main(["--check"]) == 0, capsys.readouterr().out


def test_the_reference_has_every_command_and_every_option(monkeypatch):
    monkeypatch.setenv("METAEMBED_INDEX", "/somewhere")  # no reader's environment is in it
    text = command_reference.page()
    for name, parser in command_reference.commands(command_reference.parser()).items():
        assert f"\n## metaembed {name}\n" in text
        part = text.partition(f"\n## metaembed {name}\n")[2].partition("\n## ")[0]
        options = {one for action in parser._actions for one in action.option_strings[-1:]}
        for option in options - {"--help", *command_reference.COMMON}:
            assert f"| `{option}" in part, (name, option)
    assert "/somewhere" not in text
