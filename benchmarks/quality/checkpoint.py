"""Every table of a checkpoint: sets, modes, budgets, formats, baselines, targets, speed.

    python -m benchmarks.quality.checkpoint mini ../shared/data/texdoc_pages \
        ../shared/data/debian_packages ../shared/data/cranfield opencqa400 \
        --tokens .data/comparison/tokens-seed0/checkpoint --single .data/comparison/last-seed0 \
        --no-latency --json results/quality.json

A set with pictures and texts is read in the modes text, image and fused. Beside the checkpoint
stand BM25, plain and stemmed, on the very texts that it reads; a model of one vector a page
(``--single``: a checkpoint, or an arm ``last`` of ``comparison.arms``); Ward and coverage pooling
of a token-level model (``--tokens``) to as many int8 vectors as Meta Tokens have, with all tokens
of the queries; the fusion with BM25 of a hybrid search ("hybrid", what ``hybrid=True`` does), and
what a search without options does ("auto"). All pages are scored.

Then it says which targets are met, and how long loading and encoding take on one thread
(``latency.py``). ``--json`` writes the record that README, model card and documents show.

Vectors, OCR texts and the figures of every system and set are kept in ``--cache`` under what they
depend on, so a second run computes only what is new: another checkpoint, not the baselines again.
``opencqa400`` is a folder of ``data.opencqa``. No setting may be chosen by looking at this.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks import results
from benchmarks.pooling.quality import best_cosines, flattened
from benchmarks.quality.bm25 import bm25_scores
from benchmarks.quality.encoded import (
    InputSet,
    Vectors,
    budgets_of,
    code_digest,
    digest,
    int8_scores,
    kept,
    key_of,
    read_sets,
    rough_scores,
    scores_in_float32,
    vectors_of,
)
from benchmarks.quality.fusion import automatic
from benchmarks.quality.hybrid import among_candidates
from benchmarks.quality.report import Report, Row, SetResult, tables, targets
from metaembed_rag import options
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.evaluation import exhaustive_scores
from metaembed_rag.model import pooling
from metaembed_rag.model.pooling import nested_pooling_batch
from metaembed_rag.model.protocol import Encoder, dimensions
from metaembed_rag.options import Fusion
from metaembed_rag.search import fusion, pairs, words
from metaembed_rag.search.fusion import fuse
from metaembed_rag.search.words import LexicalIndex
from metaembed_rag.vectors import formats
from metaembed_rag.vectors.formats import FORMATS, cut_dimension, quantize

logger = logging.getLogger("checkpoint")

CLAIM = "Quality of a checkpoint at every budget and format, alone, beside BM25 and fused with it."

POOLED_SIZES = (1, 4, 16, 64)
"""Vectors a page at which pooling is compared with Meta Tokens."""
PREFIXED = ("int8", "int4")
"""Formats that are tried with fewer dimensions too, where the checkpoint was trained for that."""


# -- the checkpoint itself -------------------------------------------------------------------


def variants(encoder: Encoder) -> list[tuple[str, int]]:
    """Formats and dimensions: float32 and all formats in full, some with fewer dimensions."""
    full, prefixes = encoder.dimension, [d for d in dimensions(encoder) if d < encoder.dimension]
    cut = [(name, prefix) for name in PREFIXED for prefix in reversed(prefixes) if prefix >= 64]
    return [("fp32", full), *((name, full) for name in FORMATS), *cut]


def checkpoint_rows(data: InputSet, encoder: Encoder, cache: Path) -> list[Row]:
    """Every format at every budget; bytes of the vectors that a budget reads."""
    queries, pages = vectors_of(data, encoder, cache)
    budgets, rows = budgets_of(encoder), []
    rough = rough_scores(queries, FORMATS["int8"].encode(pages), budgets)
    for name, size in variants(encoder):
        asked, held = cut_dimension(queries, size), cut_dimension(pages, size)
        if name == "fp32":
            scores, width = scores_in_float32(asked, held, rough), 4 * size
        elif (name, size) == ("int8", encoder.dimension):
            scores, width = int8_scores(data, encoder, cache), size + 2
        else:
            stored = FORMATS[name].encode(held)
            width = FORMATS[name].bytes_per_vector(size)
            choose = rough if name == "fp16" else rough_scores(asked, stored, budgets)
            scores = scores_in_float32(asked, stored.decode(), choose)
        system = name if size == encoder.dimension else f"{name}, {size} values"
        rows += [
            Row(system, f"({budget})", budget.r_c * width, data.values(found))
            for budget, found in scores.items()
        ]
    return rows


def hybrid_rows(data: InputSet, encoder: Encoder, cache: Path) -> list[Row]:
    """Hybrid search at every budget: candidates of both ways, fused by a fixed weight and by auto.

    All scores are exact: those of :func:`int8_scores` are so for the best pages only, which fused
    scores are not made of alone.
    """
    index = LexicalIndex.build(data.ids, data.texts)
    looked_up = [index.search(query.text) for query in data.dataset.queries]
    words = [one.of(data.ids).astype(np.float64) for one in looked_up]
    found = [one.found_on(data.ids).astype(np.float64) for one in looked_up]
    queries, pages = vectors_of(data, encoder, cache)
    stored, rows = quantize(pages), []
    for budget in budgets_of(encoder):
        maxsim = exhaustive_scores(queries, stored, budget).astype(np.float64)
        both = np.stack(
            [
                among_candidates(partial(fuse, Fusion()), *parts)
                for parts in zip(maxsim, words, strict=True)
            ]
        )
        auto = np.stack(
            [
                among_candidates(partial(automatic, bound=float(parts[2].max())), *parts)
                for parts in zip(maxsim, words, found, strict=True)
            ]
        )
        read = budget.r_c * (encoder.dimension + 2)
        rows.append(Row("hybrid", f"({budget})", read, data.values(both)))
        rows.append(Row("auto", f"({budget})", read, data.values(auto)))
    return rows


# -- what stands beside it -------------------------------------------------------------------


def bm25_rows(data: InputSet) -> list[Row]:
    """Both variants, on the texts that the checkpoint reads."""
    queries = [query.text for query in data.dataset.queries]
    found = [
        (name, bm25_scores(data.texts, queries, stemmed=name == "stemmed")[0])
        for name in ("plain", "stemmed")
    ]
    return [Row("BM25", name, None, data.values(scores)) for name, scores in found]


def single_rows(data: InputSet, encoder: Encoder, cache: Path) -> list[Row]:
    """The first vector of a model that was trained to give one."""
    queries, pages = vectors_of(data, encoder, cache)
    one = RetrievalBudget(1, 1)
    scores = exhaustive_scores(queries, quantize(pages[:, :1]), one)
    return [Row("one vector", "(1,1)", encoder.dimension + 2, data.values(scores))]


def pooled_rows(data: InputSet, encoder: Any) -> list[Row]:
    """Pooling of a token-level model at each size; its queries keep all their tokens."""
    pages = encoder.encode_tokens(data.inputs, "document")
    asked = [query.as_input() for query in data.dataset.queries]
    flat, starts = flattened(encoder.encode_tokens(asked, "query"))
    rows = []
    for method in ("ward", "coverage"):
        for size, pooled in _pooled(pages, method):
            stored = FORMATS["int8"].encode(pooled).decode()
            scores = np.add.reduceat(best_cosines(flat, stored), starts, axis=0)
            name = "Ward" if method == "ward" else method
            rows.append(Row(name, str(size), size * (flat.shape[1] + 2), data.values(scores)))
    return rows


def _pooled(pages: list[Vectors], method: str) -> Iterator[tuple[int, Vectors]]:
    """Size and (pages, size, D); a nested method pools once, and prefixes are the answer."""
    if method in pooling.NESTED:
        most = nested_pooling_batch(pages, max(POOLED_SIZES), method)
        yield from ((size, most[:, :size]) for size in POOLED_SIZES)
        return
    for size in POOLED_SIZES:
        yield size, nested_pooling_batch(pages, size, method)


def load_single(folder: Path, work: Path, cache: Path) -> Any:
    """A checkpoint, or an arm of the comparison made into one with the tokenizer of ``work``."""
    from metaembed_rag import MetaEmbedEncoder

    if (folder / "train.pt").exists() and not (folder / "modules.json").exists():
        exported = cache / "exported" / digest(str(folder.absolute()))
        if not (exported / "metaembed.json").exists():
            export_arm(folder / "train.pt", work, exported)
        folder = exported
    return MetaEmbedEncoder.from_pretrained(folder, device="cpu")


def export_arm(state: Path, work: Path, folder: Path) -> None:
    """Write an arm's state as a checkpoint."""
    import torch

    from benchmarks.comparison.training.trainer import load_state
    from recipes.mini.export import export
    from recipes.mini.functional_init import build_model
    from recipes.mini.tokenizer import load_tokenizer

    weights = torch.load(state, map_location="cpu")["model"]
    vocabulary, hidden = weights["embeddings.tok_embeddings.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
    inner = weights["layers.0.mlp.Wo.weight"].shape[1]
    model = build_model(vocabulary, hidden, layers=layers, intermediate=inner)
    load_state(state, model)
    export(model.eval(), load_tokenizer(work), folder)


# -- the whole of it -------------------------------------------------------------------------


def measure_checkpoint(given: argparse.Namespace) -> Report:
    """All sets and systems, then loading and encoding."""
    from metaembed_rag import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(given.checkpoint, device="cpu")
    beside = baselines(given)
    found, refused = [], []
    for folder in given.sets:
        options = {"limit": given.limit, "skip_pictures": given.skip_pictures}
        sets, reasons = read_sets(folder, encoder, given.ocr_cache, **options)
        refused += reasons
        found += [measure_set(data, encoder, beside, given.cache) for data in sets]
    for reason in refused:
        logger.warning(reason)
    return Report(
        checkpoint=given.checkpoint,
        fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        reads_images="image" in encoder.modalities,
        sets=found,
        refused=refused,
        latency={} if given.no_latency else latency(given.checkpoint, given.sets[0]),
    )


def baselines(given: argparse.Namespace) -> dict[str, Any]:
    """The other models that were named: what to call their rows -> encoder."""
    from metaembed_rag import MetaEmbedEncoder

    found: dict[str, Any] = {}
    if given.single is not None:
        found["single"] = load_single(given.single, given.work, given.cache)
    if given.tokens is not None:
        found["tokens"] = MetaEmbedEncoder.from_pretrained(given.tokens, device="cpu")
        if not hasattr(found["tokens"], "encode_tokens"):
            raise SystemExit(f"{given.tokens} makes ordered vectors; --tokens takes a token model")
    return found


def measure_set(data: InputSet, encoder: Encoder, beside: dict[str, Any], cache: Path) -> SetResult:
    """All systems on one set, each from the cache where nothing that it depends on changed."""
    figures = cache / "figures"
    code = code_digest(options, fusion, pairs, words)
    single, tokens = (_reader(data, beside.get(name)) for name in ("single", "tokens"))
    own = key_of(data, encoder)
    systems: list[tuple[str, Callable[[], list[Row]]]] = [
        (f"bm25-{data.digest}", lambda: bm25_rows(data)),
        (f"own-{own}", lambda: checkpoint_rows(data, encoder, cache)),
        (f"hybrid-{own}-{code}", lambda: hybrid_rows(data, encoder, cache)),
    ]
    if single is not None:
        systems.append((f"one-{key_of(data, single)}", lambda: single_rows(data, single, cache)))
    if tokens is not None:
        key = f"pooled-{key_of(data, tokens, (formats, pooling))}"
        systems.append((key, lambda: pooled_rows(data, tokens)))
    rows: list[Row] = []
    for name, make in systems:
        start = time.perf_counter()
        rows += _kept_rows(figures / f"{name}.json", make)
        kind = name.partition("-")[0]
        logger.info("%s, %s: %.1f s", data.label, kind, time.perf_counter() - start)
    return SetResult(
        label=data.label,
        dataset=data.dataset.name,
        modes=data.modes,
        by_ocr=data.by_ocr,
        queries=len(data.dataset.queries),
        pages=len(data.dataset.pages),
        skipped=data.skipped,
        rows={(row.system, row.size): row for row in rows},
    )


def _reader(data: InputSet, encoder: Any) -> Any:
    """The model, if it reads what the set holds: another one may read no pictures."""
    if encoder is None or "image" in encoder.modalities:
        return encoder
    return encoder if all(isinstance(one, str) for one in data.inputs) else None


def _kept_rows(path: Path, make: Callable[[], list[Row]]) -> list[Row]:
    names = [field.name for field in fields(Row)]
    made = kept(path, lambda: [{name: getattr(row, name) for name in names} for row in make()])
    return [Row(**one) for one in made]


def latency(checkpoint: str, folder: Path) -> dict[str, Any]:
    """What ``latency.py`` prints, from a process of its own with one thread."""
    command = [sys.executable, "-m", "benchmarks.quality.latency", checkpoint, str(folder)]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=alone, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"latency.py failed: {done.stderr.strip().splitlines()[-1]}")
    return cast(dict[str, Any], json.loads(done.stdout))


def check_scoring(given: argparse.Namespace) -> None:
    """Compare the two steps of scoring with float32 over all pages, in int8; print a line a set."""
    from metaembed_rag import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(given.checkpoint, device="cpu")
    for folder in given.sets:
        for data in read_sets(folder, encoder, given.ocr_cache, limit=given.limit)[0]:
            queries, pages = vectors_of(data, encoder, given.cache)
            quick, stored = int8_scores(data, encoder, given.cache), quantize(pages)
            for budget, scores in quick.items():
                values = data.values(exhaustive_scores(queries, stored, budget))
                same = np.mean(np.equal(values["ndcg@10"], data.values(scores)["ndcg@10"]))
                print(f"{data.label} ({budget}): nDCG@10 equal in {same:.2%} of the queries")


def main() -> int:
    """Read the command line, measure, print and write."""
    given = arguments()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    try:
        if given.check:
            check_scoring(given)
            return 0
        report = measure_checkpoint(given)
    except MetaEmbedError as error:
        print(error, file=sys.stderr)
        return 1
    print(tables(report, targets(report, given.targets)))
    if given.json is not None:
        found = report.to_dict(given.targets)
        results.write(given.json, CLAIM, found, fingerprint=report.fingerprint)
    return 0


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("sets", nargs="+", type=Path, help="folders in BEIR layout")
    parser.add_argument("--tokens", type=Path, help="a token-level checkpoint, for pooling")
    parser.add_argument("--single", type=Path, help="a one-vector checkpoint, or an arm's folder")
    parser.add_argument(
        "--work", type=Path, default=Path(".data/mini"), help="whose tokenizer an arm has"
    )
    parser.add_argument("--cache", type=Path, default=Path(".data/checkpoint"))
    parser.add_argument("--ocr-cache", type=Path, default=Path(".data/ocr"), help="OCR texts")
    parser.add_argument("--limit", type=int, help="only the first queries of each set")
    parser.add_argument(
        "--skip-pictures",
        action="store_true",
        help="sets whose pages have texts are not read by OCR too",
    )
    parser.add_argument("--targets", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--no-latency", action="store_true", help="do not time anything")
    parser.add_argument("--check", action="store_true", help="check the scoring instead")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
