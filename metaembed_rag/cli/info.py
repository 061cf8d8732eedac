"""``metaembed info``: what an index holds."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from metaembed_rag.cli.options import add_place, open_index, server_of
from metaembed_rag.cli.output import answer

SUMMARY = "say what an index holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed info``."""
    add_place(parser, or_server=True)


def run(given: argparse.Namespace) -> int:
    """Print a line for each fact, or one JSON object."""
    server = server_of(given)
    if server is None:
        with open_index(given) as index:
            info = index.info()
            disk = index.disk()
            info["disk_bytes"] = {**asdict(disk), "total": disk.total}
    else:
        info = server.get("/info")
    disk_bytes = info.get("disk_bytes", {})
    shown = {key: value for key, value in info.items() if not isinstance(value, list | dict)}
    shown |= {f"disk: {kind}": f"{size:,} bytes" for kind, size in disk_bytes.items()}
    lines = [f"{key.replace('_', ' '):18} {value}" for key, value in shown.items()]
    answer(given, info, "\n".join(lines))
    return 0
