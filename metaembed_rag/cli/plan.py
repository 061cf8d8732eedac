"""``metaembed plan``: what an index will cost, before anything is indexed."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from metaembed_rag.cli.options import add_model
from metaembed_rag.cli.output import answer, table
from metaembed_rag.cli.values import positive
from metaembed_rag.errors import CheckpointError

if TYPE_CHECKING:
    from metaembed_rag.cost import IndexCost

SUMMARY = "say what an index will cost"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed plan``."""
    parser.epilog = (
        "Milliseconds are those of one thread of this machine; a search uses as many as torch does."
    )
    parser.add_argument("--pages", type=positive, required=True, metavar="N", help="pages")
    add_model(parser, "a folder, or a hub id: its dimension and numbers of vectors")
    parser.add_argument("--dimension", type=positive, metavar="D", help="values a vector")
    parser.add_argument("--vectors", type=positive, help="vectors stored a page")


def run(given: argparse.Namespace) -> int:
    """Measure, and print a table or one JSON object."""
    from metaembed_rag.cost import index_cost
    from metaembed_rag.model.checkpoints import DEFAULT_MODEL

    model = given.model or DEFAULT_MODEL
    shape = _shape(model)
    found = index_cost(
        given.pages,
        dimension=given.dimension or shape["dimension"],
        vectors=given.vectors or shape["vectors"],
        query_vectors=shape["query_vectors"],
    )
    answer(given, {"model": model, **found.to_dict()}, _tables(found))
    return 0


def _shape(model: str) -> dict[str, int]:
    """A checkpoint's numbers, read from its files: no weights, no torch."""
    from metaembed_rag.model.checkpoints import CONFIG, find_checkpoint

    folder = find_checkpoint(model)
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    width = config.get("hidden_size") or config.get("text_config", {}).get("hidden_size")
    if width is None:
        raise CheckpointError(f"{folder}/config.json names no hidden_size; give --dimension")
    return {
        "dimension": width,
        "vectors": settings["document_vectors"],
        "query_vectors": settings["query_vectors"],
    }


def _tables(found: IndexCost) -> str:
    bytes_: list[tuple[str, ...]] = [
        ("format", "bytes a page", "vectors", "disk", "memory", "mapped")
    ]
    for one in found.formats:
        sizes = (one.vectors_bytes, one.disk_bytes, one.memory_bytes, one.mapped_bytes)
        bytes_.append((one.format, f"{one.bytes_per_page:,}", *map(_size, sizes)))
    times = [("budget", *(one.format for one in found.formats))]
    for row in zip(*(one.budgets for one in found.formats), strict=True):
        budget = "({},{})".format(*row[0].budget)
        times.append((budget, *(_ms(one.exhaustive_ms) for one in row)))
    return (
        f"{found.pages:,} pages, {found.vectors} vectors a page, {found.dimension} values a vector"
        f"\n\n{table(bytes_, '>12')}\n\nms a query, every page scored, on one thread:\n"
        f"{table(times, '>12')}\n"
        f"\nMilliseconds are estimates: {min(found.measured_pages.values()):,} to "
        f"{max(found.measured_pages.values()):,} random pages were scored here and now, and the "
        f"time scaled\nto {found.pages:,}; encoding the query comes on top, and a search of "
        f"candidates scores fewer pages.\nDisk is an estimate for pages of 500 characters, without "
        f"pictures; memory is that of a process that\nonly searches, without the model, and mapped "
        f"is shared by all processes and given back when needed."
    )


def _size(bytes_: int) -> str:
    """Bytes as people say them."""
    value = float(bytes_)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3g}" if milliseconds < 1000 else f"{milliseconds:,.0f}"
