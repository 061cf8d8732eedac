"""``metaembed info``: what an index holds."""

from __future__ import annotations

import argparse

from metaembed_rag.cli.options import add_place, open_index
from metaembed_rag.cli.output import answer

SUMMARY = "say what an index holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed info``."""
    add_place(parser)


def run(given: argparse.Namespace) -> int:
    """Print a line for each fact, or one JSON object."""
    with open_index(given) as index:
        info = index.info()
    lines = [f"{key.replace('_', ' '):18} {value}" for key, value in info.items()]
    answer(given, info, "\n".join(lines))
    return 0
