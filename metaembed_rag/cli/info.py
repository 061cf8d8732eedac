"""``metaembed info``: what an index holds."""

from __future__ import annotations

import argparse

from metaembed_rag.cli.options import add_place, open_index
from metaembed_rag.cli.output import print_json

SUMMARY = "say what an index holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed info``."""
    add_place(parser)


def run(given: argparse.Namespace) -> int:
    """Print a line for each fact, or one JSON object."""
    info = open_index(given).info()
    if given.json:
        print_json(info)
        return 0
    for key, value in info.items():
        print(f"{key.replace('_', ' '):18} {value}")
    return 0
