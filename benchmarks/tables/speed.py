"""Tables of what encoding, indexing and searching take."""

from __future__ import annotations

from benchmarks.tables.cells import NONE, Lines, Record, grid, number, whole

LATENCY = {
    "imports of torch, transformers and sentence-transformers": ("imports_seconds", "s"),
    "loading after them": ("loading_seconds", "s"),
    "loading again": ("loading_again_seconds", "s"),
    "a query of median length": ("query_ms", "ms"),
    "a query as long as the longest page": ("query_of_a_whole_page_ms", "ms"),
    "a page of median length": ("page_ms", "ms"),
    "the longest page": ("longest_page_ms", "ms"),
    "pages in batches": ("pages_per_second", "a second"),
}
"""Rows of a latency record: what is measured, its key and its unit."""


def latency(record: Record) -> Lines:
    """Loading and encoding on one thread."""
    of = record["numbers"]
    rows = [[name, f"{number(of[f'{key}_cpu'])} {unit}"] for name, (key, unit) in LATENCY.items()]
    size = f"{of['bytes'] / 1e6:.1f} MB, of which weights {of['weight_bytes'] / 1e6:.1f} MB"
    rows += [["parameters", whole(of["parameters"])], ["on disk", size]]
    return grid(["one thread", "CPU time"], rows)


def encoding_speed(record: Record) -> Lines:
    """Encoding on two threads in several arithmetics."""
    head = ["checkpoint", "arithmetic", "pages a second", "× float32", "ms a query", "least cosine"]
    rows = [
        [
            f"`{one['checkpoint']}`",
            one["arithmetic"],
            number(one["pages_per_second"]),
            f"{one['pages_times_as_fast']:.2f}",
            number(one["query_ms"]),
            f"{min(one['page_cosine_least'], one['query_cosine_least']):.4f}",
        ]
        for one in record["numbers"]["rows"]
    ]
    return grid(head, rows)


def search_ways(record: Record) -> Lines:
    """Time and recall of each way to search."""
    names = {
        ("cascade", "cache"): "default: a cascade",
        ("candidates", "cache"): "`candidates=200`",
        ("auto", "cache"): '`budget="auto"`, calibrated for 0.99',
        ("exhaustive", "cache"): "`exhaustive=True`",
        ("candidates", "chroma"): "out of Chroma's records, `candidates=200` by its graph",
        ("exhaustive", "chroma"): "out of Chroma's records, exhaustive",
    }
    rows = [
        [
            names[one["way"], one["source"]],
            number(one["p50_ms"]),
            number(one["p95_ms"]),
            f"{one['recall@10']:.3g}",
        ]
        for one in record["numbers"]["ways"]
        if (one["way"], one["source"]) in names
    ]
    return grid(["way at (16,64)", "p50 ms", "p95 ms", "recall@10 of the exact top 10"], rows)


def kernels(record: Record) -> Lines:
    """Kernels side by side."""
    rows = [
        [one["kernel"], number(one["cpu_ms"]), f"{one['ratio']:.2f}"]
        for one in record["numbers"]["rows"]
    ]
    return grid(["kernel", "CPU ms", "times the fastest int8 kernel"], rows)


def peers(record: Record) -> Lines:
    """Other libraries at the two larger sizes."""
    rows = []
    for one in record["numbers"]["rows"]:
        if one["pages"] < 10_000:
            continue
        name = f"{one['pages']:,}"
        if one["failed"]:
            rows.append([name, one["name"], one["failed"], *[NONE] * 4])
            continue
        stored = whole(one["bytes_per_page"]) + ("" if one["stores"] else " in memory")
        spent = [number(one[key]) for key in ("cpu_p50_ms", "ms", "p95_ms")]
        rows.append([name, one["name"], stored, *spent, f"{one['recall@10']:.3f}"])
    head = ["pages", "contender", "bytes a page", "CPU p50 ms", "p50 ms", "p95 ms", "recall@10"]
    return grid(head, rows)


def indexing(record: Record) -> Lines:
    """From files to an index."""
    of = record["numbers"]
    parts = ", ".join(f"{name} {spent:.1f} s" for name, spent in of["seconds_of"].items())
    rows = [
        ["pages", f"{whole(of['pages'])}, on {of['threads']} threads of torch"],
        ["pages a second, end to end", number(of["pages_per_second"])],
        ["pages a second of CPU, all threads", number(of["pages_per_cpu_second"])],
        ["peak memory", f"{of['peak_gb']:.2f} GB"],
        ["share of waiting for store and hashing", f"{of['share_of_store_and_hash']:.1%}"],
        [
            "index on disk, pictures and vectors",
            f"{of['index_bytes_per_page'] / 1000:.0f} KB a page",
        ],
        ["where the time goes", parts],
    ]
    return grid(["", "measured"], rows)


def ray(record: Record) -> Lines:
    """Workers of a Ray cluster, beside one process."""
    of = record["numbers"]
    rows = [
        [
            f"Ray, {one['workers']} of them" if one["workers"] else "`sync`, this process alone",
            whole(one["pages"]),
            number(one["pages_per_second_after"]),
            number(one["seconds_to_first_pages"]),
            number(one["seconds"]),
            number(one["load_at_start"]),
        ]
        for one in of["rows"]
    ]
    head = ["workers", "pages", "pages a second after the first", "seconds to the first pages"]
    return grid([*head, "seconds in all", "load at the start"], rows)


def before_after(*records: Record) -> Lines:
    """What work took in an older checkout, and in this one."""
    rows = [
        [
            one["work"],
            whole(one["pages"]),
            *(f"{number(one['cpu'][tree])} {one.get('unit', 's')}" for tree in ("before", "after")),
            "{:.2f} ({:.2f} to {:.2f})".format(one["cpu"]["ratio"], *one["cpu"]["quartiles"]),
            f"{one['wall']['ratio']:.2f}",
        ]
        for record in records
        for one in record["numbers"]["rows"]
    ]
    of = records[0]["numbers"]["before"]
    head = ["work", "pages", f"CPU before (`{of}`)", "CPU now", "ratio (quartiles)", "by the clock"]
    return grid(head, rows)


def checksums(record: Record) -> Lines:
    """What is compared when, and what that takes."""
    of = record["numbers"]
    rows = [[one["when"], one["what"], number(one["cpu_ms"])] for one in of["rows"]]
    head = f"{whole(of['pages'])} pages of {of['vectors']} x {of['dimension']} in int8"
    return grid(["when", head, "CPU ms"], rows)


def hybrid_speed(record: Record) -> Lines:
    """What words add to a search."""
    of = record["numbers"]
    named = {
        "late interaction": "search",
        "hybrid": "hybrid",
        "hybrid, in the two seconds after a write": "hybrid, just after a write",
        "first hybrid search of a process: load the word index": "hybrid, loading BM25",
        "first hybrid search after a change: build it": "hybrid, building BM25",
    }
    return grid(["search", "CPU ms"], [[name, number(of[key])] for name, key in named.items()])


def async_retrieval(record: Record) -> Lines:
    """At once against in sequence."""
    rows = [
        [
            one["framework"],
            f"{one['in_sequence_s']:.2f} s",
            f"{one['at_once_s']:.2f} s",
            f"{one['at_once_s'] / one['in_sequence_s']:.2f}",
            f"{max(one['blocked_ms']):.1f}",
        ]
        for one in record["numbers"]["series"]
    ]
    head = ["", "in sequence", "at once", "ratio", "loop blocked at once, ms at most"]
    return grid(head, rows)
