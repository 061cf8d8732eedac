"""``metaembed delete``: pages out of an index."""

from __future__ import annotations

import argparse
from itertools import chain
from typing import TYPE_CHECKING, Any

from metaembed_rag.cli.options import add_place, add_wait, open_index, server_of
from metaembed_rag.cli.output import answer, counted, say, shown
from metaembed_rag.cli.remote import delete_from

if TYPE_CHECKING:
    from metaembed_rag.index import PageIndex

SUMMARY = "delete pages by id, file, folder or pattern, or all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed delete``."""
    add_place(parser, or_server=True)
    add_wait(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--id", action="append", default=[], help="a page's id; may be repeated")
    what.add_argument(
        "--source",
        action="append",
        default=[],
        help="a file, a folder with all below it, or a pattern of paths ('reports/2023*', below "
        "the folder that was indexed); may be repeated",
    )
    what.add_argument("--all", action="store_true", help="every page of the index")
    parser.add_argument("--dry-run", action="store_true", help="delete nothing, say what would go")


def run(given: argparse.Namespace) -> int:
    """Delete, and say how much; the exit code is 1 when a name matched nothing."""
    server = server_of(given, "all", "wait", "dry_run")
    if server is not None:
        return delete_from(server, given)
    with open_index(given) as index:
        if given.dry_run:
            return _say(given, index)
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
    return _unknown([name for name, count in removed.items() if not count])


def _say(given: argparse.Namespace, index: PageIndex) -> int:
    """Say which pages would be deleted; the exit code is 1 when a name matches nothing."""
    named = {id: [page.id for page in index.get([id], pictures=False)] for id in given.id}
    named |= {source: index.ids_of(source) for source in given.source}
    every = index.ids() if given.all else list(dict.fromkeys(chain(*named.values())))
    pages = counted(len(every), "page")
    found: dict[str, Any] = {"index": given.index, "deleted": 0, "pages": len(index)}
    found |= {"dry_run": True, "would_delete": every}
    lines = [shown(id, in_one_line=True) for id in every]
    answer(given, found, "\n".join([*lines, f"{pages} would be deleted from {given.index}"]))
    return _unknown([name for name, ids in named.items() if not ids])


def _unknown(names: list[str]) -> int:
    if names:
        say(f"metaembed: nothing in the index matches {', '.join(names)}")
    return 1 if names else 0
