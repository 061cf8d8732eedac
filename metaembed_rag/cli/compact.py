"""``metaembed compact``: what was deleted off the disk."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from metaembed_rag.cli.options import add_place, add_wait, open_index
from metaembed_rag.cli.output import answer

SUMMARY = "take what was deleted off the disk"


_CALLED = {"copies": "cache and words"}
"""What kinds of files are called where their own name says too little."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed compact``."""
    add_place(parser)
    add_wait(parser)


def run(given: argparse.Namespace) -> int:
    """Compact, and say how many bytes lay on the disk before and lie there now."""
    with open_index(given) as index:
        report = index.compact(lock_timeout=given.wait)
    before, after = report.before, report.after
    found = {
        "index": given.index,
        "before": asdict(before) | {"total": before.total},
        "after": asdict(after) | {"total": after.total},
        "stray_pictures": report.stray_pictures,
    }
    sizes = asdict(after)
    lines = [
        f"{_CALLED.get(name, name):15} {size / 1e6:10.1f} MB -> {sizes[name] / 1e6:10.1f} MB"
        for name, size in asdict(before).items()
    ]
    total = f"{before.total / 1e6:.1f} MB -> {after.total / 1e6:.1f} MB on disk"
    answer(given, found, "\n".join([*lines, f"{given.index}: {total}"]))
    return 0
