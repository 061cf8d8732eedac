"""Draw ``results/scaling.json``: memory, disk and time of a search by pages.

python -m benchmarks.search.scaling_plot --out docs/million.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results

PANELS = (
    ("disk, GB", lambda row: row["disk_bytes"] / 1e9),
    ("memory of a searching process, GB", lambda row: row["memory_bytes"] / 1e9),
    ("p50 at recall 0.95, ms", lambda row: _fastest(row["ways"])),
)


def series(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows that were measured, by engine and vectors a page, from few pages to many."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda one: int(one["pages"])):
        if "failed" not in row:
            found.setdefault(f"{row['engine']}, {row['vectors']} vectors", []).append(row)
    return found


def _fastest(ways: Sequence[dict[str, Any]]) -> float | None:
    times = [way["p50_ms"] for way in ways if (way["recall"] or 0) >= 0.95]
    return min(times, default=None)


def draw(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Write the plot."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "scaling", "svg.fonttype": "none"}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(12, 4.2))
    for axis, (title, value) in zip(axes, PANELS, strict=True):
        for number, (name, points) in enumerate(series(rows).items()):
            known = [(row["pages"], value(row)) for row in points]
            shown = [(pages, height) for pages, height in known if height is not None]
            if shown:
                axis.plot(*zip(*shown, strict=True), marker="o", color=f"C{number}", label=name)
        axis.set(title=title, xlabel="pages", xscale="log", yscale="log")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="lower center", ncols=4)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(out, metadata={"Date": None})


def main() -> None:
    """Read the command line, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    draw(results.read("scaling")["numbers"]["rows"], given.out)


if __name__ == "__main__":
    main()
