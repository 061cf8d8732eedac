"""BM25, the word-matching baseline that every table names, plain and with stemming.

    python -m benchmarks.quality.bm25 ../shared/data/texdoc_pages ../shared/data/debian_packages \
        ../shared/data/cranfield

bm25s with its defaults (Lucene's variant, k1 1.5, b 0.75) and English stop words; "stemmed" adds
PyStemmer's English stemmer. The metrics are those of ``metaembed evaluate``. Pages without a text
are empty to BM25; ``checkpoint.py`` gives it the text that OCR finds in their pictures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import require
from metaembed_rag.evaluation import Dataset, bootstrap_interval, measure, read_dataset, top_pages


def bm25_scores(
    texts: Sequence[str], queries: Sequence[str], *, stemmed: bool
) -> tuple[NDArray[np.float32], float]:
    """Score every text for every query.

    Returns:
        float32 of shape (queries, texts), and the milliseconds that one query took.
    """
    bm25s = require("bm25s")
    options = {
        "stopwords": "en",
        "stemmer": require("Stemmer").Stemmer("english") if stemmed else None,
        "show_progress": False,
    }
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize(list(texts), **options), show_progress=False)
    start = time.perf_counter()
    words = bm25s.tokenize(list(queries), return_ids=False, **options)
    # A query of stop words only has no words left, which get_scores refuses.
    nothing = np.zeros(len(texts), dtype=np.float32)
    scores = np.stack([retriever.get_scores(query) if query else nothing for query in words])
    return scores, 1000 * (time.perf_counter() - start) / len(queries)


def bm25_results(dataset: Dataset, texts: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Metrics of both variants, in the form of ``metaembed evaluate``'s results, and intervals.

    Args:
        dataset: The evaluation set.
        texts: One text a page; the pages' own where none are given.
    """
    texts = [page.text for page in dataset.pages] if texts is None else texts
    ids = [page.id for page in dataset.pages]
    results = []
    for stemmed in (False, True):
        scores, query_ms = bm25_scores(texts, [q.text for q in dataset.queries], stemmed=stemmed)
        ranked = top_pages(scores, ids)
        rankings = {q.id: found for q, found in zip(dataset.queries, ranked, strict=True)}
        values = measure(dataset.qrels, rankings)
        results.append(
            {"system": "BM25 stemmed" if stemmed else "BM25 plain"}
            | {name: round(float(value.mean()), 4) for name, value in values.items()}
            | {"query_ms": round(query_ms, 3)}
            | {"ndcg@5_interval": [round(end, 4) for end in bootstrap_interval(values["ndcg@5"])]}
        )
    return results


def main() -> None:
    """Read the command line and print one JSON object a set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders in BEIR layout")
    for folder in parser.parse_args().folders:
        dataset = read_dataset(folder)
        print(json.dumps({"dataset": dataset.name, "results": bm25_results(dataset)}))


if __name__ == "__main__":
    main()
