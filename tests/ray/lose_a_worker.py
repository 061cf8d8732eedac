"""Two workers of a Ray cluster on this machine, one of which is killed in the middle.

    python -m tests.ray.lose_a_worker FOLDER

It prints what came of it as JSON: see ``test_cluster.py``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data

from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.ray import PageEncoder, RayOptions, sync_files
from metaembed_rag.testing import FakeEncoder

PAGES, AT_ONCE, BLOCKS = 120, 4, 30
SHAPE = {"dimension": 16, "query_vectors": 4, "document_vectors": 8}


class Slow(PageEncoder):
    """Takes its time, and notes who it is."""

    def __init__(self, notes: str, **keywords: Any) -> None:
        super().__init__(FakeEncoder(**SHAPE), **keywords)
        self._notes = Path(notes)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
        """Encode a batch."""
        (self._notes / str(os.getpid())).touch()
        time.sleep(0.2)
        yield from super().__call__(batch)


def pages() -> list[dict[str, Any]]:
    """One page a row."""
    return [{"source": f"book{n}", "text": f"whales {n}"} for n in range(PAGES)]


def lose_one(folder: Path) -> dict[str, Any]:
    """Kill a worker when a sixth is acknowledged."""
    notes = folder / "workers"
    notes.mkdir()
    rows = ray.data.from_items(pages(), override_num_blocks=BLOCKS).map_batches(
        Slow,
        fn_constructor_kwargs={"notes": str(notes)},
        batch_size=AT_ONCE,
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=0.9,
    )
    told: list[str] = []
    killed: list[int] = []
    seen: list[str] = []

    def progress(done: Any) -> None:
        told.extend(done.ids)
        workers = sorted(notes.iterdir())
        if len(told) >= PAGES // 6 and len(workers) >= 2 and not killed:
            killed.append(int(workers[0].name))
            os.kill(killed[0], signal.SIGKILL)

    def counted() -> Iterator[dict[str, Any]]:
        for row in rows.iter_rows():
            seen.append(row["id"])
            yield row

    with PageIndex.open(folder / "index", FakeEncoder(**SHAPE)) as index:
        report = index.add_encoded(counted(), batch_size=AT_ONCE, progress=progress)
        every = [Page(row["source"], text=row["text"]) for row in pages()]
        return {
            "killed": len(killed),
            "workers": len(list(notes.iterdir())),
            "report": str(report),
            "rows": len(seen),
            "distinct_rows": len(set(seen)),
            "acknowledged": len(set(told)),
            "stored": len(index.ids()),
            "again": str(index.add(every)),
        }


def with_another_checkpoint(folder: Path) -> str:
    """What is said where the workers load another model than the index's."""
    (folder / "a.txt").write_text("a fox")
    with PageIndex.open(folder / "other", FakeEncoder(**SHAPE)) as index:
        try:
            sync_files(index, [folder / "a.txt"], RayOptions(workers=1), model="mini")
        except MetaEmbedError as error:
            return f"{type(error).__name__}: {error}"
    return ""


def main(folder: Path) -> None:
    """Run both, and print what came of them."""
    with tempfile.TemporaryDirectory(prefix="mr") as short:  # a socket's path has 107 bytes
        ray.init(
            num_cpus=2,
            object_store_memory=200 * 2**20,
            include_dashboard=False,
            _temp_dir=short,
            log_to_driver=False,
            logging_level="ERROR",
        )
        try:
            found: dict[str, Any] = lose_one(folder)
            found["refused"] = with_another_checkpoint(folder)
        finally:
            ray.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
