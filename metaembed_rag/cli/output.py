"""What commands write: data to standard output, messages to standard error."""

from __future__ import annotations

import argparse
import codecs
import io
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

    from metaembed_rag.errors import PageError

_NAMED = 5
"""Of what was left out, so many are named."""

_NOT_SHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""C0 and C1 controls but tab and line end, and what turns the direction of writing."""


def answer(given: argparse.Namespace, found: Mapping[str, Any], text: str) -> None:
    """Print what was found: as one JSON object on one line with ``--json``, else as ``text``.

    Where the output is not UTF-8, JSON is written in ASCII, which says the same. Whatever pages,
    names and servers say reaches the terminal without control characters.
    """
    print(_as_json(found) if given.json else shown(text))


def shown(text: str, *, in_one_line: bool = False) -> str:
    """A text for the terminal: control characters and changes of direction as their escapes.

    With ``in_one_line`` tabs and line ends are written as their escapes, too: for the cell of a
    table, or a name in a list.

    A page, a name or a server's answer could otherwise write over what stands there, change the
    title of the window or, in some terminals, run something.
    """
    text = _NOT_SHOWN.sub(_escape, text)
    return text.replace("\t", r"\t").replace("\n", r"\n") if in_one_line else text


def _as_json(found: Mapping[str, Any]) -> str:
    """JSON whose characters are all harmless in a terminal; it says the same."""
    text = json.dumps(found, ensure_ascii=not _is_utf8(sys.stdout))
    return _NOT_SHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def make_outputs_ready() -> None:
    """Let both outputs write ``\\u2192`` and the like where their encoding lacks a character.

    A terminal or a pipe need not be UTF-8, and in a file's name half a character is possible. An
    output that was closed before the start goes nowhere.
    """
    if sys.stdout is None:
        sys.stdout = io.StringIO()
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Bring the data out, so that what goes wrong with that is told as everything else."""
    sys.stdout.flush()


def give_up_output() -> None:
    """Send what is still to be written nowhere: nobody reads it, or there is no room for it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_warnings() -> None:
    """Show what this package warns of as messages like all others."""
    logger = logging.getLogger("metaembed_rag")
    if not any(isinstance(handler, _Messages) for handler in logger.handlers):
        logger.addHandler(_Messages(logging.WARNING))


def show_warnings_of_all() -> None:
    """Show what any library warns of as messages, where a server runs until it is stopped."""
    logging.getLogger("metaembed_rag").propagate = False  # its warnings are shown already
    logging.getLogger().addHandler(_Messages(logging.WARNING))


class _Messages(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # A filter, for one, is not as it was typed; then the record has other words for us.
        message = f"metaembed: {getattr(record, 'in_short', '') or record.getMessage()}"
        if "tqdm" in sys.modules:  # a bar is drawn perhaps: write above it
            sys.modules["tqdm"].tqdm.write(shown(message), file=sys.stderr)
        else:
            say(message)


def _is_utf8(stream: Any) -> bool:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name == "utf-8"


@contextmanager
def page_bar(
    given: argparse.Namespace, total: Callable[[], int]
) -> Iterator[Callable[[int], None]]:
    """What moves a bar by a number of pages; none is drawn with ``--quiet``.

    Its length is asked for when it first moves: of an index that is damaged perhaps never.
    """
    from tqdm import tqdm

    # In a log file the bar says something every ten seconds.
    pause = 0.1 if sys.stderr.isatty() else 10.0
    with tqdm(unit="page", disable=given.quiet, mininterval=pause) as bar:

        def move(pages: int) -> None:
            if bar.total is None and not given.quiet:
                bar.total = total()
            bar.update(pages)

        yield move


def table(rows: Iterable[Sequence[str]], *formats: str) -> str:
    """Rows as lines, each cell in the format of its column; the last is for all further cells."""
    return "\n".join(
        "  ".join(map(format, row, chain(formats, repeat(formats[-1])))) for row in rows
    )


def counted(number: int, one: str, several: str = "") -> str:
    """A number and what it counts: ``1 page``, ``2 pages``."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def first_sources(errors: Sequence[PageError]) -> str:
    """The sources of the first five of what was left out; ``--json`` names all."""
    named = ", ".join(error.source for error in errors[:_NAMED])
    return f"{named}, …" if len(errors) > _NAMED else named


def say(message: str) -> None:
    """Print a message to standard error."""
    print(shown(message), file=sys.stderr)


def show_tracebacks() -> None:
    """Let Python's tracebacks be written as messages are."""
    sys.excepthook = lambda kind, error, trace: say(
        "".join(traceback.format_exception(kind, error, trace)).rstrip()
    )


class Parser(argparse.ArgumentParser):
    """Shows what was typed as messages are shown: a name that a shell has found may be anything."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        super()._print_message(shown(message), file)


def wrong_usage(message: str) -> SystemExit:
    """Say what was wrong, and make the exit with code 2 that the caller raises."""
    say(f"metaembed: {message}")
    return SystemExit(2)


def list_ignored(paths: Sequence[str], most: int = 20) -> None:
    """Say which files in folders are of kinds that are not read; ``--json`` names all."""
    if not paths:
        return
    say(f"{counted(len(paths), 'file is', 'files are')} of kinds that are not read, and left out:")
    for path in paths[:most]:
        say(f"  {path}")
    if len(paths) > most:
        say(f"  and {len(paths) - most:,} more (--json names all)")
