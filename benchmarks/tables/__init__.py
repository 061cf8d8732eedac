"""Fill the tables of the documents from ``results/*.json``: `make docs`, or

    python -m benchmarks.tables [--check]

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; NAME is one of :data:`TABLES`.
Under it stand the fingerprint of the checkpoint, the date and the commit of each record. With
``--check`` nothing is written, and the exit code is 1 where a page is not what would be written.

A new table is a function in the module of its group and a line in :data:`TABLES`; a new record has
a function and a line in :data:`HEADLINES` of :mod:`benchmarks.tables.headlines` too, and a name in
``TIMED`` of :mod:`benchmarks.tables.sources` where its numbers are of a machine.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import CHECKOUT
from benchmarks.tables.checkpoints import (
    at_a_glance,
    both_checkpoints,
    budgets,
    card_formats,
    card_quality,
    card_small,
    formats,
    formats_everywhere,
    formats_kept,
    manpages,
    pooling,
    results,
    training_curve,
)
from benchmarks.tables.everyday import (
    figures,
    figures_cost,
    install,
    install_unused,
    languages,
    languages_characters,
    languages_choice,
    languages_detectors,
    languages_english,
    mixed_folder,
)
from benchmarks.tables.findings import (
    confidence,
    dense_door,
    fusion,
    hybrid,
    hybrid_choices,
    long_pages,
    photos,
    pointing,
    wrong_answers,
)
from benchmarks.tables.growing import disk_size, growth, scaling
from benchmarks.tables.headlines import HEADLINES, claims
from benchmarks.tables.running import command_line, federation, serving, soak, thin_client
from benchmarks.tables.sources import OTHERS, Table, checkpoint_of
from benchmarks.tables.speed import (
    LATENCY,
    async_retrieval,
    before_after,
    checksums,
    encoding_speed,
    hybrid_speed,
    indexing,
    kernels,
    latency,
    peers,
    ray,
    search_ways,
)

__all__ = [
    "HEADLINES",
    "LATENCY",
    "OTHERS",
    "TABLES",
    "Table",
    "checkpoint_of",
    "dense_door",
    "filled",
    "main",
    "pages",
]

PAGES = ("README.md", "RESULTS.md", "metaembed_rag/checkpoints/*/README.md", "docs/*.md")
_MARK = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)
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
    "at_a_glance": Table(at_a_glance, ("quality_small",)),
    "languages": Table(languages, ("languages",)),
    "languages_choice": Table(languages_choice, ("languages",)),
    "languages_characters": Table(languages_characters, ("languages",)),
    "languages_english": Table(languages_english, ("languages",)),
    "languages_detectors": Table(languages_detectors, ("languages",)),
    "figures": Table(figures, ("figures",)),
    "figures_cost": Table(figures_cost, ("figures_cost",)),
    "install": Table(install, ("install",)),
    "install_unused": Table(install_unused, ("install",)),
    "mixed_folder": Table(mixed_folder, ("mixed_folder",)),
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
