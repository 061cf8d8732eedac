"""Package descriptions and their short descriptions as queries, encoded for ``search_speed``.

    python -m benchmarks.data.debian_vectors --pages 10000 --out .data/debian10k.npz
    OMP_NUM_THREADS=1 python -m benchmarks.search.search_speed --vectors .data/debian10k.npz \
        --searches 100 --json results/search_short_texts.json

The pages are the evaluation set's and, up to ``--pages``, those of its training pairs; the queries
are 300 of the set's. Needs ``../shared/data/debian_packages`` (METAEMBED_DATA names its folder).
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from benchmarks.data.real_embeddings import debian_questions, debian_texts
from benchmarks.results import DATA
from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.vectors.formats import quantize

QUERIES = 300


def main() -> None:
    """Write ``values`` (int8), ``scales``, ``queries`` (float32) and ``fingerprint``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--model", default="mini", help="a checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    folder = given.data / "debian_packages"
    encoder = MetaEmbedEncoder.from_pretrained(given.model, device="cpu")
    asked = random.Random(0).sample(debian_questions(folder), QUERIES)
    queries = encoder.encode_query([one.text for one in asked])
    texts = [one.text for one in debian_texts(folder, given.pages)]
    vectors = quantize(encoder.encode_document(texts, show_progress=True))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    made = {"values": vectors.values, "scales": vectors.scales, "queries": queries}
    np.savez(given.out, **made, fingerprint=encoder.fingerprint)


if __name__ == "__main__":
    main()
