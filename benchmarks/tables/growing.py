"""Tables of what grows with the pages: the disk, the memory, the time."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.tables.cells import NONE, Lines, Record, grid, number, whole

_DATABASE = "Chroma's database"


def disk_size(record: Record) -> Lines:
    """Bytes a page by part, now and before."""
    rows = []
    for of in record["numbers"]:
        now, before = of["now"], of["before"]
        parts = now["bytes_per_page"]
        rows.append(
            [
                of["case"],
                whole(now["vectors"]),
                f"{whole(parts[_DATABASE])} ({whole(before['bytes_per_page'][_DATABASE])})",
                whole(parts["Chroma's graph and other files"]),
                whole(parts["vector cache"]),
                f"{whole(now['whole'])} ({whole(before['whole'])})",
                whole(now["estimate"]),
            ]
        )
    titles = ["vectors and text", "vectors", "database (before)", "graph", "vector cache"]
    return grid([*titles, "in all (before)", "`metaembed plan`"], rows)


def scaling(record: Record) -> Lines:
    """Engines by size: what pages take, and the fastest way to each recall."""
    rows = []
    for of in record["numbers"]["rows"]:
        size = f"{of['pages']:,} x {of['vectors']}"
        if of["pages"] != of["asked"]:
            size += f" (of {of['asked']:,} asked)"
        if "earlier" in of:
            size += f", at `{of['earlier']}`"
        if "failed" in of:
            rows.append([size, of["engine"], of["failed"], *[NONE] * 6])
            continue
        at = [_fastest(of["ways"], recall) for recall in (0.95, 0.99)]
        rows.append(
            [
                size,
                of["engine"],
                number(of["pages_per_second"]),
                pages_per_cpu(of),
                number(of["disk_bytes"] / of["pages"] / 1000),
                f"{of['memory_bytes'] / 1e9:.2f}",
                f"{of['opening_s']:.2g} + {of['first_search_s']:.2g}",
                *at,
            ]
        )
    titles = ["pages a second", "a second of CPU", "KB a page on disk", "GB of memory"]
    ways = ["opening + first search, s", "p50 / p95 ms at recall 0.95", "at recall 0.99"]
    return grid(["pages x vectors", "engine", *titles, *ways], rows)


def pages_per_cpu(of: Record) -> str:
    """Pages that a second of CPU stores, where it was measured."""
    added = of["pages"] - of.get("pages_before", 0)
    return number(added / of["ingest_cpu_s"]) if "ingest_cpu_s" in of else NONE


def _fastest(ways: Sequence[Record], recall: float) -> str:
    there = [way for way in ways if (way["recall"] or 0) >= recall]
    if not there:
        best = max((way["recall"] or 0 for way in ways), default=0)
        return f"not reached ({best:.3f})"
    way = min(there, key=lambda one: one["p50_ms"])
    return f"{number(way['p50_ms'])} / {number(way['p95_ms'])}"


_DIMENSION, _VECTORS, _CASCADE = 384, 64, 2.24
"""Of `small`; and page vectors that the cascade reads of a page, 1 + 0.4 + 0.36 + 0.48."""
_SHARD = 10**6
"""Pages of a shard."""


def growth(indexing: Record, peers: Record) -> Lines:
    """What so many pages take, by the formulas of ``docs/scaling.md``."""
    rate = indexing["numbers"]["pages_per_cpu_second"]
    per_second = _bytes_per_core_second(peers)
    rows = []
    for exponent in range(4, 10):
        pages, vector = 10**exponent, _DIMENSION + 2
        read = pages * _CASCADE * vector
        rows.append(
            [
                f"10^{exponent}",
                in_bytes(pages * 16 * vector),
                in_bytes(pages * _VECTORS * vector),
                in_bytes(pages * 85 * _DIMENSION * 4),
                in_bytes(read),
                three_digits(read / per_second),
                three_digits(pages / rate / 3600),
                number(max(1, pages // _SHARD)),
            ]
        )
    head = ["pages N", "vectors, 16 a page", "vectors, 64 a page", "in Qdrant, float32"]
    head += ["read a search", "core-seconds a search", "core-hours to index", "shards of 10^6"]
    return grid(head, rows)


def _bytes_per_core_second(peers: Record) -> float:
    """Bytes of page vectors that a core scores in a second, exhaustively."""
    [row] = [
        one
        for one in peers["numbers"]["rows"]
        if one["name"] == "ours, exhaustive" and one["pages"] == 100_000
    ]
    return float(row["pages"] * row["bytes_per_page"] / (row["cpu_p50_ms"] / 1000))


def in_bytes(count: float) -> str:
    """With a unit of a thousand, a million, …, bytes."""
    units = ("bytes", "KB", "MB", "GB", "TB", "PB")
    step = max(0, min(len(units) - 1, (len(str(int(count))) - 1) // 3))
    return f"{three_digits(count / 1000**step)} {units[step]}"


def three_digits(value: float) -> str:
    """Rounded to three digits, and never with an exponent."""
    return f"{round(float(f'{value:.3g}')):,}" if value >= 100 else f"{value:.3g}"
