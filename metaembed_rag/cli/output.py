"""What commands write: data to standard output, messages to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    print(json.dumps(value, ensure_ascii=False))


def say(message: str) -> None:
    """Print a message to standard error."""
    print(message, file=sys.stderr)


def wrong_usage(message: str) -> SystemExit:
    """Say what was wrong, and make the exit with code 2 that the caller raises."""
    say(f"metaembed: {message}")
    return SystemExit(2)
