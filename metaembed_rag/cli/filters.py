"""The options that say which pages may be found."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from metaembed_rag.cli.output import wrong_usage
from metaembed_rag.errors import StoreError

_TEXT = "#document"
"""``metaembed_rag.metadata.filters.TEXT_FIELD``, which is not imported to ask a server."""


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Which pages may be found: ``--where`` and ``--where-text``."""
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only such pages: KEY=VALUE, KEY=ONE,TWO, KEY=FROM..TO, KEY!=VALUE, KEY~=PART "
        "(ignoring case; with * of the whole), KEY>=NUMBER, or a filter as JSON. KEY is file_name, "
        "file_path, folder, file_type, page_label, a date or of the metadata; may be repeated",
    )
    parser.add_argument(
        "--where-text",
        action="append",
        default=[],
        metavar="TEXT",
        help="only pages that have these words, as they are written; may be repeated",
    )


def where_of(
    typed: Sequence[str], texts: Sequence[str], *, here: bool = True
) -> dict[str, Any] | None:
    """The filter that all of these conditions make, and all these words in a page's text.

    Args:
        typed: See :func:`metaembed_rag.metadata.typed.parsed`.
        texts: Words.
        here: Paths are those of this machine, and not of a server.

    Raises:
        SystemExit: One is no condition, which is said.
    """
    if "" in texts:
        raise wrong_usage("--where-text takes some words")
    if not (typed or texts):
        return None
    from metaembed_rag.metadata.typed import joined, parsed

    conditions: list[dict[str, Any]] = [{_TEXT: {"$contains": text}} for text in texts]
    for one in typed:
        try:
            conditions.append(parsed([one], here=here) or {})
        except StoreError as error:
            raise wrong_usage(f"--where: {error}") from error
    return joined("$and", conditions)
