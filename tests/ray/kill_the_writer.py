"""A process that writes rows and kills itself in the middle; it says what is acknowledged.

python -m tests.ray.kill_the_writer FOLDER AFTER
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.ray import PageEncoder
from metaembed_rag.testing import FakeEncoder

PAGES = 200
SHAPE = {"dimension": 16, "query_vectors": 4, "document_vectors": 8}


def main(folder: str, after: int) -> None:
    """Write rows; after so many acknowledged pages the process ends at once."""
    worker = PageEncoder(FakeEncoder(**SHAPE))
    rows = worker.rows(Page(f"book{n}", text=f"whales {n}") for n in range(PAGES))
    told = 0

    def progress(done: Any) -> None:
        nonlocal told
        print(*done.ids, sep="\n", flush=True)
        told += len(done.ids)
        if told >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    with PageIndex.open(folder, FakeEncoder(**SHAPE)) as index:
        index.add_encoded(rows, batch_size=10, progress=progress)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
