"""Tables of servers, clients, several indexes, and of what is broken on purpose."""

from __future__ import annotations

from benchmarks.tables.cells import NONE, Lines, Record, grid, number, whole


def serving(record: Record) -> Lines:
    """One served index: a row a crowd of clients."""
    rows = [
        [
            name,
            number(of["requests"]),
            number(of["writes"]),
            f"{of['errors']} / {of['wrong']}",
            f"{of['p50_ms']:.0f}",
            f"{of['p95_ms']:.0f}",
            f"{of['per_second']:.0f}" if "per_second" in of else NONE,
        ]
        for name, of in record["numbers"]["rows"].items()
    ]
    head = ["", "requests", "writes among them", "errors / wrong results", "p50 ms", "p95 ms"]
    return grid([*head, "requests a second"], rows)


def thin_client(record: Record) -> Lines:
    """What a client weighs beside a whole installation."""
    rows = [
        [
            f"`.[{name}]`",
            f"{of['megabytes']:,.0f} MB",
            f"{of['of_checkpoints']:,.0f} MB",
            number(of["packages"]),
            f"{of['import_seconds']:.1f} s",
            f"{of['first_query_seconds']:.1f} s",
            f"{of['peak_mb']:,.0f} MB",
        ]
        for name, of in record["numbers"].items()
    ]
    head = [
        "installed",
        "on disk",
        "of it shipped weights",
        "packages",
        "import",
        "until a query is encoded",
        "memory",
    ]
    return grid(head, rows)


def command_line(record: Record) -> Lines:
    """What a command costs beside its search."""
    rows = [
        [
            f"`{name}`",
            f"{of['cpu_seconds']:.2f} s",
            number(of["modules"]),
            ", ".join(f"{library} {ms:,}" for library, ms in of["libraries_ms"].items()),
        ]
        for name, of in record["numbers"]["rows"].items()
    ]
    return grid(["", "of the processor", "modules", "ms of imports, by library"], rows)


def federation(record: Record) -> Lines:
    """A row a way of searching, a column a way of dealing pages out."""
    of = record["numbers"]["rows"]
    ways = (
        *("vectors, exhaustive", "vectors", "with words", "with words, own counts"),
        "one index, with words",
    )
    rows = [[way, *(f"{one[way]:.3f}" for one in of.values())] for way in ways]
    times = [f"{one['ms']} ({one['one index, ms']})" for one in of.values()]
    rows.append(["ms a search with words (one index)", *times])
    dealt = (f"{name} ({' + '.join(map(str, one['pages']))} pages)" for name, one in of.items())
    return grid(["recall@10", *dealt], rows)


def soak(record: Record) -> Lines:
    """A row a kind; what has to be zero stands last."""
    columns = {
        "cases": "cases",
        "faults injected": "faults",
        "pages lost": "lost",
        "wrong results": "wrong",
        "tracebacks": "tracebacks",
        "hangs": "hangs",
    }
    of = record["numbers"]
    rows = [
        [one["kind"], *(whole(one[key]) for key in columns.values()), f"{one['seconds'] / 60:.1f}"]
        for one in of["kinds"]
    ]
    sums = [whole(sum(one[key] for one in of["kinds"])) for key in columns.values()]
    rows.append(["in all", *sums, f"{of['seconds'] / 60:.1f}"])
    return grid(["kind", *columns, "minutes"], rows)
