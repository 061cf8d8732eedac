"""Tables of hybrid search, wrong answers, long pages, photos and other models."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.tables.cells import NONE, Lines, Record, Row, grid, percent, points, whole


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


def long_pages(record: Record) -> Lines:
    """How often a quotation's page is first, by the third that it stands in."""
    sets = record["numbers"]["sets"]
    rows = []
    for named in sets[0]["rows"]:
        cells = [long_row(named["read"], named["system"], one["rows"]) for one in sets]
        shares = [[percent(cell[third]) for third in ("first", "middle", "last")] for cell in cells]
        rows.append([f"{named['system']}, {named['read']}", *map(" / ".join, shares)])
    return grid(["search, what was read", *(one["set"] for one in sets)], rows)


def long_row(read: str, system: str, rows: Sequence[Row]) -> Row:
    """That of a system over what was read of each page."""
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


def _halves(row: Row | None) -> str:
    return NONE if row is None else f"{percent(row['reporting'])} ({percent(row['choosing'])})"
