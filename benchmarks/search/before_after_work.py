"""One piece of work for `before_after`, done by whatever checkout stands first on PYTHONPATH.

It is started by its file's name, so that an older checkout, which does not have it, can do the same
work. One JSON object goes to standard output: the seconds, and the seconds of the processor that
this process had taken before the work began; what it took in all, its workers included, the caller
learns from the system when it has ended.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

SEARCH_WAYS: dict[str, dict[str, Any]] = {
    "(16,64), the default": {"budget": "full"},
    "(4,8)": {"budget": "4,8"},
    "(1,1)": {"budget": "1,1"},
    "(16,64), 200 candidates": {"budget": "full", "candidates": 200},
    "(16,64), exhaustive": {"budget": "full", "exhaustive": True},
}
"""How stored pages are searched, by name."""

_WARM_UP = 5
_DIMENSION = 128
_BATCH = 500

Found = dict[str, Any]
Ways = dict[str, dict[str, float]]


def index_pdfs(args: argparse.Namespace) -> Found:
    """Index the first pages of a folder of PDFs."""
    return _indexed(args, {".pdf"})


def index_pictures(args: argparse.Namespace) -> Found:
    """Index the first pictures of a folder."""
    return _indexed(args, {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})


def _indexed(args: argparse.Namespace, kinds: set[str]) -> Found:
    from metaembed_rag.index import PageIndex
    from metaembed_rag.model import MetaEmbedEncoder
    from metaembed_rag.pages import list_files, load_pages

    encoder = MetaEmbedEncoder.from_pretrained(args.model)
    encoder.encode_document(["a page"])
    files = [path for path in list_files(args.place) if path.suffix.lower() in kinds]
    with tempfile.TemporaryDirectory() as folder, _timed() as found:
        pages = islice(load_pages(files, on_skip=lambda error: None), args.pages)
        index = PageIndex.open(Path(folder) / "index", encoder)
        found["pages"] = index.add(pages, ocr=args.ocr).added
    return found


def store(args: argparse.Namespace) -> Found:
    """Store pages of random vectors in a new index, and make what its searches read."""
    index = _opened(args.place)
    with _timed() as found:
        index.add(_pages(args.pages), batch_size=_BATCH)
    index.search_vectors(index.encoder.encode_query(["a query"])[0], 10)
    return {**found, "pages": len(index)}


def _pages(count: int) -> Iterator[Any]:
    from metaembed_rag.pages import Page

    return (Page("random", number=n, text=f"page {n}") for n in range(1, count + 1))


def search(args: argparse.Namespace) -> None:
    """Search stored pages in every way for each line on standard input, which names a query.

    After each, the milliseconds of every way are told, by the clock and of the processor.
    """
    index = _opened(args.place)
    queries = index.encoder.encode_query(range(args.searches))
    for line in sys.stdin:
        ways: Ways = {}
        for name, options in SEARCH_WAYS.items():
            query = queries[int(line)]
            _step(ways, name, partial(index.search_vectors, query, 10, **options))
        _tell({"pages": len(index), "ways": ways})
    return


def reopen(args: argparse.Namespace) -> Found:
    """Open an index and search it, twice: milliseconds of each step, in order."""
    with tempfile.TemporaryDirectory() as folder:  # imports are no part of opening
        store(argparse.Namespace(place=Path(folder) / "index", pages=_WARM_UP))
    queries = _encoder().encode_query(range(4))
    ways: Ways = {}
    index = _step(ways, "opening", lambda: _opened(args.place))
    _step(ways, "the first search", partial(index.search_vectors, queries[0], 10))
    again = _step(ways, "opening again", lambda: _opened(args.place))
    for name, query in zip(
        ("the first exhaustive search", "the next one"), queries[1:], strict=False
    ):
        _step(ways, name, partial(again.search_vectors, query, 10, exhaustive=True))
    return {"pages": len(index), "ways": ways}


def map_vectors(args: argparse.Namespace) -> Found:
    """Write the mapped copy of an index, open it and read pages of it: milliseconds of each step.

    Without Chroma, which is asked the same whatever the copy is like.
    """
    import numpy as np

    from metaembed_rag.store.level_writer import CacheWriter
    from metaembed_rag.store.levels import CachedVectors, Header
    from metaembed_rag.vectors.formats import vector_format

    vectors = vector_format("int8").encode(_encoder().encode_document(range(_BATCH)))

    def write(folder: Path) -> None:
        with CacheWriter(folder, Header("", "", "int8", _DIMENSION, vectors.values.shape[1])) as to:
            for begin in range(0, args.pages, _BATCH):
                ids = [f"random#{number}" for number in range(begin, begin + _BATCH)]
                to.append(ids, ["stamp"] * _BATCH, vectors)
            to.commit()

    rows = np.linspace(0, args.pages - 1, 1000, dtype=np.int64)
    ways: Ways = {}
    with tempfile.TemporaryDirectory() as name:
        _step(ways, "write", partial(write, Path(name)))
        copy = _step(ways, "open", partial(CachedVectors.load, Path(name)))
        _step(ways, "read 1,000 pages", partial(copy.take, rows, vectors.values.shape[1]))
        _step(ways, "read them again", partial(copy.take, rows, vectors.values.shape[1]))
    return {"pages": len(copy), "ways": ways}


def _step(ways: Ways, name: str, step: Callable[[], Any]) -> Any:
    wall, cpu = time.perf_counter(), time.process_time()
    done = step()
    taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    ways[name] = {key: 1000 * value for key, value in taken.items()}
    return done


def _opened(where: Path) -> Any:
    from metaembed_rag.index import PageIndex

    return PageIndex.open(where, _encoder())


def _encoder() -> Any:
    from benchmarks.search.search_speed import RandomEncoder

    return RandomEncoder(_DIMENSION)


@contextmanager
def _timed() -> Iterator[Found]:
    """Take the seconds of what is inside, and the processor's before it."""
    times = os.times()
    found: Found = {"cpu_before": sum(times[:4])}
    start = time.perf_counter()
    yield found
    found["wall"] = time.perf_counter() - start


WORKS: dict[str, Callable[[argparse.Namespace], Found | None]] = {
    "index_pdfs": index_pdfs,
    "index_pictures": index_pictures,
    "store": store,
    "search": search,
    "reopen": reopen,
    "map_vectors": map_vectors,
}


def main() -> None:
    """Read the command line, do the work, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("place", type=Path, help="of what is indexed, or of the index")
    parser.add_argument("--pages", type=int, default=0)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--ocr", default="never")
    parser.add_argument("--searches", type=int, default=100)
    args = parser.parse_args()
    found = WORKS[args.work](args)
    if found is not None:
        _tell(found)


def _tell(found: Found) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
