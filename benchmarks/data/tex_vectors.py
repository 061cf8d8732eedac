"""Encode real manual pages and their headings, for ``search_speed.py --vectors``.

    python -m recipes.mini prepare           # once: pages of TeX documentation
    python -m benchmarks.data.tex_vectors --pages 10000 --out .data/tex10k.npz
    python -m benchmarks.search.search_speed --vectors .data/tex10k.npz --searches 100

The pages are whole ones, of some 500 tokens, drawn with seed 0; the queries are outline titles of
300 of them. ``mini`` was trained on these pages, so this measures searching, not quality.
"""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path

import numpy as np

from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.vectors.formats import quantize
from recipes.mini.data import corpora

QUERIES = 300


def main() -> None:
    """Write ``values`` (int8), ``scales`` and ``queries`` (float32)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path(".data/mini"), help="folder of `mini`")
    data = os.environ.get("METAEMBED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the data sets")
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--model", default="mini", help="a checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rng = random.Random(0)
    held = corpora.read_sources(given.work, given.data, part="train").tex
    pages = rng.sample(held, min(given.pages, len(held)))
    titles = [page.titles[0] for page in pages if page.titles]
    encoder = MetaEmbedEncoder.from_pretrained(given.model, device="cpu")
    queries = encoder.encode_query(rng.sample(titles, min(QUERIES, len(titles))))
    vectors = quantize(encoder.encode_document([page.text for page in pages], show_progress=True))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    made = {"values": vectors.values, "scales": vectors.scales, "queries": queries}
    np.savez(given.out, **made, fingerprint=encoder.fingerprint)


if __name__ == "__main__":
    main()
