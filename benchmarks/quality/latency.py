"""How fast a checkpoint loads and encodes on one CPU thread, and how large it is.

    OMP_NUM_THREADS=1 python -m benchmarks.quality.latency mini ../shared/data/texdoc_pages \
        --json results/latency.json

One JSON object on standard output. Loading is timed in this fresh process after the imports of
torch, transformers and sentence-transformers. Pages are texts of the given set: the median one
alone, the longest alone (the checkpoint cuts it), and all in batches; a query is one of the
set's, and, as the worst case, a whole page's text. Medians of several runs. ``..._cpu`` is the time
that the thread itself took, which is what counts where other programs keep the cores busy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from metaembed_rag.evaluation import read_dataset

Seconds = NDArray[np.float64]
"""By the wall clock, and of the processor; shape (2,)."""

CLAIM = "How fast a checkpoint loads and encodes on one thread, and how large it is."
REPEATS = 15
PAGES = 128
"""Texts of the batch whose pages a second are told."""


def measure_latency(checkpoint: str, folder: Path, *, repeats: int = REPEATS) -> dict[str, Any]:
    """Everything that the script prints; call it in a fresh process."""
    imports = _seconds(_import_all)
    import torch

    torch.set_num_threads(1)
    from metaembed_rag import MetaEmbedEncoder

    def load() -> Any:
        return MetaEmbedEncoder.from_pretrained(checkpoint, device="cpu")

    loading, encoder = _timed(load)
    again = _seconds(load)
    dataset = read_dataset(folder)
    texts = [page.text for page in dataset.pages if page.text.strip()]
    queries = [query.text for query in dataset.queries if query.text]
    return {
        **_told("imports", "seconds", imports, 2),
        **_told("loading", "seconds", loading, 2),
        **_told("loading_again", "seconds", again, 2),
        **encoding_times(encoder, texts, queries, repeats),
        **sizes(encoder, checkpoint),
        "fingerprint": encoder.fingerprint,
        "load_average": round(os.getloadavg()[0], 1),
    }


def encoding_times(
    encoder: Any, texts: Sequence[str], queries: Sequence[str], repeats: int = REPEATS
) -> dict[str, float]:
    """Milliseconds of single queries and pages, and pages a second in batches."""
    by_length = sorted(texts, key=len)
    median, longest = by_length[len(by_length) // 2], by_length[-1]
    query = sorted(queries, key=len)[len(queries) // 2]
    encoder.encode_document([median])  # the first call warms buffers and caches
    some = list(texts[:PAGES])
    each = {
        "query": lambda: encoder.encode_query([query]),
        "query_of_a_whole_page": lambda: encoder.encode_query([longest]),
        "page": lambda: encoder.encode_document([median]),
        "longest_page": lambda: encoder.encode_document([longest]),
    }
    found: dict[str, float] = {}
    for name, encode in each.items():
        found |= _told(name, "ms", 1000 * _median([_seconds(encode) for _ in range(repeats)]), 1)
    together = len(some) / np.maximum(_seconds(lambda: encoder.encode_document(some)), 1e-9)
    return found | _told("pages_per", "second", together, 1)


def sizes(encoder: Any, checkpoint: str) -> dict[str, Any]:
    """Parameters, and bytes on disk: all files, and the weights among them."""
    from metaembed_rag.model.checkpoints import find_checkpoint, split_name

    folder = find_checkpoint(split_name(checkpoint)[0])
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        "parameters": sum(one.numel() for one in encoder.model.parameters()),
        "bytes": sum(path.stat().st_size for path in files),
        "weight_bytes": sum(p.stat().st_size for p in files if p.suffix == ".safetensors"),
        "vectors": [encoder.query_vectors, encoder.document_vectors, encoder.dimension],
    }


def _import_all() -> None:
    import sentence_transformers  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    import metaembed_rag.model  # noqa: F401


def _timed(make: Callable[[], Any]) -> tuple[Seconds, Any]:
    wall, busy = time.perf_counter(), time.process_time()
    made = make()
    return np.array([time.perf_counter() - wall, time.process_time() - busy]), made


def _seconds(make: Callable[[], Any]) -> Seconds:
    return _timed(make)[0]


def _median(runs: Sequence[Seconds]) -> Seconds:
    return np.median(np.stack(runs), axis=0)


def _told(name: str, unit: str, values: Seconds, digits: int) -> dict[str, float]:
    """Both times, by the wall clock and of the thread."""
    wall, busy = (round(float(value), digits) for value in values)
    return {f"{name}_{unit}": wall, f"{name}_{unit}_cpu": busy}


def main() -> int:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("dataset", type=Path, help="a folder in BEIR layout whose pages have texts")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    found = measure_latency(given.checkpoint, given.dataset)
    print(json.dumps(found, indent=1))
    if given.json:
        results.write(given.json, CLAIM, found, fingerprint=found["fingerprint"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
