"""Bytes of an index on disk, by part, in the form of now and of before, in one run.

    python -m benchmarks.search.disk_size --json results/disk.json

Vectors are random unit vectors in int8 or bits. Texts are pieces of this project's documentation.
``before`` is the form of format 1: whole records as metadata, each text of which lies there twice.
Chroma's log of the last writes, a few KB of each of at most 1,000 pages, counts the less the more
pages there are.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.search.search_speed import RandomEncoder
from metaembed_rag.cost import disk_bytes
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.store import collection

CLAIM = "Bytes a page of an index on disk, now and in the form before, beside those of `plan`."
CASES: dict[str, dict[str, Any]] = {
    "64 x 256 in int8, 500 characters": {"dimension": 256},
    "`small`: 64 x 384 in int8, 500 characters": {"dimension": 384},
    "`small`: 64 x 384 in int8, 1,800 characters": {"dimension": 384, "text": 1800},
    "64 x 384 in int8, 8 of them distinct, 500 characters": {"dimension": 384, "distinct": 8},
    "64 x 384 in bits, 500 characters": {"dimension": 384, "format": "bits"},
    "16 x 384 in int8, 500 characters": {"dimension": 384, "vectors": 16},
    "16 x 384 in bits, 500 characters": {"dimension": 384, "vectors": 16, "format": "bits"},
}


class RepeatingEncoder(RandomEncoder):
    """Random vectors of which some are repeated, as token models repeat those of short texts."""

    distinct = 64

    def encode_document(
        self, documents: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors of shape (documents, 64, D)."""
        made = self._random(len(documents), self.distinct)
        return made[:, np.arange(self.document_vectors) % self.distinct]


def disk_size(where: Path, pages: int, case: dict[str, Any]) -> dict[str, Any]:
    """Index ``pages`` into a new folder; bytes a page by part."""
    encoder = RepeatingEncoder(case["dimension"])
    encoder.distinct = case.get("distinct", 64)
    text = case.get("text", 500)
    settings = {name: case[name] for name in ("format", "vectors") if name in case}
    index = PageIndex.open(where, encoder, **settings)
    texts = enumerate(pieces(pages, text), 1)
    index.add((Page("random", number=n, text=one) for n, one in texts), batch_size=500)
    index.search_vectors(encoder.encode_query([0])[0], 1)  # makes the cache, if it is not there
    about = index.info()
    index.close()
    sizes: dict[str, int] = {}
    for path in where.rglob("*"):
        if path.is_file():
            part = _part(path.relative_to(where))
            sizes[part] = sizes.get(part, 0) + path.stat().st_size
    vectors, whole = about["bytes_per_page"], sum(sizes.values())
    format = case.get("format", "int8")
    estimate = disk_bytes(pages, vectors, encoder.dimension, text, format=format)
    return {
        "vectors": vectors,
        "bytes_per_page": {name: round(size / pages) for name, size in sorted(sizes.items())},
        "records_times_the_vectors": round(sizes["Chroma's database"] / pages / vectors, 2),
        "whole": round(whole / pages),
        "times_the_vectors": round(whole / pages / vectors, 2),
        "estimate": round(estimate / pages),
    }


def pieces(count: int, size: int) -> Iterator[str]:
    """Pieces of real text."""
    docs = sorted((results.CHECKOUT / "docs").glob("*.md"))
    whole = "\n".join(path.read_text(encoding="utf-8") for path in docs)
    chooser = random.Random(0)
    for _ in range(count):
        start = chooser.randrange(len(whole) - size)
        yield whole[start : start + size]


@contextmanager
def form_of_before() -> Iterator[None]:
    """New indexes have the form of format 1 meanwhile."""
    now = collection.layout_for
    collection.layout_for = lambda size: {}
    try:
        yield
    finally:
        collection.layout_for = now


def _part(path: Path) -> str:
    """Chroma's database, its graph, our cache, or the words."""
    if path.name.startswith("chroma.sqlite3"):
        return "Chroma's database"
    of_ours = {"cache": "vector cache", "words": "words"}
    return of_ours.get(path.parts[0], "Chroma's graph and other files")


def main() -> None:
    """Read the command line, index, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    found = []
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            now = disk_size(Path(folder) / "now", given.pages, case)
            with form_of_before():
                before = disk_size(Path(folder) / "before", given.pages, case)
        found.append({"case": name, "pages": given.pages, "now": now, "before": before})
        print(json.dumps(found[-1], indent=2))
    if given.json:
        results.write(given.json, CLAIM, found)


if __name__ == "__main__":
    main()
