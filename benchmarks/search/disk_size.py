"""Bytes of an index on disk, by part, beside the estimate of ``metaembed plan``.

    python -m benchmarks.search.disk_size --pages 2000 --dimension 256 --json results/disk_size.json

Pages are random vectors, 64 a page in int8, with a text of ``--text`` characters and no picture.
Chroma keeps a string twice, in a table and in an index of that table, and base64 adds a third.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.search.search_speed import RandomEncoder
from metaembed_rag.cost import disk_bytes
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page

CLAIM = "Bytes a page of an index on disk, and how near the estimate of `metaembed plan` is."


def disk_size(where: Path, pages: int, encoder: RandomEncoder, text: int) -> dict[str, Any]:
    """Index ``pages`` into a new folder; bytes a page by part."""
    index = PageIndex.open(where, encoder)
    words = np.random.default_rng(0).choice(list("abcdefghij klmnop"), (pages, text))
    index.add(
        (Page("random", number=n, text="".join(row)) for n, row in enumerate(words, 1)),
        batch_size=500,
    )
    index.search_vectors(encoder.encode_query([0])[0], 1)  # makes the cache, if it is not there
    sizes: dict[str, int] = {}
    for path in where.rglob("*"):
        if path.is_file():
            part = _part(path.relative_to(where))
            sizes[part] = sizes.get(part, 0) + path.stat().st_size
    vectors = encoder.document_vectors * (encoder.dimension + 2)
    whole = sum(sizes.values())
    return {
        "pages": pages,
        "dimension": encoder.dimension,
        "text": text,
        "vectors": vectors,
        "bytes_per_page": {name: round(size / pages) for name, size in sorted(sizes.items())},
        "whole": round(whole / pages),
        "times_the_vectors": round(whole / pages / vectors, 2),
        "estimate": round(disk_bytes(pages, vectors, encoder.dimension, text) / pages),
    }


def _part(path: Path) -> str:
    """Chroma's database, its graph, or our cache."""
    if path.name.startswith("chroma.sqlite3"):
        return "Chroma's database"
    return "vector cache" if path.parts[0] == "cache" else "Chroma's graph and other files"


def main() -> None:
    """Read the command line, index, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--text", type=int, default=500, help="characters of a page's text")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        encoder = RandomEncoder(given.dimension)
        found = disk_size(Path(folder) / "index", given.pages, encoder, given.text)
    print(json.dumps(found, indent=2))
    if given.json:
        results.write(given.json, CLAIM, found)


if __name__ == "__main__":
    main()
