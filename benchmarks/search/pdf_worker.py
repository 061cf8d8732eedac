"""What it costs to read PDFs in a worker process, beside reading them in this one, in one run.

    python -m benchmarks.search.pdf_worker pdfs --pages 400 --runs 5 --model mini
    python -m benchmarks.search.pdf_worker pdfs --pages 100 --bombs tests/fixtures/bombs

Both ways read the same pages in turn; the ratio is of the fastest runs. With ``--model`` whole
indexing is measured too, where the worker reads the next page while this process encodes.
With ``--bombs`` every PDF of a folder of hostile ones is read at the default limits, in
the worker only: run that under a limit of memory (``ulimit -v``).
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.search.index_speed import index_speed
from metaembed_rag.errors import PageError
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Limits, Page, list_files, load_pages, pdf_client

WAYS = {"here": Limits(separate_process=False), "worker": Limits()}


def pages_of(files: Iterable[Path], limits: Limits, count: int) -> Iterable[Page]:
    """The first so many pages of files; what cannot be read is left out."""
    return islice(load_pages(files, on_skip=lambda error: None, limits=limits), count)


def side_by_side(work: Callable[[Limits], int], runs: int) -> dict[str, Any]:
    """Do the same in both ways in turn.

    Args:
        work: Reads pages within limits, and counts them.
        runs: How often each way comes.

    Returns:
        Pages a second of each way at its fastest, and how many times as long the worker takes.
    """
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    pages = 0
    for _ in range(runs):
        for way, limits in WAYS.items():
            start = time.perf_counter()
            pages = work(limits)
            seconds[way].append(time.perf_counter() - start)
    best = {way: min(taken) for way, taken in seconds.items()}
    return {
        "pages": pages,
        **{f"pages_per_second_{way}": round(pages / taken, 1) for way, taken in best.items()},
        "times_as_long": round(best["worker"] / best["here"], 3),
    }


def starting() -> float:
    """Seconds until a new worker is ready."""
    pdf_client.WORKERS.close()
    start = time.perf_counter()
    with pdf_client.WORKERS.lease():
        return time.perf_counter() - start


def at_bomb(path: Path, limits: Limits) -> dict[str, Any]:
    """Seconds and memory of the workers that read a hostile file, and what was said of it.

    The memory is at least what this process had when it started them: Linux counts that, too.
    """
    errors: list[PageError] = []
    start = time.perf_counter()
    pages = sum(1 for _ in load_pages(path, on_skip=errors.append, limits=limits))
    seconds = time.perf_counter() - start
    pdf_client.WORKERS.close()  # only the peak of processes that have ended is known
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "seconds": round(seconds, 2),
        "pages": pages,
        "largest_worker_so_far_mib": round(peak / (1024**2 if sys.platform == "darwin" else 1024)),
        "said": [error.reason for error in errors],
    }


def main() -> None:
    """Read the command line, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of PDFs")
    parser.add_argument("--pages", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", help="measure whole indexing with it, too")
    parser.add_argument("--bombs", type=Path, help="a folder of hostile PDFs")
    args = parser.parse_args()
    files = [path for path in list_files(args.folder) if path.suffix == ".pdf"]
    found: dict[str, Any] = {"start_seconds": round(min(starting() for _ in range(args.runs)), 3)}
    found["loading"] = side_by_side(
        lambda limits: sum(1 for _ in pages_of(files, limits, args.pages)), args.runs
    )
    if args.model:
        from metaembed_rag.model import MetaEmbedEncoder

        encoder = MetaEmbedEncoder.from_pretrained(args.model)
        found["indexing"] = side_by_side(
            lambda limits: _indexed(pages_of(files, limits, args.pages), encoder), args.runs
        )
    if args.bombs:
        found["bombs"] = {
            path.name: at_bomb(path, WAYS["worker"]) for path in list_files(args.bombs)
        }
    print(json.dumps(found, indent=2))


def _indexed(pages: Iterable[Page], encoder: Encoder) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return int(index_speed(pages, encoder, Path(folder) / "index")["pages"])


if __name__ == "__main__":
    main()
