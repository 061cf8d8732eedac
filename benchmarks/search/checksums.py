"""What checksums cost: when pages are added, when an index is opened, and when vectors are read.

    python -m benchmarks.search.checksums --pages 100000 --json results/checksums.json

Vectors are random, 64 x 128 a page in int8. They are written as the mapped copy of an index alone,
without Chroma, so that what is measured is not hidden behind it; records are checked in a small
index of their own. Milliseconds are of the processor; the least of several runs is told where a
step can be done again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import results
from benchmarks.search.search_speed import RandomEncoder, build
from metaembed_rag.store import records
from metaembed_rag.store.blocks import sums
from metaembed_rag.store.level_writer import CacheWriter
from metaembed_rag.store.levels import CachedVectors, Header
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.vectors.formats import Encoded, pack, vector_format

CLAIM = "What checksums cost: of the mapped vectors, of records and of pictures."
VECTORS, DIMENSION = 64, 128
_CHUNK = 1000
_AGAIN = 5

Row = dict[str, Any]


def spent(work: Callable[[], object], runs: int = 1) -> float:
    """Milliseconds of the processor that work takes, at its fastest."""
    taken = []
    for _ in range(runs):
        start = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - start))
    return min(taken)


def some_pages(count: int) -> Encoded:
    """Random pages, shape (count, 64, 128)."""
    values = np.random.default_rng(0).standard_normal((count, VECTORS, DIMENSION), np.float32)
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    return vector_format("int8").encode(values)


def write(folder: Path, pages: int, chunk: Encoded) -> None:
    """Write the mapped copy of an index of so many pages, the same ones again and again."""
    with CacheWriter(folder, Header("", "", "int8", DIMENSION, VECTORS)) as writer:
        for begin in range(0, pages, len(chunk)):
            ids = [f"random#{number}" for number in range(begin, begin + len(chunk))]
            writer.append(ids, ["stamp"] * len(chunk), chunk)
        writer.commit()


def of_mapped(folder: Path, pages: int) -> Iterator[Row]:
    """What checksums of the mapped copy cost, at each moment when they are made or compared."""
    chunk = some_pages(_CHUNK)
    yield row("add", f"blocks of {_CHUNK:,} pages", spent(partial(sums, chunk), _AGAIN))
    write(folder, pages, chunk)
    yield row("open", "the mapped copy", spent(partial(CachedVectors.load, folder), _AGAIN))
    copy, rows = CachedVectors.load(folder), _scattered(pages)
    mapped = copy.levels(VECTORS)
    for level in mapped:  # what follows reads no disk
        level.values.max()

    def compare() -> None:
        for level in mapped:
            level.verify(rows)

    yield row("read", f"{len(rows):,} scattered pages, the first time", spent(compare))
    yield row("read", f"{len(rows):,} scattered pages, again", spent(compare, _AGAIN))
    yield row("read", "all other pages, the first time", spent(copy.verify))
    yield row("read", "all pages, again", spent(copy.verify, _AGAIN))


def _scattered(pages: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Numbers of 1,000 rows, or of all where there are fewer; int64."""
    found: np.ndarray[Any, np.dtype[np.int64]] = np.linspace(
        0, pages - 1, min(pages, _CHUNK), dtype=np.int64
    )
    return found


def of_records(folder: Path, pages: int) -> Iterator[Row]:
    """What checksums of records cost, and what it costs to look at all of them."""
    payloads = pack(some_pages(_CHUNK))
    plain = [{records.VECTORS: payload} for payload in payloads]
    sealed = [records.sealed(one, "stamp", 0) for one in plain]
    made: Callable[[], object] = lambda: [records.sealed(one, "stamp", 0) for one in plain]  # noqa: E731
    yield row("add", f"records of {_CHUNK:,} pages", spent(made, _AGAIN))

    def compare() -> None:
        for one in sealed:
            records.check_sum(one)

    yield row("read", f"records of {_CHUNK:,} pages", spent(compare, _AGAIN))
    index, _ = build(folder, pages, RandomEncoder(DIMENSION))
    yield row("check", f"an index of {pages:,} pages without pictures", spent(index.check))


def of_pictures(folder: Path) -> Iterator[Row]:
    """What it costs to look at the picture of a page, at its ends and whole."""
    noise = np.random.default_rng(0).integers(200, 256, (896, 634, 3), np.uint8)
    kept = PictureFolder(folder)
    name = kept.save(Image.fromarray(noise), "random#1", "hash")
    yield row("open", "the ends of a picture", spent(lambda: kept.holds(name), _AGAIN))
    yield row("check", "a picture, whole", spent(lambda: kept.problem(name), _AGAIN))


def row(when: str, what: str, ms: float) -> Row:
    """A row of the table."""
    return {"when": when, "what": what, "cpu_ms": round(ms, 3)}


def main() -> None:
    """Read the command line, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=100_000, help="of the mapped copy")
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        rows = [
            *of_mapped(where / "mapped", args.pages),
            *of_records(where / "index", args.records),
            *of_pictures(where / "pictures"),
        ]
    found = {"pages": args.pages, "vectors": VECTORS, "dimension": DIMENSION, "rows": rows}
    print(json.dumps(found, indent=2))
    if args.json:
        results.write(args.json, CLAIM, found)


if __name__ == "__main__":
    main()
