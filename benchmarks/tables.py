"""Fill the tables of the documents from ``results/*.json``: `make docs`, or

    python -m benchmarks.tables [--check]

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; NAME is one of :data:`TABLES`.
Under it stand the fingerprint of the checkpoint, the date and the commit of each record. With
``--check`` nothing is written, and the exit code is 1 where a page is not what would be written.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.results import CHECKOUT, FOLDER, read

Record = Mapping[str, Any]
Row = Mapping[str, Any]
Lines = list[str]

PAGES = ("README.md", "RESULTS.md", "metaembed_rag/checkpoints/*/README.md", "docs/*.md")
BUDGETS = ((1, 1), (2, 4), (4, 8), (8, 16), (16, 64))
SIZES = tuple(f"({r_q},{r_c})" for r_q, r_c in BUDGETS)
PRESETS = {(1, 1): " `fast`", (4, 8): " `balanced`", (16, 64): " `full`"}
SETS = {
    "texdoc_pages": "texdoc_pages, text = fused",
    "debian_packages": "debian_packages, text",
    "cranfield": "cranfield, text",
    "OpenCQA, 400 charts (OCR)": "opencqa400, image by OCR",
    "texdoc_pages (OCR)": "texdoc_pages, image by OCR",
}
"""Heading of a column -> the set in the records."""
SHORT = tuple(SETS)[:4]
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
NONE = "–"
_MARK = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


# -- cells -----------------------------------------------------------------------------------


def percent(value: float | None) -> str:
    """With one decimal."""
    return NONE if value is None else f"{100 * value:.1f}"


def points(three: Sequence[float]) -> str:
    """A difference and its interval."""
    mean, low, high = (100 * one for one in three)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def interval(row: Row) -> str:
    """nDCG@5 with its interval, where there is one."""
    ends = [100 * end for end in row.get("ndcg@5_interval", ())]
    return percent(row["ndcg@5"]) + (f" [{ends[0]:.1f}, {ends[1]:.1f}]" if ends else "")


def number(value: float | None) -> str:
    """Three figures, or whole with separators."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def whole(value: int | None) -> str:
    """With separators."""
    return NONE if value is None else f"{value:,}"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    """A Markdown table."""
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def found(records: Sequence[Record], heading: str, system: str, size: str) -> Row | None:
    """A system at a size on a set, from the first record that has it."""
    for record in records:
        for one in record["numbers"]["sets"]:
            if one["set"] == SETS[heading]:
                for row in one["rows"]:
                    if (row["system"], row["size"]) == (system, size):
                        return dict(row)
    return None


def systems(
    records: Sequence[Record],
    named: Sequence[tuple[str, str, str]],
    headings: Sequence[str],
    cell: Callable[[Row], str],
) -> Lines:
    """A row a system, a column a set.

    Args:
        records: Where to look, in this order.
        named: What a row is called, system and size.
        headings: Of the sets.
        cell: What a cell shows.
    """
    rows = []
    for name, system, size in named:
        some = [found(records, heading, system, size) for heading in headings]
        stored = next((one["bytes_per_page"] for one in some if one is not None), None)
        rows.append([name, whole(stored), *(NONE if one is None else cell(one) for one in some)])
    return grid(["system", "bytes a page", *headings], rows)


# -- tables of quality -----------------------------------------------------------------------

MINI = [(f"`mini` at {size}", "int8", size) for size in SIZES]
SMALL = [(f"`small` at {size}", "int8", size) for size in SIZES]
BM25 = [("BM25 plain", "BM25", "plain"), ("BM25 stemmed", "BM25", "stemmed")]
BESIDE = [
    ("one vector, 400 steps", "one vector", "(1,1)"),
    ("64 Ward-pooled token vectors, 800 steps", "Ward", "64"),
]
HYBRID = [(f"hybrid at {size}", "hybrid", size) for size in SIZES]
AUTO = [(f"without options at {size}", "auto", size) for size in SIZES]
FORMATS = ("fp16", "int8", "int4", "bits")
CUT = [f"{name}, {size} values" for name in ("int8", "int4") for size in (128, 64)]


def budgets(quality: Record) -> Lines:
    """What a budget costs, and what it buys."""
    dimension, sets = quality["numbers"]["dimension"], SHORT[:2]
    head = ["budget", "vectors a page", "bytes a page (int8)", "GFLOPs for 100,000 pages"]
    rows = []
    for (r_q, r_c), size in zip(BUDGETS, SIZES, strict=True):
        flops = 2e5 * r_q * r_c * dimension / 1e9
        name = f"({r_q}, {r_c}){PRESETS.get((r_q, r_c), '')}"
        values = [
            percent((found([quality], one, "int8", size) or {}).get("ndcg@5")) for one in sets
        ]
        row = [name, str(r_c), whole(r_c * (dimension + 2)), f"{flops:.2g}"]
        rows.append([*row, *values])
    return grid([*head, *(f"nDCG@5, {one}" for one in sets)], rows)


def results(quality: Record, beside: Record) -> Lines:
    """Beside BM25 and what fits into the same bytes."""
    last = [("`mini` at (16,64) + BM25 (hybrid)", "hybrid", "(16,64)")]
    return systems(
        (quality, beside), [*BM25, *BESIDE, *MINI, *last], SHORT, lambda row: percent(row["ndcg@5"])
    )


def card_quality(quality: Record, ocr: Record, beside: Record) -> Lines:
    """All sets, with intervals."""
    rows = [*MINI, *BESIDE, HYBRID[0], HYBRID[2], HYBRID[4], *BM25]
    return systems((quality, ocr, beside), rows, tuple(SETS), interval)


def card_small(quality: Record, ocr: Record) -> Lines:
    """The default checkpoint with intervals."""
    rows = [*SMALL, AUTO[0], AUTO[2], AUTO[4], HYBRID[4], *BM25]
    return systems((quality, ocr), rows, tuple(SETS), interval)


def both_checkpoints(small: Record, mini: Record) -> Lines:
    """The two shipped checkpoints beside each other and BM25."""
    ends, cell = (SIZES[0], SIZES[2], SIZES[-1]), lambda row: percent(row["ndcg@5"])

    def rows(name: str, words: str) -> list[tuple[str, str, str]]:
        alone = [(f"`{name}` at {size}", "int8", size) for size in ends]
        return [*alone, (f"`{name}` at {SIZES[-1]} + BM25 ({words})", words, SIZES[-1])]

    head = systems((small,), [*BM25, *rows("small", "auto")], SHORT, cell)
    return [*head, *systems((mini,), rows("mini", "hybrid"), SHORT, cell)[2:]]


def card_formats(quality: Record, ocr: Record) -> Lines:
    """Formats and prefixes in full."""
    rows = [(name, name, "(16,64)") for name in ("fp32", *FORMATS, *CUT)]
    return systems((quality, ocr), rows, tuple(SETS), lambda row: percent(row["ndcg@5"]))


def formats_everywhere(quality: Record) -> Lines:
    """Every format and prefix at every budget."""
    rows = [(f"{name} {size}", name, size) for name in ("fp32", *FORMATS, *CUT) for size in SIZES]
    cell: Callable[[Row], str] = lambda row: f"{percent(row['ndcg@5'])} ({percent(row['ndcg@10'])})"  # noqa: E731
    return systems((quality,), rows, SHORT, cell)


def pooling(quality: Record, ocr: Record, beside: Record) -> Lines:
    """Pooled late interaction beside Meta Tokens of as many bytes."""
    named = []
    for count, size in ((1, "(1,1)"), (4, "(2,4)"), (16, "(8,16)"), (64, "(16,64)")):
        named += [(f"{way}, {count}", way, str(count)) for way in ("coverage", "Ward")]
        named.append((f"`mini`, {count}", "int8", size))
    return systems((quality, ocr, beside), named, tuple(SETS), interval)


def formats(record: Record) -> Lines:
    """Bytes, quality and time of each format at each budget."""
    rows = {(one["format"], tuple(one["budget"])): one for one in record["numbers"]["rows"]}
    shown = ("int8", "int4", "bits", "fp16")
    body = []
    for budget, size in zip(BUDGETS, SIZES, strict=True):
        some = [rows[name, budget] for name in shown]
        body.append(
            [
                size,
                *(
                    f"{whole(one['bytes_per_page'])} / {percent(one['ndcg@10'])} / "
                    f"{number(one['ms'])}"
                    for one in some
                ),
            ]
        )
    return grid(["budget", *(f"{name}: bytes a page / nDCG@10 / ms" for name in shown)], body)


def formats_kept(record: Record) -> Lines:
    """What a format keeps of float32."""
    rows = {(one["format"], tuple(one["budget"])): one for one in record["numbers"]["rows"]}
    three = ((1, 1), (4, 8), (16, 64))
    body = []
    for name in ("fp32", *FORMATS):
        full = rows[name, (16, 64)]
        quality = [percent(rows[name, budget]["ndcg@10"]) for budget in three]
        body.append(
            [f"`{name}`", whole(full["bytes_per_page"]), *quality, percent(full["kept@10"])]
        )
    head = ["format", "bytes a page at (16,64)", *(f"nDCG@10 at ({a},{b})" for a, b in three)]
    return grid([*head, "kept@10 at (16,64)"], body)


def hybrid(record: Record) -> Lines:
    """Every way to fuse beside each part alone."""
    return _fusions(record["numbers"]["evaluation"])


def hybrid_choices(record: Record) -> Lines:
    """Mean and least gain of each pair of weights."""
    chosen = record["numbers"]["choices"]
    pairs, weights = (sorted({one[key] for one in chosen}) for key in ("pairs", "bm25"))
    of = {(one["pairs"], one["bm25"]): one for one in chosen}
    rows = [
        [
            f"{pair:g}",
            *(
                f"{percent(of[pair, one]['mean'])} ({100 * of[pair, one]['least gain']:+.1f})"
                for one in weights
            ),
        ]
        for pair in pairs
    ]
    return grid(["pairs count", *(f"BM25 counts {one}" for one in weights)], rows)


def fusion(record: Record) -> Lines:
    """Every way to fuse on each validation set at three budgets, by its mean; the best first."""
    numbers = record["numbers"]
    sets = [one for several in numbers["sets"].values() for one in several]
    head = ["method", *(one["dataset"] for one in sets), "mean", "least gain over BM25"]
    rows = [
        [f"BM25 {name}", *(percent(one["bm25"][name]) for one in sets), NONE, NONE]
        for name in sets[0]["bm25"]
    ]
    rows.append(["vectors alone", *(_three(one["vectors"]) for one in sets), NONE, NONE])
    for row in numbers["summary"]:
        name = row["method"]
        values = [_three(one["methods"][name]) for one in sets]
        gain = f"{100 * row['least gain']:+.1f}"
        rows.append([f"`{name}`", *values, percent(row["mean"]), gain])
    return grid(head, rows)


def _three(values: Sequence[float]) -> str:
    return " / ".join(map(percent, values))


def confidence(record: Record) -> Lines:
    """What ``min_confidence=0.95`` drops and lets through, on each set."""
    rows = []
    for one in record["numbers"]["sets"]:
        for row in one["rows"]:
            of = row["levels"]["0.95"]
            ways = "vectors and words" if row["hybrid"] else "vectors"
            shares = (percent(of[name]) for name in ("misses", "false alarms", "strangers"))
            place = (one["dataset"], f"({row['budget']})", ways)
            rows.append([*place, *shares, f"{row['auc']:.3f}"])
    head = ["set", "budget", "search by", "misses, %", "false alarms, %", "strangers, %", "AUC"]
    return grid(head, rows)


def _fusions(sets: Sequence[Row]) -> Lines:
    ways = ("late interaction", "rrf", "no pairs", "every page", "hybrid")
    head = ["set", "budget", *(f"BM25 {name}" for name in sets[0]["bm25"]), *ways]
    rows = [
        [
            one["dataset"],
            f"({row['budget']})",
            *map(percent, one["bm25"].values()),
            *(percent(row[way]) for way in ways),
            points(row["gain"]),
        ]
        for one in sets
        for row in one["results"]
    ]
    return grid([*head, "over the better BM25"], rows)


def wrong_answers(record: Record) -> Lines:
    """How many queries of each kind."""
    head = ["set", "kind", "queries", "first page of the same document", "right page in the top 5"]
    rows = [
        [
            row["set"],
            row["kind"],
            f"{row['wrong']} of {row['queries']} ({row['wrong'] / row['queries']:.0%})",
            str(row["same_document"]),
            str(row["right_in_top_5"]),
        ]
        for row in record["numbers"]
    ]
    return grid(head, rows)


def training_curve(record: Record) -> Lines:
    """Validation through the shipped training."""
    head = ["steps", "TeX titles (1,1) / (4,8) / (16,64)", "Debian", "OpenCQA answers"]
    rows = [
        [
            row["steps"],
            *(" / ".join(f"{one:.3f}" for one in row[key]) for key in ("tex", "debian", "opencqa")),
            NONE if row["effective_rank"] is None else f"{row['effective_rank']:.1f}",
        ]
        for row in record["numbers"]["rows"]
    ]
    return grid([*head, "effective rank on titles"], rows)


def long_pages(record: Record) -> Lines:
    """How often a quotation's page is first, by the third that it stands in."""
    sets = record["numbers"]["sets"]
    rows = []
    for named in sets[0]["rows"]:
        cells = [_long_row(named["read"], named["system"], one["rows"]) for one in sets]
        shares = [[percent(cell[third]) for third in ("first", "middle", "last")] for cell in cells]
        rows.append([f"{named['system']}, {named['read']}", *map(" / ".join, shares)])
    return grid(["search, what was read", *(one["set"] for one in sets)], rows)


def _long_row(read: str, system: str, rows: Sequence[Row]) -> Row:
    return next(one for one in rows if (one["read"], one["system"]) == (read, system))


def dense_door(record: Record) -> Lines:
    """A set's row at one and at all query vectors; whole coverings of a page as columns."""
    sets = record["numbers"]["sets"]
    of = {(one["set"], *row["budget"]): row for one in sets for row in one["rows"]}
    counts = sorted({r_q for _, r_q, _ in of}), sorted({r_c for _, _, r_c in of})
    rows = [
        [one["set"], str(r_q), *(percent(of[one["set"], r_q, r_c]["ndcg@5"]) for r_c in counts[1])]
        for one in sets
        for r_q in counts[0]
    ]
    stored = {r_c: row["bytes_per_page"] for (_, _, r_c), row in of.items()}
    last = ["bytes a page", "", *(whole(stored[r_c]) for r_c in counts[1])]
    return grid(["nDCG@5", "r_q", *(f"r_c = {r_c}" for r_c in counts[1])], [*rows, last])


def photos(record: Record) -> Lines:
    """What a page holds, down; who searches, across: half for reporting (half for choosing)."""
    numbers = record["numbers"]
    told = {
        "labels": "five labels",
        "visual words": "visual words: with synonyms and broader terms",
        "vectors": "no text: mean of the vectors of 30 labels",
        "vectors, with synonyms": "the same, with synonyms",
    }
    rows = []
    for held, name in told.items():
        sizes = numbers["checkpoint"].get(held, {})
        some = [numbers["bm25"].get(held), sizes.get("1,1"), sizes.get("16,64")]
        rows.append([name, *map(_halves, [*some, numbers["sentences"].get(held)])])
    model = numbers.get("model", "mini")  # older records do not name it
    head = ["nDCG@5 of what the page holds", "BM25", f"`{model}` (1,1)", f"`{model}` (16,64)"]
    return grid([*head, "all-MiniLM-L6-v2"], rows)


def pointing(record: Record) -> Lines:
    """Whether the best passage is where the title stands, beside two baselines, at each budget."""
    numbers = record["numbers"]
    rows = [
        [
            f"({row['budget'][0]},{row['budget'][1]})",
            *(percent(row[name]) for name in ("explained", "most_words", "random", "area")),
            f"{row['pieces']:.0f}, {row['pieces'] * numbers['cpu_ms_a_piece'] / 1000:.2f} s",
        ]
        for row in numbers["rows"]
    ]
    head = ["best passage of `small`", "most query words", "random", "its area, of the page"]
    placed = f"budget ({numbers['placed']} of {numbers['queries']} titles placed)"
    return grid([placed, *head, "pieces a page, CPU time"], rows)


def figures(record: Record) -> Lines:
    """Charts inside of pages: what is found with OCR off and on."""
    numbers = record["numbers"]
    told = {"never": "off", "auto": "on (`auto`)"}
    rows = [
        [name, percent(numbers[ocr]["vectors"]), percent(numbers[ocr]["hybrid"])]
        for ocr, name in told.items()
    ]
    asked = f"OCR ({numbers['charts']} pages with a chart and a question each)"
    return grid([asked, f"nDCG@5, `{numbers['model']}`", "nDCG@5, hybrid"], rows)


def figures_cost(record: Record) -> Lines:
    """CPU seconds a page: without figures, with figures drawn, with figures read."""
    rows = [
        [
            one["what"],
            f"{one['with_figures']} of {one['pages']}",
            f"{one['loaded']:.3f}",
            f"{one['drawn']:.3f}",
            f"{one['drawn'] + one['read']:.2f}",
        ]
        for one in record["numbers"]["costs"]
    ]
    head = ["CPU seconds a page", "pages with figures", "loaded", "figures drawn", "figures read"]
    return grid(head, rows)


def _halves(row: Row | None) -> str:
    return NONE if row is None else f"{percent(row['reporting'])} ({percent(row['choosing'])})"


def manpages(record: Record) -> Lines:
    """Before and after a small training."""
    names = ("ndcg@5", "recall@10", "precision@1", "after")
    rows = [
        [row["system"], *(percent(row.get(name)) for name in names)]
        for row in record["numbers"]["rows"]
    ]
    head = ["system", "nDCG@5", "recall@10", "precision@1", "nDCG@5 after training"]
    return grid(head, rows)


# -- tables of speed -------------------------------------------------------------------------


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
        if "failed" in of:
            rows.append([size, of["engine"], of["failed"], *[NONE] * 6])
            continue
        at = [_fastest(of["ways"], recall) for recall in (0.95, 0.99)]
        rows.append(
            [
                size,
                of["engine"],
                number(of["pages_per_second"]),
                _pages_per_cpu(of),
                number(of["disk_bytes"] / of["pages"] / 1000),
                f"{of['memory_bytes'] / 1e9:.2f}",
                f"{of['opening_s']:.2g} + {of['first_search_s']:.2g}",
                *at,
            ]
        )
    titles = ["pages a second", "a second of CPU", "KB a page on disk", "GB of memory"]
    ways = ["opening + first search, s", "p50 / p95 ms at recall 0.95", "at recall 0.99"]
    return grid(["pages x vectors", "engine", *titles, *ways], rows)


def _pages_per_cpu(of: Record) -> str:
    return number(of["pages"] / of["ingest_cpu_s"]) if "ingest_cpu_s" in of else NONE


def _fastest(ways: Sequence[Record], recall: float) -> str:
    there = [way for way in ways if (way["recall"] or 0) >= recall]
    if not there:
        best = max((way["recall"] or 0 for way in ways), default=0)
        return f"not reached ({best:.3f})"
    way = min(there, key=lambda one: one["p50_ms"])
    return f"{number(way['p50_ms'])} / {number(way['p95_ms'])}"


def _of_pictures(record: Record) -> str:
    before, now = record["numbers"]
    same = f"{now['same_letters']} of {now['pictures']} ({before['same_letters']} before)"
    size = f"{whole(now['bytes'])} bytes a picture ({whole(before['bytes'])} before)"
    return f"{size}; OCR reads the same letters on {same}"


def _of_scaling(record: Record) -> str:
    ours = [row for row in record["numbers"]["rows"] if row["engine"] == "ours"]
    most = max(ours, key=lambda row: row["pages"] * row["vectors"])
    return (
        f"{most['pages']:,} pages of {most['vectors']} vectors: p50 at recall 0.99 "
        f"{_fastest(most.get('ways', ()), 0.99)} ms"
    )


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


# -- the list of claims ----------------------------------------------------------------------


def _of_quality(record: Record) -> str:
    one, full = ([_ndcg(record, name, size) for name in SHORT] for size in (SIZES[0], SIZES[-1]))
    return f"(1,1) {' / '.join(one)}, (16,64) {' / '.join(full)} on {', '.join(SHORT)}"


def _ndcg(record: Record, heading: str, size: str, system: str = "int8") -> str:
    return percent((found([record], heading, system, size) or {}).get("ndcg@5"))


def _of_ocr(record: Record) -> str:
    (name,) = tuple(SETS)[4:]
    return f"(16,64) {_ndcg(record, name, SIZES[-1])} on {name}"


def _of_beside(record: Record) -> str:
    one = _ndcg(record, "texdoc_pages", "(1,1)", "one vector")
    return f"texdoc_pages: one vector {one}, 64 Ward {_ndcg(record, 'texdoc_pages', '64', 'Ward')}"


def _of_formats(record: Record) -> str:
    full = {one["format"]: one for one in record["numbers"]["rows"] if one["budget"] == [16, 64]}
    told = (f"{name} {percent(full[name]['ndcg@10'])}" for name in ("fp32", "int8", "int4", "bits"))
    return f"nDCG@10 at (16,64): {', '.join(told)}"


def _of_hybrid(record: Record) -> str:
    sets = record["numbers"]["evaluation"]
    told = (f"{one['dataset']} {points(one['results'][-1]['gain'])}" for one in sets)
    return f"over the better BM25 at (16,64): {'; '.join(told)}"


def _of_choices(record: Record) -> str:
    best = max(record["numbers"]["choices"], key=lambda one: one["mean"])
    return f"pairs {best['pairs']:g}, BM25 {best['bm25']}: mean nDCG@5 {percent(best['mean'])}"


def _of_fusion(record: Record) -> str:
    auto = next(one for one in record["numbers"]["summary"] if one["method"] == "auto")
    return f"`auto`: mean {percent(auto['mean'])}, least gain {100 * auto['least gain']:+.1f}"


def _of_confidence(record: Record) -> str:
    levels = [row["levels"]["0.95"] for one in record["numbers"]["sets"] for row in one["rows"]]
    missed, wrong = (
        [percent(level[name]) for level in sorted(levels, key=lambda level: level[name])]
        for name in ("misses", "false alarms")
    )
    return f"at 0.95: misses {missed[0]} to {missed[-1]}, false alarms {wrong[0]} to {wrong[-1]} %"


def _of_wrong(record: Record) -> str:
    every = [one for one in record["numbers"] if one["kind"] == "all"]
    return "; ".join(f"{one['set']}: {one['wrong']} of {one['queries']}" for one in every)


def _of_latency(record: Record) -> str:
    of = record["numbers"]
    return f"query {number(of['query_ms_cpu'])} ms, page {number(of['page_ms_cpu'])} ms of CPU"


def _of_encoding(record: Record) -> str:
    first, second = record["numbers"]["rows"][:2]
    told = [f"{number(one['pages_per_second'])} in {one['arithmetic']}" for one in (first, second)]
    return f"`{first['checkpoint']}`: {', '.join(told)} pages a second"


def _of_ways(record: Record) -> str:
    ways = {(one["way"], one["source"]): one for one in record["numbers"]["ways"]}
    default, exact = ways["cascade", "cache"], ways["exhaustive", "cache"]
    told = f"default {number(default['p50_ms'])} ms at recall {default['recall@10']:.3f}"
    return f"{told}, exhaustive {number(exact['p50_ms'])} ms"


def _of_kernels(record: Record) -> str:
    ratio = next(o["ratio"] for o in record["numbers"]["rows"] if o["kernel"] == "torch fp32")
    return f"torch float32 takes {ratio:.1f} times as long"


def _of_peers(record: Record) -> str:
    large = {o["name"]: o for o in record["numbers"]["rows"] if o["pages"] == 100_000}
    ours, torch = (large[n]["cpu_p50_ms"] for n in ("ours, exhaustive", "torch fp32, brute force"))
    return f"100,000 pages: {ours:.0f} ms of CPU, torch float32 {torch:.0f} ms"


def _of_ray(record: Record) -> str:
    rates = [number(one["pages_per_second_after"]) for one in record["numbers"]["rows"]]
    return f"{rates[1]} pages a second by 1 worker, {rates[2]} by 2, {rates[0]} without Ray"


def _of_indexing(record: Record) -> str:
    of = record["numbers"]
    return f"{number(of['pages_per_cpu_second'])} pages a second of CPU, {of['peak_gb']:.2f} GB"


def _of_before_after(record: Record) -> str:
    ratios = {one["work"]: one["cpu"]["ratio"] for one in record["numbers"]["rows"]}
    least, most = (end(ratios, key=lambda one: ratios[one]) for end in (min, max))
    told = dict.fromkeys((least, most))
    return "CPU, times as much: " + "; ".join(f"{work} {ratios[work]:.2f}" for work in told)


def _of_checksums(record: Record) -> str:
    opened = next(one for one in record["numbers"]["rows"] if one["when"] == "open")
    return f"{opened['what']} opened in {number(opened['cpu_ms'])} ms of CPU"


def _of_disk(record: Record) -> str:
    of = record["numbers"][0]
    now, before = (of[form]["records_times_the_vectors"] for form in ("now", "before"))
    near = of["now"]["estimate"] / of["now"]["whole"] - 1
    return f"records {now} times the vectors ({before} before), the estimate {near:+.1%} off"


def _of_hybrid_speed(record: Record) -> str:
    of = record["numbers"]
    return f"{number(of['hybrid'])} ms of CPU beside {number(of['search'])} ms"


def _of_async(record: Record) -> str:
    series = record["numbers"]["series"]
    ratios = [one["at_once_s"] / one["in_sequence_s"] for one in series]
    told = sorted({f"{one:.2f}" for one in ratios})
    return f"{' to '.join(dict.fromkeys((told[0], told[-1])))} of the time"


def _of_serving(record: Record) -> str:
    rows = record["numbers"]["rows"]
    bare, crowd = rows["bare search, in the process"], list(rows.values())[-1]
    wrong = crowd["errors"] + crowd["wrong"]
    return (
        f"{crowd['requests']:,} requests of {crowd['clients']} clients: {wrong} errors and wrong "
        f"results, p50 {crowd['p50_ms']:.0f} ms, p95 {crowd['p95_ms']:.0f} ms "
        f"(bare: {bare['p50_ms']:.0f}, {bare['p95_ms']:.0f})"
    )


def _of_thin_client(record: Record) -> str:
    client, local = (record["numbers"][name] for name in ("client", "local"))
    return (
        f"{client['megabytes']:,.0f} MB of {local['megabytes']:,.0f}, imported in "
        f"{client['import_seconds']:.1f} s of {local['import_seconds']:.1f}, a query encoded after "
        f"{client['first_query_seconds']:.1f} s of {local['first_query_seconds']:.1f}"
    )


def _of_command_line(record: Record) -> str:
    rows = record["numbers"]["rows"].items()
    return ", ".join(f"`{name}` {of['cpu_seconds']:.2f} CPU s" for name, of in rows)


def _of_federation(record: Record) -> str:
    of = record["numbers"]["rows"].items()
    return "with words, shards " + ", ".join(f"{name} {one['with words']:.3f}" for name, one in of)


def _of_curve(record: Record) -> str:
    shipped = record["numbers"]["rows"][-1]
    return f"shipped: (16,64) {shipped['tex'][2]} on TeX titles"


def _of_manpages(record: Record) -> str:
    last = record["numbers"]["rows"][-1]
    return f"nDCG@5 at (16,64) from {percent(last['ndcg@5'])} to {percent(last['after'])}"


def _of_dense_door(record: Record) -> str:
    told = []
    for one in record["numbers"]["sets"]:
        of = {tuple(row["budget"]): percent(row["ndcg@5"]) for row in one["rows"]}
        told.append(f"{one['set']} {of[1, 1]}, {of[1, 64]}, {of[16, 64]}")
    return f"{record['numbers']['model']['name']} at (1,1), (1,64), (16,64): {'; '.join(told)}"


def _of_photos(record: Record) -> str:
    words = record["numbers"]["checkpoint"]["visual words"]
    told = [f"({size}) {percent(words[size]['reporting'])}" for size in ("1,1", "16,64")]
    return f"visual words: {', '.join(told)}"


def _of_pointing(record: Record) -> str:
    row = record["numbers"]["rows"][0]
    names = {"explained": "explained", "most_words": "most words", "random": "random"}
    return ", ".join(f"{told} {percent(row[name])}" for name, told in names.items())


def _of_long_pages(record: Record) -> str:
    rows = [one["rows"] for one in record["numbers"]["sets"]]
    told = []
    for system in ("(16,64)", "(16,64) hybrid"):
        last = [found["last"] for found in map(partial(_long_row, "whole text", system), rows)]
        told.append(f"{system} from {percent(min(last))} to {percent(max(last))}")
    return f"from the last third: {', '.join(told)}"


def _of_soak(record: Record) -> str:
    made = ", ".join(
        f"{whole(count)} {name}" for name, count in record["numbers"]["counts"].items()
    )
    bad = ("lost", "wrong", "tracebacks", "hangs")
    zero = sum(one[key] for one in record["numbers"]["kinds"] for key in bad)
    return f"{made}: {whole(zero)} lost, wrong, tracebacks or hangs"


def _of_figures(record: Record) -> str:
    off, on = (percent(record["numbers"][ocr]["vectors"]) for ocr in ("never", "auto"))
    return f"nDCG@5 without OCR {off}, with it {on}"


def _of_figures_cost(record: Record) -> str:
    one, *_ = record["numbers"]["costs"]
    read = one["drawn"] + one["read"]
    return f"{read:.2f} CPU seconds a page with a chart, {one['loaded']:.3f} without OCR"


HEADLINES: dict[str, Callable[[Record], str]] = {
    "quality": _of_quality,
    "quality_small": _of_quality,
    "quality_ocr": _of_ocr,
    "quality_ocr_small": _of_ocr,
    "beside": _of_beside,
    "long_pages": _of_long_pages,
    "dense_door": _of_dense_door,
    "photos": _of_photos,
    "figures": _of_figures,
    "figures_cost": _of_figures_cost,
    "pointing": _of_pointing,
    "formats": _of_formats,
    "hybrid": _of_hybrid,
    "hybrid_development": _of_choices,
    "fusion": _of_fusion,
    "confidence": _of_confidence,
    "wrong_answers": _of_wrong,
    "training_curve": _of_curve,
    "manpages": _of_manpages,
    "encoding_speed": _of_encoding,
    "latency": _of_latency,
    "search_short_texts": _of_ways,
    "search_long_pages": _of_ways,
    "hybrid_speed": _of_hybrid_speed,
    "kernels": _of_kernels,
    "peers": _of_peers,
    "indexing": _of_indexing,
    "ray": _of_ray,
    "before_after_search": _of_before_after,
    "before_after_pdfs": _of_before_after,
    "before_after_pictures": _of_before_after,
    "checksums": _of_checksums,
    "disk": _of_disk,
    "pictures": _of_pictures,
    "scaling": _of_scaling,
    "async_retrieval": _of_async,
    "serving": _of_serving,
    "command_line": _of_command_line,
    "federation": _of_federation,
    "soak": _of_soak,
    "thin_client": _of_thin_client,
}
"""Record -> the number that stands for it; each record has a row in RESULTS.md."""


def claims(**records: Record) -> Lines:
    """A row a record."""
    rows = [
        [
            f"[{record['claim']}](results/{name}.json)",
            HEADLINES[name](record),
            f"`{record['command']}`",
            f"{record['measured']}, `{record['commit']}`",
            f"`{record['fingerprint'][:8]}`" if "fingerprint" in record else NONE,
        ]
        for name, record in records.items()
    ]
    return grid(["claim", "number", "command", "measured", "checkpoint"], rows)


# -- pages -----------------------------------------------------------------------------------


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


TABLES: dict[str, Table] = {
    "budgets": Table(budgets, ("quality_small",)),
    "encoding_speed": Table(encoding_speed, ("encoding_speed",)),
    "formats": Table(formats, ("formats",)),
    "formats_kept": Table(formats_kept, ("formats",)),
    "formats_everywhere": Table(formats_everywhere, ("quality_small",)),
    "results": Table(results, ("quality", "beside")),
    "card_quality": Table(card_quality, ("quality", "quality_ocr", "beside")),
    "card_small": Table(card_small, ("quality_small", "quality_ocr_small")),
    "both_checkpoints": Table(both_checkpoints, ("quality_small", "quality")),
    "card_formats": Table(card_formats, ("quality", "quality_ocr")),
    "pooling": Table(pooling, ("quality", "quality_ocr", "beside")),
    "hybrid": Table(hybrid, ("hybrid",)),
    "hybrid_choices": Table(hybrid_choices, ("hybrid_development",)),
    "fusion": Table(fusion, ("fusion",)),
    "confidence": Table(confidence, ("confidence",)),
    "hybrid_speed": Table(hybrid_speed, ("hybrid_speed",)),
    "wrong_answers": Table(wrong_answers, ("wrong_answers",)),
    "training_curve": Table(training_curve, ("training_curve",)),
    "long_pages": Table(long_pages, ("long_pages",)),
    "dense_door": Table(dense_door, ("dense_door",)),
    "photos": Table(photos, ("photos",)),
    "figures": Table(figures, ("figures",)),
    "figures_cost": Table(figures_cost, ("figures_cost",)),
    "pointing": Table(pointing, ("pointing",)),
    "manpages": Table(manpages, ("manpages",)),
    "latency": Table(latency, ("latency",)),
    "search_long_pages": Table(search_ways, ("search_long_pages",)),
    "search_short_texts": Table(search_ways, ("search_short_texts",)),
    "kernels": Table(kernels, ("kernels",)),
    "peers": Table(peers, ("peers",)),
    "indexing": Table(indexing, ("indexing",)),
    "ray": Table(ray, ("ray",)),
    "before_after": Table(
        before_after, ("before_after_pdfs", "before_after_pictures", "before_after_search")
    ),
    "checksums": Table(checksums, ("checksums",)),
    "disk_size": Table(disk_size, ("disk",)),
    "scaling": Table(scaling, ("scaling",)),
    "async_retrieval": Table(async_retrieval, ("async_retrieval",)),
    "serving": Table(serving, ("serving",)),
    "command_line": Table(command_line, ("command_line",)),
    "federation": Table(federation, ("federation",)),
    "growth": Table(growth, ("indexing", "peers")),
    "thin_client": Table(thin_client, ("thin_client",)),
    "soak": Table(soak, ("soak",)),
    "claims": Table(claims, tuple(HEADLINES)),
}


def pages(root: Path = CHECKOUT) -> list[Path]:
    """Those that may hold tables."""
    return sorted(path for pattern in PAGES for path in root.glob(pattern))


def filled(text: str, page: Path) -> str:
    """The page with its tables as they are now.

    Raises:
        ValueError: A table that is not known, or a mark without its other one.
    """
    if text.count("<!-- table: ") != text.count("<!-- end -->"):
        raise ValueError(f"{page.name}: each <!-- table: NAME --> needs an <!-- end -->")

    def one(mark: re.Match[str]) -> str:
        if mark[1] not in TABLES:
            raise ValueError(f"{page.name}: no table {mark[1]!r}; there are {', '.join(TABLES)}")
        return f"<!-- table: {mark[1]} -->\n\n{TABLES[mark[1]].text(page)}\n\n<!-- end -->"

    return _MARK.sub(one, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or say which differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where pages differ")
    given = parser.parse_args(arguments)
    changed = []
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = filled(before, page)
        if after != before:
            changed.append(page.relative_to(CHECKOUT).as_posix())
            if not given.check:
                page.write_text(after, encoding="utf-8")
    for name in changed:
        print(f"{name}: {'not what results/ says; run make docs' if given.check else 'written'}")
    return 1 if given.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
