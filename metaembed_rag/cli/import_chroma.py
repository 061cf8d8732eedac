"""``metaembed import-chroma``: an index from a Chroma collection that another program wrote."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from metaembed_rag.cli.options import (
    add_device,
    add_model,
    add_passes,
    add_place,
    add_storage,
    add_wait,
    limit_passes,
    load_encoder,
    pictures_of,
    server_keywords,
)
from metaembed_rag.cli.output import answer, counted, first_sources, say
from metaembed_rag.cli.values import header, positive

if TYPE_CHECKING:
    from metaembed_rag.ingest import AddReport

SUMMARY = "make an index from a Chroma collection of LangChain, LlamaIndex or your own"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed import-chroma``."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder that Chroma keeps, http(s)://host:port of a Chroma server, or "
        "chroma-cloud://tenant/database; it is only read",
    )
    parser.add_argument(
        "--collection",
        dest="source_collection",
        metavar="NAME",
        required=True,
        help="the collection in SOURCE: its texts are encoded, ids and metadata are kept",
    )
    parser.add_argument("--source-tenant", metavar="NAME", help="where SOURCE is a server")
    parser.add_argument("--source-database", metavar="NAME", help="where SOURCE is a server")
    parser.add_argument(
        "--source-header",
        action="append",
        type=header,
        metavar="'NAME: VALUE'",
        help="sent with each request to SOURCE; may be repeated",
    )
    parser.add_argument("--source-ca-file", metavar="PEM", help="as --ca-file, for SOURCE")
    parser.add_argument("--source-insecure", action="store_true", help="as --insecure, for SOURCE")
    add_place(parser, named="--into")
    add_wait(parser)
    add_device(parser)
    add_model(parser, "a folder, a hub id, or http://host:port#name of an encoding server")
    add_storage(parser)
    parser.add_argument("--batch-size", type=positive, default=64, help="texts at a time")
    add_passes(parser)


def run(given: argparse.Namespace) -> int:
    """Import what is not there yet or has changed, and say how much that was."""
    from metaembed_rag.index import PageIndex

    _check_source(given)
    with PageIndex.open(
        given.index,
        None if given.model is None else load_encoder(given),
        collection=given.collection,
        vectors=given.vectors,
        format=given.format,
        dimension=given.dimension,
        device=given.device,
        **server_keywords(given),
        pictures=pictures_of(given),
    ) as index:
        if given.max_passes:
            limit_passes(index.encoder, given.max_passes)
        report = index.import_chroma(
            given.source,
            collection=given.source_collection,
            batch_size=given.batch_size,
            show_progress=not given.quiet,
            lock_timeout=given.wait,
            **server_keywords(given, "source-"),
        )
        found = {
            "index": given.index,
            "source": given.source,
            "collection": given.source_collection,
            "pages": len(index),
            **{name: getattr(report, name) for name in ("added", "updated", "unchanged")},
            "blank": [error.source for error in report.blank],
            "skipped": [{"source": e.source, "reason": e.reason} for e in report.skipped],
        }
    _tell_left_out(report)
    answer(given, found, f"{report}: {counted(found['pages'], 'page')} in {given.index}")
    return 1 if report.skipped else 0


def _check_source(given: argparse.Namespace) -> None:
    """Look for the collection before an index is made, which would stay where there is none."""
    from metaembed_rag.opening import server_access
    from metaembed_rag.store.plain import plain_collection

    access = server_access(server_keywords(given, "source-"))
    with plain_collection(given.source, given.source_collection, access):
        pass


def _tell_left_out(report: AddReport) -> None:
    """Say which records were not taken over."""
    for error in report.skipped:
        say(f"  {error}")
    if report.blank:
        records = counted(len(report.blank), "record has", "records have")
        say(f"{records} no text: {first_sources(report.blank)}")
