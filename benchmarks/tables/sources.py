"""A table, and where its numbers come from: what stands under it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, read
from benchmarks.tables.cells import Lines, Record
from benchmarks.tables.headlines import claims

TIMED = (
    *(
        "encoding_speed",
        "formats",
        "latency",
        "kernels",
        "peers",
        "scaling",
        "indexing",
        "async_retrieval",
        *("serving", "command_line", "thin_client", "federation"),
        "hybrid_speed",
    ),
    *("search_long_pages", "search_short_texts"),
    *("before_after_search", "before_after_pdfs", "before_after_pictures", "checksums"),
    *("soak", "ray", "figures_cost"),
)
"""Records whose tables name the machine."""
OTHERS = ("dense_door",)
"""Records of the quality of another model, which they name."""
_MADE_WITH = {"1b3f3a73": "small", "491426db": "small"}
"""Checkpoints of records that name none, by how their fingerprints begin; others are `mini`."""


@dataclass(frozen=True)
class Table:
    """A table, and the records that it shows.

    Args:
        make: Its lines, from the records in their order.
        sources: Names of the records.
    """

    make: Callable[..., Lines]
    sources: tuple[str, ...]

    def text(self, page: Path) -> str:
        """The table, and where its numbers come from, with links from ``page``."""
        records = {name: read(name) for name in self.sources}
        if self.make is claims:
            return "\n".join(claims(**records))
        told = (_origin(name, record, page) for name, record in records.items())
        return "\n".join([*self.make(*records.values()), "", f"*{'; '.join(told)}.*"])


def checkpoint_of(record: Record) -> str:
    """The shipped checkpoint that a record is of, as it says itself or by its fingerprint."""
    numbers = record["numbers"]
    told = numbers.get("checkpoint") if isinstance(numbers, Mapping) else None
    if isinstance(told, str):
        return told
    return _MADE_WITH.get(record.get("fingerprint", "")[:8], "mini")


def _origin(name: str, record: Record, page: Path) -> str:
    link = Path(os.path.relpath(FOLDER / f"{name}.json", page.parent)).as_posix()
    which = (
        f"`{checkpoint_of(record)}` `{record['fingerprint'][:8]}`, "
        if "fingerprint" in record
        else ""
    )
    if name in OTHERS:
        model = record["numbers"]["model"]
        which = f"`{model['name']}` `{model['fingerprint'][:8]}`, "
    where = f" on {_machine(record['machine'])}" if name in TIMED else ""
    return f"{which}{record['measured']}, `{record['commit']}`{where}: [{name}.json]({link})"


def _machine(machine: Mapping[str, Any]) -> str:
    load = f" at a load of {machine['load']}" if "load" in machine else ""
    return f"{machine['cores']} shared cores of {machine['cpu']}{load}"
