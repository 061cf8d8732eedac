"""``metaembed delete``: pages out of an index."""

from __future__ import annotations

import argparse

from metaembed_rag.cli.options import add_place, add_wait, open_index, server_of
from metaembed_rag.cli.output import answer, counted, say
from metaembed_rag.cli.remote import delete_from

SUMMARY = "delete pages by id or source, or all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed delete``."""
    add_place(parser, or_server=True)
    add_wait(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--id", action="append", default=[], help="a page's id; may be repeated")
    what.add_argument("--source", action="append", default=[], help="a file; may be repeated")
    what.add_argument("--all", action="store_true", help="every page of the index")


def run(given: argparse.Namespace) -> int:
    """Delete, and say how much; the exit code is 1 when a name matched nothing."""
    server = server_of(given, "all", "wait")
    if server is not None:
        return delete_from(server, given)
    with open_index(given) as index:
        removed = {id: index.delete(id, lock_timeout=given.wait) for id in given.id}
        removed |= {
            source: index.delete(source=source, lock_timeout=given.wait) for source in given.source
        }
        total = sum(removed.values())
        if given.all:
            total = index.delete(everything=True, lock_timeout=given.wait)
        pages = len(index)
    found = {"index": given.index, "deleted": total, "pages": pages}
    answer(
        given, found, f"{counted(total, 'page')} deleted: {counted(pages, 'page')} in {given.index}"
    )
    unknown = [name for name, count in removed.items() if not count]
    if unknown:
        say(f"metaembed: nothing in the index matches {', '.join(unknown)}")
    return 1 if unknown else 0
