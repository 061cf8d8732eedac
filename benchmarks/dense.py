"""What a model of one vector an input finds at each budget, through the dense door.

    python -m benchmarks.dense MODEL [--data FOLDER] [--sets NAME ...] [--json FILE]

Each set is encoded once, in text mode, with pages in int8; every budget is a prefix. Scores are
those of the whole-number kernel, with queries rounded to int8, of all pages.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.quality.encoded import kept_array, rough_scores
from metaembed_rag import MetaEmbedEncoder, RetrievalBudget
from metaembed_rag.evaluation import measure, read_dataset, top_pages
from metaembed_rag.evaluation.datasets import Dataset
from metaembed_rag.evaluation.reading import PageReader, encode_queries
from metaembed_rag.model import OrderedEncoder
from metaembed_rag.vectors.formats import FORMATS

SETS = ("texdoc_pages", "debian_packages", "cranfield")
PREFIXES = (1, 3, 7, 15, 31, 63, 64)
QUERIES = (1, 16)
CLAIM = "windows of a dense model's token outputs: budget buys quality without training"


def budgets_of(encoder: OrderedEncoder) -> list[RetrievalBudget]:
    """One and all query vectors, with each whole covering of a page."""
    return [
        RetrievalBudget(r_q, r_c)
        for r_q in QUERIES
        for r_c in PREFIXES
        if r_q <= encoder.query_vectors and r_c <= encoder.document_vectors
    ]


def measured(data: Dataset, encoder: OrderedEncoder, cache: Path) -> dict[str, Any]:
    """A set's rows: nDCG@5 at each budget.

    Args:
        data: With texts.
        encoder: The model.
        cache: Where encoded pages are kept, so that a run that was cut off goes on.
    """
    reader = PageReader(encoder, mode="text")
    inputs = list(reader.read(data.pages))

    def encode() -> NDArray[np.float32]:
        return encoder.encode_document(inputs, show_progress=True)

    pages = kept_array(cache / f"{encoder.fingerprint[:16]}-{data.name}.npy", encode)
    queries = encode_queries(encoder, (query.as_input() for query in data.queries), 32)
    scores = rough_scores(queries, FORMATS["int8"].encode(pages), budgets_of(encoder))
    names = [query.id for query in data.queries]
    rows = []
    for budget, found in scores.items():
        best = dict(zip(names, top_pages(found, reader.read_ids), strict=True))
        quality = float(measure(data.qrels, best)["ndcg@5"].mean())
        stored = budget.r_c * (encoder.dimension + 2)
        rows.append(
            {
                "budget": [budget.r_q, budget.r_c],
                "bytes_per_page": stored,
                "ndcg@5": round(quality, 4),
            }
        )
    return {"set": data.name, "pages": len(inputs), "queries": len(names), "rows": rows}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a folder or hub id")
    parser.add_argument("--data", type=Path, default=results.DATA, help="the folder of the sets")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="NAME", help="of these sets")
    parser.add_argument("--called", help="the model's name in the record; its folder's by default")
    parser.add_argument("--dtype", default="float32", help="of the weights: bfloat16 is faster")
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.add_argument("--cache", type=Path, help="keep encoded pages here")
    given = parser.parse_args(arguments)
    encoder = MetaEmbedEncoder.from_pretrained(given.model, device="cpu", dtype=given.dtype)
    with tempfile.TemporaryDirectory() as passing:
        cache = given.cache or Path(passing)
        found = []
        for name in given.sets:
            found.append(measured(read_dataset(given.data / name), encoder, cache))
            for row in found[-1]["rows"]:
                print(name, row["budget"], f"{100 * row['ndcg@5']:.1f}", flush=True)
    called = given.called or Path(given.model).name
    model = {"name": called, "fingerprint": encoder.fingerprint, "dimension": encoder.dimension}
    model["dtype"] = given.dtype
    if given.json:
        results.write(given.json, CLAIM, {"model": model, "sets": found})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
