"""Write the reference of the command line, ``docs/reference/cli.md``, from its parsers.

    python -m benchmarks.command_reference [--check]

With ``--check`` nothing is written, and the exit code is 1 where the page is not what would be
written.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from unittest import mock

from benchmarks.results import CHECKOUT
from metaembed_rag import cli

PAGE = CHECKOUT / "docs" / "reference" / "cli.md"
COMMON = ("--json", "--quiet", "--debug")
"""Options of every command, told once."""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line, with no default from this environment."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("METAEMBED")}
    with mock.patch.dict(os.environ, plain, clear=True):
        return cli._parser()


def commands(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name -> parser of each command, in the order of the help."""
    [choices] = [one for one in of._actions if isinstance(one, argparse._SubParsersAction)]
    return dict(choices.choices)


def page() -> str:
    """The reference as Markdown."""
    main = parser()
    found = commands(main)
    parts = [
        "# Command line",
        "<!-- made by `python -m benchmarks.command_reference` from the parsers; do not edit -->",
        main.description or "",
        _cell(main.epilog or ""),
        "Data go to standard output, progress and messages to standard error. The exit code is 0, "
        "1 for a failure (one sentence says what to do), 2 for wrong usage, or 130 after Ctrl-C. "
        "Every command takes these, too:",
        _table([one for one in next(iter(found.values()))._actions if _named(one) in COMMON]),
        *(part for name, one in found.items() for part in _command(name, one)),
    ]
    return "\n\n".join(parts) + "\n"


def _command(name: str, of: argparse.ArgumentParser) -> Iterator[str]:
    own = [one for one in of._actions if _named(one) not in (*COMMON, "-h")]
    needed = " ".join(_shown(one) for one in own if _is_needed(one))
    yield f"## metaembed {name}"
    yield f"{(of.description or '').capitalize()}."
    yield f"```\nmetaembed {name} {needed}".rstrip() + " [OPTIONS]\n```"
    yield _table(own)
    for group in of._mutually_exclusive_groups:
        names = [f"`{_named(one)}`" for one in group._group_actions]
        if len(names) > 1:
            yield f"At most one of {', '.join(names)}."


def _table(actions: Sequence[argparse.Action]) -> str:
    rows = [f"| {_cell(f'`{_shown(one)}`')} | {_cell(_help(one))} |" for one in actions]
    return "\n".join(["| argument | |", "|---|---|", *rows])


def _named(action: argparse.Action) -> str:
    return action.option_strings[0] if action.option_strings else action.dest


def _is_needed(action: argparse.Action) -> bool:
    return action.required and action.nargs != "?"


def _shown(action: argparse.Action) -> str:
    """As one types it: ``--budget R_Q,R_C``, ``PATH [PATH ...]``."""
    value = _value(action)
    return " ".join([*action.option_strings[-1:], *([value] if value else [])])


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    name = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())
    return {"*": f"[{name} ...]", "+": f"{name} [{name} ...]", "?": f"[{name}]"}.get(
        str(action.nargs), name
    )


def _help(action: argparse.Action) -> str:
    text = (action.help or "") % {**vars(action), "prog": "metaembed"}
    needed = action.required and bool(action.option_strings)
    return f"{text} (needed)" if needed else text


def _cell(text: str) -> str:
    """In one line: options and variables as code, and what Markdown would take for its own escaped.

    In code, bars alone are.
    """
    text = re.sub(r"(?<![`\w-])(--[a-z][a-z-]+|[A-Z]+(?:_[A-Z]+)+)(?![`\w])", r"`\1`", text)
    parts = re.split("(`[^`]*`)", " ".join(text.split()))
    return "".join(
        one.replace("|", r"\|") if one.startswith("`") else re.sub(r"([|<>*_\[\]])", r"\\\1", one)
        for one in parts
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say that it differs."""
    of = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    of.add_argument("--check", action="store_true", help="write nothing; 1 where it differs")
    given = of.parse_args(arguments)
    before = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    after = page()
    if given.check and after != before:
        print(f"{PAGE.relative_to(CHECKOUT)}: not what the parsers say; run make docs")
        return 1
    if not given.check:
        PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
