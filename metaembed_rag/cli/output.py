"""What commands write: data to standard output, messages to standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any


def answer(given: argparse.Namespace, found: Mapping[str, Any], text: str) -> None:
    """Print what was found: as one JSON object on one line with ``--json``, else as ``text``."""
    print(json.dumps(found, ensure_ascii=False) if given.json else text)


def table(rows: Iterable[Sequence[str]], *formats: str) -> str:
    """Rows as lines, each cell in the format of its column; the last is for all further cells."""
    return "\n".join(
        "  ".join(map(format, row, chain(formats, repeat(formats[-1])))) for row in rows
    )


def say(message: str) -> None:
    """Print a message to standard error."""
    print(message, file=sys.stderr)


def wrong_usage(message: str) -> SystemExit:
    """Say what was wrong, and make the exit with code 2 that the caller raises."""
    say(f"metaembed: {message}")
    return SystemExit(2)
