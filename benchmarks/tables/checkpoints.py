"""What the shipped checkpoints find at each budget and format, and of their training."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.tables.cells import (
    BUDGETS,
    NONE,
    PRESETS,
    SETS,
    SHORT,
    SIZES,
    Lines,
    Record,
    Row,
    found,
    grid,
    interval,
    number,
    percent,
    systems,
    whole,
)

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


def at_a_glance(small: Record) -> Lines:
    """The default checkpoint at two budgets, and as its search is, beside BM25."""
    alone = [(f"`small`, vectors alone, at {size}", "int8", size) for size in (SIZES[0], SIZES[-1])]
    words = [("`small`, the default search", "auto", SIZES[-1])]
    return systems((small,), [*BM25, *alone, *words], SHORT, lambda row: percent(row["ndcg@5"]))


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


def manpages(record: Record) -> Lines:
    """Before and after a small training."""
    names = ("ndcg@5", "recall@10", "precision@1", "after")
    rows = [
        [row["system"], *(percent(row.get(name)) for name in names)]
        for row in record["numbers"]["rows"]
    ]
    head = ["system", "nDCG@5", "recall@10", "precision@1", "nDCG@5 after training"]
    return grid(head, rows)
