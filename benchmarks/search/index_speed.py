"""Index real PDF pages end to end: pages a second, memory, and where the time goes.

    apt-get download texlive-latex-recommended-doc && dpkg-deb -x texlive-*.deb pdfs
    python -m benchmarks.search.index_speed pdfs --pages 400 --model mini \
        --json results/indexing.json

Everything that ``metaembed index`` does is timed: reading text layers, rendering, encoding,
keeping the page pictures as JPEG, hashing, Chroma. The target on 2 cores with ``mini`` is at least
8 pages a second, less than 2.5 GB of memory, and at most 10 % of the time in store and hashing.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import results
from metaembed_rag.index import PageIndex
from metaembed_rag.ingest import AddReport
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Page, load_pages

CLAIM = "Real PDF pages from file to index: pages a second, memory, where the time goes."


def index_speed(pages: Iterable[Page], encoder: Encoder, where: Path) -> dict[str, Any]:
    """Index ``pages`` into a new folder.

    Returns:
        Pages, seconds, pages a second and a second of the processor, seconds and share of each
        part, peak memory in GB (of this process, the model included), and bytes of the index a
        page, pictures included.
    """
    start, busy = time.perf_counter(), time.process_time()
    report = PageIndex.open(where, encoder).add(pages)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    files = [path.stat().st_size for path in where.rglob("*") if path.is_file()]
    return {
        "pages": report.added,
        "skipped": [str(error) for error in report.skipped],
        "seconds": round(seconds, 2),
        "pages_per_second": round(report.added / seconds, 2),
        "pages_per_cpu_second": round(report.added / busy, 2),
        "peak_gb": round(_peak_bytes() / 1e9, 3),
        "index_bytes_per_page": round(sum(files) / max(1, report.added)),
        "seconds_of": {part: round(spent, 3) for part, spent in report.seconds.items()},
        "share_of_store_and_hash": round(_store_and_hash(report) / seconds, 4),
    }


def _store_and_hash(report: AddReport) -> float:
    return report.seconds["store"] + report.seconds["hash"]


def _peak_bytes() -> int:
    """Largest resident memory of this process so far.

    Where /proc tells: ``ru_maxrss`` counts what the caller had before this program began, too.
    """
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _first_pages(folder: Path, count: int) -> Iterator[Page]:
    """The first pages below ``folder``, with a progress bar; unreadable files are named."""
    pages = load_pages(folder, on_skip=lambda error: tqdm.write(str(error), file=sys.stderr))
    yield from tqdm(islice(pages, count), total=count, desc="pages")


def main() -> None:
    """Read the command line, index, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of PDFs")
    parser.add_argument("--pages", type=int, default=400)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--threads", type=int, help="of torch; as many as cores by default")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()

    import torch

    from metaembed_rag.model import MetaEmbedEncoder

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    encoder = MetaEmbedEncoder.from_pretrained(args.model)
    with tempfile.TemporaryDirectory() as folder:
        found = index_speed(_first_pages(args.folder, args.pages), encoder, Path(folder) / "index")
    found = {"model": args.model, "threads": torch.get_num_threads()} | found
    print(json.dumps(found, indent=2))
    if args.json:
        results.write(args.json, CLAIM, found)


if __name__ == "__main__":
    main()
