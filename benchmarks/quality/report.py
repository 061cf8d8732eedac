"""What ``checkpoint.py`` found, as tables, and targets met and missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import LATENCY
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import bootstrap_interval

SIZES = tuple(f"({budget})" for budget in RetrievalBudget.paper())
"""Labels of the five budgets, from small to full."""
SMALL, FULL = SIZES[0], SIZES[-1]
POOLED = {"1": "(1,1)", "4": "(2,4)", "16": "(8,16)", "64": "(16,64)"}
"""Vectors a page of pooling -> the budget that stores as many."""
OTHERS = ("hybrid", "auto", "one vector")
"""Systems at budgets that are no format of the checkpoint's."""
AHEAD = ("1", "4", "16")
"""Sizes at which Meta Tokens are to be ahead of Ward pooling; at 64, not behind."""

ABSOLUTE = {
    "cpu": {"texdoc_pages": 0.70, "debian_packages": 0.79, "cranfield": 0.27},
    "gpu": {"texdoc_pages": 0.80, "debian_packages": 0.84, "cranfield": 0.30},
}
"""nDCG@5 of texts at (16,64) that were aimed at, by what the checkpoint was trained on."""
IMAGE_ALONE = 0.20
"""The same of texdoc_pages' pictures without OCR, for a checkpoint trained on a GPU."""
GAIN, SLACK, ROUNDING = 0.02, 0.005, 0.005
KIB, RELATIVE = 4.5 * 1024, 0.01
LOADING, QUERY_MS, PAGE_MS, MEGABYTES = 2.0, 60.0, 500.0, 60.0


@dataclass(frozen=True)
class Row:
    """One system at one size on one set.

    Args:
        system: ``BM25``, ``one vector``, ``Ward``, ``coverage``, ``hybrid``, ``auto``, or a format
            of the checkpoint's vectors such as ``int8`` or ``int8, 128 values``.
        size: A budget such as ``(16,64)``, a number of vectors, or a variant.
        bytes: Stored bytes of a page that it reads; None where it stores no vectors.
        values: Metric -> its value for each query.
    """

    system: str
    size: str
    bytes: int | None
    values: dict[str, list[float]]

    def per_query(self, metric: str = "ndcg@5") -> NDArray[np.float64]:
        """Shape (queries,)."""
        return np.array(self.values[metric])

    def mean(self, metric: str = "ndcg@5") -> float:
        """Over the queries."""
        return float(self.per_query(metric).mean())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of the mean nDCG@5."""
        return bootstrap_interval(self.per_query())

    def to_dict(self) -> dict[str, Any]:
        """Means, with the interval of nDCG@5."""
        return {
            "system": self.system,
            "size": self.size,
            "bytes_per_page": self.bytes,
            **{metric: round(self.mean(metric), 4) for metric in self.values},
            "ndcg@5_interval": [round(end, 4) for end in self.interval],
        }


@dataclass(frozen=True)
class SetResult:
    """All systems on one set; ``rows`` by system and size."""

    label: str
    dataset: str
    modes: Sequence[str]
    by_ocr: bool
    queries: int
    pages: int
    skipped: Sequence[str]
    rows: Mapping[tuple[str, str], Row]

    def better_bm25(self) -> Row:
        """The variant with the higher mean nDCG@5."""
        return max((self.rows["BM25", name] for name in ("plain", "stemmed")), key=Row.mean)

    def budgets(self) -> list[str]:
        """Labels of the checkpoint's budgets."""
        return [size for size in SIZES if ("int8", size) in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "set": self.label,
            "queries": self.queries,
            "pages": self.pages,
            "skipped": list(self.skipped),
            "rows": [row.to_dict() for row in self.rows.values()],
        }


@dataclass(frozen=True)
class Target:
    """Something that was aimed at, and what came of it."""

    name: str
    where: str
    met: bool
    numbers: str


@dataclass(frozen=True)
class Report:
    """Everything that ``checkpoint.py`` found."""

    checkpoint: str
    fingerprint: str
    dimension: int
    reads_images: bool
    sets: Sequence[SetResult]
    refused: Sequence[str]
    latency: Mapping[str, Any]

    def to_dict(self, kind: str) -> dict[str, Any]:
        """For JSON; ``kind`` chooses the targets."""
        return {
            "checkpoint": self.checkpoint,
            "dimension": self.dimension,
            "sets": [one.to_dict() for one in self.sets],
            "refused": list(self.refused),
            "latency": dict(self.latency),
            "targets": [vars(target) for target in targets(self, kind)],
        }


# -- targets ---------------------------------------------------------------------------------


def targets(report: Report, kind: str = "cpu") -> list[Target]:
    """Each target on each set that it speaks of; ``kind`` is ``cpu`` or ``gpu``.

    *Ahead* is a mean difference over 0, *not behind* one whose 95 % interval reaches 0. Formats
    are compared at equal budgets; everything else is int8, as an index stores it.
    """
    found = [target for one in report.sets for target in _of_set(one, kind)]
    if any(("int8", FULL) in one.rows and ("fp32", FULL) in one.rows for one in report.sets):
        found.append(_small_enough(report))
    return [*found, *_of_speed(report.latency)]


def _of_set(one: SetResult, kind: str) -> Iterator[Target]:
    goal = ABSOLUTE[kind].get(one.dataset) if "text" in one.modes else None
    if kind == "gpu" and one.dataset == "texdoc_pages" and one.modes == ("image",):
        goal = None if one.by_ocr else IMAGE_ALONE
    if goal is not None and ("int8", FULL) in one.rows:
        reached = one.rows["int8", FULL].mean()
        yield _target(f"{FULL} at least {goal:.2f}", one, reached >= goal, f"{reached:.3f}")
    if len(one.budgets()) > 1:
        yield from _of_budgets(one)
    yield from _of_pooling(one)
    yield _of_rounding(one)
    if ("hybrid", FULL) in one.rows:
        better = one.better_bm25()
        apart = difference(one.rows["hybrid", FULL], better)
        name = "hybrid not below the better BM25"
        yield _target(name, one, apart[0] >= 0, f"{shown(apart)} against {better.size}")


def _of_budgets(one: SetResult) -> Iterator[Target]:
    sizes = one.budgets()
    gain = difference(one.rows["int8", sizes[-1]], one.rows["int8", sizes[0]])
    name = f"{sizes[-1]} above {sizes[0]} by {GAIN}"
    yield _target(name, one, gain[0] >= GAIN, shown(gain))
    means = [one.rows["int8", size].mean() for size in sizes]
    drops = [
        (small - large, f"{sizes[j]} against {sizes[i]}")
        for i, small in enumerate(means)
        for j, large in enumerate(means)
        if i < j
    ]
    worst, where = max(drops)
    name = f"no budget below a smaller one by over {SLACK}"
    yield _target(name, one, worst <= SLACK, f"worst {-100 * worst:+.1f}, {where}")


def _of_pooling(one: SetResult) -> Iterator[Target]:
    for size, budget in POOLED.items():
        ours, theirs = one.rows.get(("int8", budget)), one.rows.get(("Ward", size))
        if ours and theirs:
            apart = difference(ours, theirs)
            met = apart[0] > 0 if size in AHEAD else apart[2] >= 0
            name = "ahead of" if size in AHEAD else "not behind"
            yield _target(f"{budget} {name} Ward {size}", one, met, shown(apart))


def _of_rounding(one: SetResult) -> Target:
    lost = [
        (one.rows["fp32", size].mean() - one.rows["int8", size].mean(), size)
        for size in one.budgets()
    ]
    worst, where = max(lost)
    name = f"int8 within {ROUNDING} of float32"
    return _target(name, one, worst <= ROUNDING, f"worst {-100 * worst:+.2f}, {where}")


def _small_enough(report: Report) -> Target:
    """Whether any format and budget of few bytes keeps nDCG@10 on every set."""
    best = min(small_points(report), key=lambda point: point[2], default=None)
    name = f"at most {KIB / 1024} KiB a page with nDCG@10 within {RELATIVE:.0%} of float32"
    if best is None:
        return Target(name, "all sets", False, "nothing is so small")
    label, size, worst, where = best
    told = f"best: {label} at {size} bytes, worst {-worst:+.1%} on {where}"
    return Target(name, "all sets", worst <= RELATIVE, told)


def small_points(report: Report) -> list[tuple[str, int, float, str]]:
    """Label, bytes, the worst relative loss of nDCG@10 against float32 in full, and where."""
    found = []
    for (system, size), row in report.sets[0].rows.items():
        own = size in SIZES and system not in (*OTHERS, "fp32")
        if own and row.bytes is not None and row.bytes <= KIB:
            losses = [(_relative_loss(one, system, size), one.label) for one in report.sets]
            found.append((f"{system} {size}", row.bytes, *max(losses)))
    return found


def _relative_loss(one: SetResult, system: str, size: str) -> float:
    full = one.rows["fp32", one.budgets()[-1]].mean("ndcg@10")
    return 1 - one.rows[system, size].mean("ndcg@10") / full if full else 0.0


def _of_speed(found: Mapping[str, Any]) -> Iterator[Target]:
    if not found:
        return
    limits = (
        ("loading after imports", "loading_seconds", LOADING, "s"),
        ("a query on one thread", "query_ms", QUERY_MS, "ms"),
        ("a query as long as a page", "query_of_a_whole_page_ms", QUERY_MS, "ms"),
        ("the longest page on one thread", "longest_page_ms", PAGE_MS, "ms"),
    )
    for name, key, limit, unit in limits:
        met = found[key] < limit
        yield Target(f"{name} under {limit:g} {unit}", "speed", met, _both(found, key, unit))
    size = found["bytes"] / 1e6
    name = f"size on disk under {MEGABYTES:g} MB"
    yield Target(name, "speed", size < MEGABYTES, f"{size:.1f} MB")


def _both(found: Mapping[str, Any], key: str, unit: str) -> str:
    """A time by the wall clock and, in parentheses, of the processor."""
    return f"{found[key]:.2f} ({found[f'{key}_cpu']:.2f}) {unit}"


def _target(name: str, one: SetResult, met: bool, numbers: str) -> Target:
    return Target(name, one.label, met, numbers)


def difference(ours: Row, theirs: Row, metric: str = "ndcg@5") -> tuple[float, float, float]:
    """Mean difference over the queries and its 95 % interval, paired."""
    apart = ours.per_query(metric) - theirs.per_query(metric)
    return (float(apart.mean()), *bootstrap_interval(apart))


def shown(apart: tuple[float, float, float]) -> str:
    """A difference in points of percent."""
    mean, low, high = (100 * value for value in apart)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


# -- tables ----------------------------------------------------------------------------------


def tables(report: Report, found: Sequence[Target]) -> str:
    """Everything in Markdown, in percent."""
    missed = sum(not target.met for target in found)
    parts = [
        f"`{report.checkpoint}`, fingerprint `{report.fingerprint[:8]}`. nDCG@5 in percent with "
        "95 % bootstrap intervals over the queries; all pages scored; int8 where no format is "
        "named.",
        quality_table(report),
        *(f"- {reason}" for reason in report.refused),
        *_skipped(report),
        "Formats at every budget, nDCG@5 (nDCG@10):",
        format_table(report),
        "Paired differences:",
        difference_table(report),
        f"Targets: {len(found) - missed} met, {missed} missed.",
        target_table(found),
        *([latency_table(report.latency)] if report.latency else []),
    ]
    return "\n\n".join(parts)


def quality_table(report: Report) -> str:
    """A row a system and size, a column a set: nDCG@5 and its interval."""
    keys = [("BM25", "plain"), ("BM25", "stemmed"), ("one vector", "(1,1)")]
    keys += [("int8", size) for size in SIZES] + [("hybrid", size) for size in SIZES]
    keys += [("auto", size) for size in SIZES]
    keys += [(name, size) for name in ("Ward", "coverage") for size in POOLED]
    return _rows(report, keys, _with_interval, own=True)


def format_table(report: Report) -> str:
    """A row a format and budget, a column a set: nDCG@5 and nDCG@10."""
    return _rows(report, _format_keys(report), _both_depths)


def difference_table(report: Report) -> str:
    """What the targets speak of, as differences with their intervals; a column a set."""
    pairs = [(("int8", FULL), ("int8", SMALL)), (("int8", SMALL), ("one vector", "(1,1)"))]
    pairs += [
        (("int8", budget), (name, size))
        for name in ("Ward", "coverage")
        for size, budget in POOLED.items()
    ]
    pairs += [((name, size), ("BM25", "better")) for name in ("hybrid", "auto") for size in SIZES]
    lines = _head(["difference", *(one.label for one in report.sets)])
    for ours, theirs in pairs:
        cells = [_apart(one, ours, theirs) for one in report.sets]
        if any(cell != "–" for cell in cells):
            lines.append(_line([f"{_named(*ours)} − {_named(*theirs)}", *cells]))
    return "\n".join(lines)


def target_table(found: Sequence[Target]) -> str:
    """A row a target and set."""
    lines = _head(["target", "set", "", "numbers"])
    for one in found:
        lines.append(_line([one.name, one.where, "met" if one.met else "**missed**", one.numbers]))
    return "\n".join(lines)


def latency_table(found: Mapping[str, Any]) -> str:
    """Loading, encoding on one thread, and sizes."""
    lines = _head([f"one CPU thread, load average {found['load_average']}", "wall clock (CPU)"])
    lines += [_line([name, _both(found, key, unit)]) for name, (key, unit) in LATENCY.items()]
    size = f"{found['bytes'] / 1e6:.1f} MB, of which weights {found['weight_bytes'] / 1e6:.1f} MB"
    lines += [_line(["parameters", f"{found['parameters']:,}"]), _line(["on disk", size])]
    return "\n".join(lines)


def _skipped(report: Report) -> list[str]:
    return [
        f"- {one.label}: {len(one.skipped)} of {one.pages} pages could not be read and are found "
        f"by no query; the first: {one.skipped[0]}"
        for one in report.sets
        if one.skipped
    ]


def _rows(
    report: Report,
    keys: Sequence[tuple[str, str]],
    cell: Callable[[Row], str],
    *,
    own: bool = False,
) -> str:
    """A row a key, a column a set; ``own`` calls int8 by the checkpoint's name."""
    lines = _head(["system", "bytes a page", *(_column(one) for one in report.sets)])
    for key in keys:
        found = [one.rows.get(key) for one in report.sets]
        some = next((row for row in found if row is not None), None)
        if some is not None:
            amount = "–" if some.bytes is None else f"{some.bytes:,}"
            cells = ["–" if row is None else cell(row) for row in found]
            name = f"`{Path(report.checkpoint).name}` {key[1]}" if own and key[0] == "int8" else ""
            lines.append(_line([name or _named(*key), amount, *cells]))
    return "\n".join(lines)


def _column(one: SetResult) -> str:
    return f"{one.label} ({one.queries:,} queries, {one.pages:,} pages)"


def _format_keys(report: Report) -> list[tuple[str, str]]:
    """Every format and budget of the checkpoint."""
    keys = dict.fromkeys(key for one in report.sets for key in one.rows)
    return [key for key in keys if key[1] in SIZES and key[0] not in OTHERS]


def _apart(one: SetResult, ours: tuple[str, str], theirs: tuple[str, str]) -> str:
    other = one.better_bm25() if theirs == ("BM25", "better") else one.rows.get(theirs)
    own = one.rows.get(ours)
    return shown(difference(own, other)) if own and other else "–"


def _named(system: str, size: str) -> str:
    if system in ("Ward", "coverage"):
        return f"{system} pooling to {size}"
    if system == "BM25":
        return f"the better {system}" if size == "better" else f"{system} {size}"
    return f"{system} {size}"


def _with_interval(row: Row) -> str:
    low, high = (100 * end for end in row.interval)
    return f"{100 * row.mean():.1f} [{low:.1f}, {high:.1f}]"


def _both_depths(row: Row) -> str:
    return f"{100 * row.mean():.1f} ({100 * row.mean('ndcg@10'):.1f})"


def _mean(row: Row) -> str:
    return f"{100 * row.mean():.1f}"


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
