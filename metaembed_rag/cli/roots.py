"""``--root``: where folders are on this machine that an index knows under other paths."""

from __future__ import annotations

import argparse

from metaembed_rag.errors import StoreError


def add_roots(parser: argparse.ArgumentParser) -> None:
    """Where folders are on this machine: ``--root``."""
    parser.add_argument(
        "--root",
        action="append",
        type=root,
        default=[],
        metavar="OLD=NEW",
        help="look for files of the folder OLD in NEW, where it is on this machine; may be "
        "repeated (more of them in the environment variable METAEMBED_ROOTS, ';' between two)",
    )


def root(text: str) -> tuple[str, str]:
    """A folder of the index and where it is on this machine, written ``OLD=NEW``."""
    from metaembed_rag.pages.roots import parsed

    try:
        return parsed(text)
    except StoreError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
