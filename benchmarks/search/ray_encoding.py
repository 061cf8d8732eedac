"""Pages a second by one and two workers of Ray, beside plain ``sync``, in one run.

    apt-get download texlive-latex-recommended-doc && dpkg-deb -x texlive-*.deb pdfs
    python -m benchmarks.search.ray_encoding pdfs --pages 200 --json results/ray.json

The same PDFs, the shortest first, go into a new index each time: by this process alone, then by a
cluster on this machine with one worker and with two. Each process computes by one thread. The time
until the first pages are acknowledged (workers start and load the model) stands apart from the
rate after it. The record has the load of the machine when the run ended: under a load of other
programs, two workers also get more of the cores than one process.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from metaembed_rag.index import PageIndex
from metaembed_rag.ingest import AddReport
from metaembed_rag.model import MetaEmbedEncoder
from metaembed_rag.pages.load import count_pages
from metaembed_rag.ray import RayOptions, sync_files

CLAIM = "Pages a second of PDFs by workers of a Ray cluster, beside one process."
_BATCH = 8
_CORES = 2


def chosen(folder: Path, pages: int) -> list[Path]:
    """The shortest PDFs with over one page that have about so many pages together."""
    found = sorted((count_pages([path]), path) for path in folder.rglob("*.pdf"))
    files: list[Path] = []
    total = 0
    for count, path in found:
        if total < pages and count > 1:
            files.append(path)
            total += count
    return files


def measured(run: Callable[[Callable[[int], None]], AddReport]) -> dict[str, Any]:
    """Pages a second of one way, after its first pages."""
    times: list[float] = []
    counts: list[int] = []

    def progress(done: int) -> None:
        times.append(time.perf_counter())
        counts.append(int(done))

    start, load = time.perf_counter(), os.getloadavg()[0]
    report = run(progress)
    end = time.perf_counter()
    return {
        "pages": report.added,
        "skipped": len(report.skipped),
        "seconds": round(end - start, 2),
        "seconds_to_first_pages": round(times[0] - start, 2),
        "pages_per_second": round(report.added / (end - start), 2),
        "pages_per_second_after": round(sum(counts[1:]) / (times[-1] - times[0]), 2),
        "load_at_start": round(load, 1),
    }


def compare(files: Sequence[Path], model: str) -> list[dict[str, Any]]:
    """One process, one worker, two workers."""
    import ray

    encoder = MetaEmbedEncoder.from_pretrained(model)
    rows = []
    with tempfile.TemporaryDirectory(prefix="mr") as folder:

        def index(name: str) -> PageIndex:
            return PageIndex.open(Path(folder) / name, encoder)

        with index("plain") as plain:
            found = measured(lambda told: plain.sync(files, batch_size=_BATCH, progress=told))
            rows.append({"way": "sync, one process", "workers": 0, **found})
        ray.init(
            num_cpus=_CORES,
            object_store_memory=200 * 2**20,
            include_dashboard=False,
            _temp_dir=f"{folder}/r",
            log_to_driver=False,
            logging_level="ERROR",
        )
        try:
            for workers in (1, 2):
                options = RayOptions(workers=workers, files_at_once=2)
                with index(f"ray{workers}") as one:
                    found = measured(
                        lambda told, one=one, options=options: sync_files(
                            one, files, options, batch_size=_BATCH, progress=told
                        )
                    )
                rows.append({"way": "Ray", "workers": workers, **found})
        finally:
            ray.shutdown()
    return rows


def main() -> None:
    """Read the command line, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of PDFs")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--model", default="small")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    files = chosen(args.folder, args.pages)
    found = {"model": args.model, "files": len(files), "rows": compare(files, args.model)}
    print(json.dumps(found, indent=2))
    if args.json:
        results.write(args.json, CLAIM, found)


if __name__ == "__main__":
    main()
