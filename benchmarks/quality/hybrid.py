"""Late interaction fused with BM25, beside each alone, at the five budgets; nDCG@5 in percent.

    python -m benchmarks.quality.hybrid ../shared/data/texdoc_pages ../shared/data/debian_packages \
        ../shared/data/cranfield opencqa400 --pictures ../shared/data/texdoc_pages \
        --ocr .data/ocr --cache .data/hybrid \
        --validation ../shared/data --prepared .data/mini --development .data/mix/manpages_dev \
        --charts ../shared/data/opencqa_train --json results/hybrid.json

    python -m benchmarks.quality.hybrid --speed 10000 --json results/hybrid_speed.json

The first table is of the development sets, on which the fusion was chosen, the second of every
choice of its two weights there, the third of the evaluation sets: the folders without an option.
Development sets are the validation sets of the shipped checkpoint (``--validation``, with
``--prepared``, the folder of its training text), folders in BEIR layout (``--development``), and
200 validation charts of OpenCQA (``--charts``), none of them in an evaluation set; queries of the
evaluation sets are left out of all of them.

Pages are encoded by their text; those that have none, and all of ``--pictures``, are read by OCR.
Each column is explained in ``docs/hybrid.md``; "hybrid" is what a search does by default: only the
200 best pages at the budget and the 200 best by BM25 are fused. Behind it stands its
difference from the better of plain and stemmed BM25, with a 95 % bootstrap interval over the
queries. ``--cache`` keeps the encoded sets, ``--ocr`` the texts of pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.search.search_speed import RandomEncoder
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import (
    Dataset,
    Query,
    bootstrap_interval,
    exhaustive_scores,
    measure,
    ocr_text,
    read_dataset,
    top_pages,
)
from metaembed_rag.index import PageIndex
from metaembed_rag.model import passes
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.options import Fusion
from metaembed_rag.pages import Page
from metaembed_rag.search.fusion import fuse
from metaembed_rag.search.words import PAIR_WEIGHT, LexicalIndex
from metaembed_rag.vectors.formats import Quantized, quantize
from recipes.mini.data import corpora
from recipes.mini.data.rows import read_jsonl
from recipes.mini.data.validation import validation_sets

Fuse = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

CLAIM = "Hybrid search beside each of its parts alone, at every budget."
SPEED_CLAIM = "What a hybrid search costs beside one by vectors alone, in one run."
METRIC = "ndcg@5"
CANDIDATES = 200
CHARTS = 200
WEIGHTS = (0.4, 0.5, 0.6, 0.7)
PAIR_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Encoded:
    """A set with its stored page vectors and query vectors.

    Attributes:
        dataset: The set; pages without text are left out of it.
        pages: int8 vectors of shape (pages, R_c, D).
        queries: float32 of shape (queries, R_q, D).
    """

    dataset: Dataset
    pages: Quantized
    queries: NDArray[np.float32]


@dataclass(frozen=True)
class Words:
    """BM25 of every page for every query; each of shape (queries, pages).

    Attributes:
        plain: Of whole words.
        stemmed: Of words without their endings.
        pairs: Of pairs of such words.
    """

    plain: NDArray[np.float64]
    stemmed: NDArray[np.float64]
    pairs: NDArray[np.float64]

    @classmethod
    def of(cls, dataset: Dataset) -> Words:
        """Index the set's texts both ways."""
        ids, texts = [page.id for page in dataset.pages], [page.text for page in dataset.pages]
        parts = []
        for stemmer in (None, "english"):
            index = LexicalIndex.build(ids, texts, stemmer=stemmer)
            found = [index.parts(query.text) for query in dataset.queries]
            parts.append(np.array(found, dtype=np.float64))  # (queries, 2, pages)
        return cls(parts[0][:, 0], parts[1][:, 0], parts[1][:, 1])

    def both(self, weight: float = PAIR_WEIGHT) -> NDArray[np.float64]:
        """What a hybrid search fuses."""
        return self.stemmed + weight * self.pairs


def encode(dataset: Dataset, encoder: Encoder, cache: Path | None) -> Encoded:
    """Encode a set by its texts, or read it from ``cache``."""
    pages = tuple(page for page in dataset.pages if page.text.strip())
    dataset = Dataset(dataset.name, pages, dataset.queries, dataset.qrels)
    texts, asked = [page.text for page in pages], [query.text for query in dataset.queries]
    made_of = json.dumps([texts, asked, inspect.getsource(passes)])
    digest = hashlib.blake2b(made_of.encode(), digest_size=8).hexdigest()
    path = cache and cache / f"{dataset.name}-{digest}-{encoder.fingerprint[:16]}.npz"
    if path and path.exists():
        with np.load(path) as kept:
            stored = Quantized(kept["values"], kept["scales"])
            return Encoded(dataset, stored, kept["queries"])
    print(f"{dataset.name}: encoding {len(pages)} pages", file=sys.stderr)
    stored = quantize(encoder.encode_document(texts))
    queries = encoder.encode_query(asked)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, values=stored.values, scales=stored.scales, queries=queries)
    return Encoded(dataset, stored, queries)


def among_candidates(
    fuse: Fuse,
    maxsim: NDArray[np.float64],
    words: NDArray[np.float64],
    counted: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Fused scores of one query's candidates; every other page scores below them all.

    Candidates are the best at the budget and the best by words, as in a search whose cascade finds
    the best 200 at the budget. ``counted`` is fused instead of their words.
    """
    chosen = _best(maxsim) | (_best(words) & (words > 0))
    scores = np.full(len(maxsim), -np.inf)
    scores[chosen] = fuse(maxsim[chosen], (words if counted is None else counted)[chosen])
    return scores


def _best(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    if len(scores) <= CANDIDATES:
        return np.ones(len(scores), dtype=bool)
    best: NDArray[np.bool_] = scores >= np.partition(scores, -CANDIDATES)[-CANDIDATES]
    return best


def per_query(dataset: Dataset, scores: NDArray[Any]) -> NDArray[np.float64]:
    """The metric of each query, for scores of shape (queries, pages)."""
    ranked = top_pages(scores, [page.id for page in dataset.pages])
    rankings = {query.id: best for query, best in zip(dataset.queries, ranked, strict=True)}
    return measure(dataset.qrels, rankings)[METRIC]


def compare(encoded: Encoded) -> dict[str, Any]:
    """Every system at every budget on one set; quality in [0, 1]."""
    dataset, words = encoded.dataset, Words.of(encoded.dataset)
    bm25 = {"plain": words.plain, "stemmed": words.stemmed, "words and pairs": words.both()}
    alone = {name: per_query(dataset, scores) for name, scores in bm25.items()}
    better = max(alone["plain"], alone["stemmed"], key=lambda values: float(values.mean()))
    rows = []
    for budget in RetrievalBudget.paper():
        maxsim = _maxsim(encoded, budget)
        systems = {
            "late interaction": maxsim,
            "rrf": _rows(partial(fuse, Fusion("rrf")), maxsim, words.both()),
            "no pairs": _rows(partial(fuse, Fusion()), maxsim, words.stemmed),
            "every page": _rows(partial(fuse, Fusion()), maxsim, words.both()),
            "hybrid": _searched(Fusion(), maxsim, words.both()),
        }
        found = {name: per_query(dataset, scores) for name, scores in systems.items()}
        gain = found["hybrid"] - better
        rows.append(
            {"budget": str(budget)}
            | {name: round(float(values.mean()), 4) for name, values in found.items()}
            | {"gain": [round(one, 4) for one in (gain.mean(), *bootstrap_interval(gain))]}
        )
    return {
        "dataset": dataset.name,
        "queries": len(dataset.queries),
        "pages": len(dataset.pages),
        "bm25": {name: round(float(values.mean()), 4) for name, values in alone.items()},
        "results": rows,
    }


def choices(sets: Sequence[Encoded]) -> list[dict[str, float]]:
    """Every choice of both weights: the mean over sets and three budgets, and the least gain.

    The gain is over the better of plain and stemmed BM25, on the set and at the budget where it is
    least.
    """
    trials = [Trial.of(one) for one in sets]
    found = []
    for pair_weight, weight in product(PAIR_WEIGHTS, WEIGHTS):
        fusion = Fusion(weight=weight)
        quality = np.stack([one.quality(fusion, pair_weight) for one in trials])  # (sets, budgets)
        gain = quality - np.array([[one.better] for one in trials])
        found.append(
            {
                "pairs": pair_weight,
                "bm25": weight,
                "mean": round(float(quality.mean()), 4),
                "least gain": round(float(gain.min()), 4),
            }
        )
    return found


@dataclass(frozen=True)
class Trial:
    """All that the choice of weights needs of a set.

    Attributes:
        dataset: The set.
        words: Its BM25.
        maxsim: At (1,1), (4,8) and (16,64), each of shape (queries, pages).
        better: Quality of the better of plain and stemmed BM25.
    """

    dataset: Dataset
    words: Words
    maxsim: tuple[NDArray[np.float64], ...]
    better: float

    @classmethod
    def of(cls, encoded: Encoded) -> Trial:
        """Score a set."""
        words = Words.of(encoded.dataset)
        budgets = (RetrievalBudget(1, 1), RetrievalBudget(4, 8), RetrievalBudget(16, 64))
        both = (per_query(encoded.dataset, one).mean() for one in (words.plain, words.stemmed))
        maxsim = tuple(_maxsim(encoded, budget) for budget in budgets)
        return cls(encoded.dataset, words, maxsim, float(max(both)))

    def quality(self, fusion: Fusion, pair_weight: float) -> NDArray[np.float64]:
        """Of a hybrid search at the three budgets, shape (3,)."""
        words = self.words.both(pair_weight)
        fused = (_searched(fusion, maxsim, words) for maxsim in self.maxsim)
        return np.array([per_query(self.dataset, scores).mean() for scores in fused])


def _searched(
    fusion: Fusion, maxsim: NDArray[np.float64], words: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fused scores of what a search looks at, shape (queries, pages)."""
    rows = zip(maxsim, words, strict=True)
    return np.stack([among_candidates(partial(fuse, fusion), *row) for row in rows])


def _rows(
    fuse: Fuse, maxsim: NDArray[np.float64], words: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.stack([fuse(*row) for row in zip(maxsim, words, strict=True)])


def _maxsim(encoded: Encoded, budget: RetrievalBudget) -> NDArray[np.float64]:
    return exhaustive_scores(encoded.queries, encoded.pages, budget).astype(np.float64)


def read(folder: Path, ocr: Path | None) -> Dataset:
    """A folder in BEIR layout; pages without text are read by OCR."""
    return _read(read_dataset(folder), ocr)


def read_pictures(folder: Path, ocr: Path | None) -> Dataset:
    """A folder in BEIR layout, every page read by OCR, whatever text it has."""
    dataset = read_dataset(folder)
    pages = tuple(replace(page, text="") for page in dataset.pages)
    return _read(replace(dataset, name=f"{dataset.name} by OCR", pages=pages), ocr)


def _read(dataset: Dataset, ocr: Path | None) -> Dataset:
    pages = (p if p.text.strip() else replace(p, text=ocr_text(p, ocr)) for p in dataset.pages)
    return replace(dataset, pages=tuple(pages))


def development_charts(source: Path, without: Sequence[Dataset]) -> Dataset:
    """Validation charts of OpenCQA that are in none of ``without``, with all their questions."""
    pictures = (page.image_path for dataset in without for page in dataset.pages)
    taken = {Path(picture).stem for picture in pictures if picture}
    asked = defaultdict(list)
    for row in read_jsonl(source / "val.jsonl"):
        asked[Path(row["image"]).stem].append(row["text"])
    left = sorted(asked.keys() - taken)
    charts = sorted(random.Random(1).sample(left, min(len(left), CHARTS)))
    queries = {f"{id}@{n}": text for id in charts for n, text in enumerate(asked[id])}
    return Dataset(
        "development charts",
        tuple(Page(id, id=id, image_path=str(source / "images" / f"{id}.webp")) for id in charts),
        tuple(Query(id, text) for id, text in queries.items()),
        {id: {id.split("@")[0]: 1} for id in queries},
    )


def without_queries(dataset: Dataset, others: Sequence[Dataset]) -> Dataset:
    """The set without queries that one of ``others`` asks too."""
    asked = {query.text for other in others for query in other.queries}
    kept = tuple(query for query in dataset.queries if query.text not in asked)
    return replace(dataset, queries=kept, qrels={q.id: dataset.qrels[q.id] for q in kept})


def validation_datasets(data: Path, prepared: Path) -> Iterator[Dataset]:
    """The validation sets of the shipped checkpoint's training, as evaluation sets."""
    sources = corpora.read_sources(prepared, data, part="validation")
    for dataset in validation_sets(sources):
        yield replace(dataset, name=f"validation {dataset.name}")


def speed(pages: int, searches: int = 30) -> dict[str, float]:
    """CPU milliseconds of searches in a folder of random vectors and Zipf-distributed words."""
    generator = np.random.default_rng(0)
    words = generator.zipf(1.2, (pages, 250)) % 50_000
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    queries = [" ".join(f"w{word}" for word in row[:6]) for row in words[:searches]]
    encoder = RandomEncoder(128)
    vectors = encoder.encode_query(queries)
    with tempfile.TemporaryDirectory() as folder:
        index = PageIndex.open(folder, encoder)
        index.add((Page("zipf", number=n, text=t) for n, t in enumerate(texts, 1)), batch_size=64)

        def milliseconds(which: PageIndex, hybrid: bool, count: int = searches) -> float:
            spent = []
            for one, text in zip(vectors[:count], queries, strict=False):
                start = time.process_time()
                which.search_vectors(one, 10, hybrid=hybrid, text=text)
                spent.append(1000 * (time.process_time() - start))
            return round(float(np.median(spent)), 1)

        again = PageIndex.open(folder, encoder)
        return {
            "search": milliseconds(index, False),
            "hybrid, building BM25": milliseconds(index, True, 1),
            "hybrid, loading BM25": milliseconds(again, True, 1),
            "hybrid, just after a write": milliseconds(_written(index, folder, 60), True),
            "hybrid": milliseconds(_written(index, folder, -60), True),
        }


def _written(index: PageIndex, folder: str, seconds: float) -> PageIndex:
    """The index, whose database looks as if it had been written ``seconds`` from now."""
    when = time.time() + seconds
    os.utime(Path(folder) / "chroma.sqlite3", (when, when))
    return index


def table(reports: Sequence[dict[str, Any]]) -> str:
    """The reports as one Markdown table; quality in percent."""
    systems = [key for key in reports[0]["results"][0] if key not in ("budget", "gain")]
    words = [f"BM25 {name}" for name in reports[0]["bm25"]]
    lines = _head(["set", "budget", *words, *systems, "over the better BM25"])
    for report in reports:
        for row in report["results"]:
            values = [*report["bm25"].values(), *(row[system] for system in systems)]
            mean, low, high = (100 * one for one in row["gain"])
            cells = [report["dataset"], f"({row['budget']})", *(f"{100 * v:.1f}" for v in values)]
            lines.append(_row([*cells, f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"]))
    return "\n".join(lines)


def choice_table(found: Sequence[dict[str, float]]) -> str:
    """The choices as a Markdown table: mean, and least gain, in percent."""
    lines = _head(["pairs count", *(f"BM25 counts {weight}" for weight in WEIGHTS)])
    for pair_weight in PAIR_WEIGHTS:
        row = [one for one in found if one["pairs"] == pair_weight]
        cells = [f"{100 * one['mean']:.1f} ({100 * one['least gain']:+.1f})" for one in row]
        lines.append(_row([f"{pair_weight:g}", *cells]))
    return "\n".join(lines)


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Read the command line; print the tables, or the milliseconds."""
    args = _arguments()
    if args.speed:
        spent = {"pages": args.speed, **speed(args.speed)}
        print(json.dumps(spent, indent=2))
        if args.json:
            results.write(args.json, SPEED_CLAIM, spent)
        return

    from metaembed_rag.model import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(args.checkpoint)
    evaluation = [read(folder, args.ocr) for folder in args.folders]
    evaluation += [read_pictures(folder, args.ocr) for folder in args.pictures]
    sets = [encode(dataset, encoder, args.cache) for dataset in _development(args, evaluation)]
    found: dict[str, Any] = {"model": args.checkpoint}
    if sets:
        found |= {"development": [compare(one) for one in sets], "choices": choices(sets)}
        print(table(found["development"]), choice_table(found["choices"]), sep="\n\n", end="\n\n")
    if evaluation:
        found["evaluation"] = [compare(encode(one, encoder, args.cache)) for one in evaluation]
        print(table(found["evaluation"]))
    if args.json:
        results.write(args.json, CLAIM, found, fingerprint=encoder.fingerprint)


def _development(args: argparse.Namespace, evaluation: Sequence[Dataset]) -> Iterator[Dataset]:
    found = [read(folder, args.ocr) for folder in args.development]
    if args.validation:
        found = [*validation_datasets(args.validation, args.prepared), *found]
    if args.charts:
        found.append(_read(development_charts(args.charts, evaluation), args.ocr))
    return (without_queries(one, evaluation) for one in found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("folders", nargs="*", type=Path, help="evaluation sets: folders in BEIR layout")
    add("--pictures", nargs="+", type=Path, default=[], help="more of them, read by OCR")
    add("--checkpoint", "--model", default="mini")
    add("--cache", type=Path, help="folder that keeps the encoded sets")
    add("--ocr", type=Path, help="folder that keeps the texts of pictures")
    add("--json", type=Path, help="write all figures to this file")
    add("--development", nargs="+", type=Path, default=[], help="folders in BEIR layout")
    add("--validation", type=Path, metavar="DATA", help="use mini's validation sets")
    add("--prepared", type=Path, help="the training text, for --validation")
    add("--charts", type=Path, help="the folder opencqa_train, for development charts")
    add("--speed", type=int, metavar="PAGES", help="time searches instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
