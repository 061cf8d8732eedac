"""``metaembed mine``: hard negatives for a training set, by a model."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from metaembed_rag.cli.options import add_budget, add_device, add_model, load_encoder
from metaembed_rag.cli.output import answer, say
from metaembed_rag.cli.values import positive
from metaembed_rag.errors import DatasetError

SUMMARY = "add hard negatives to a training set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed mine``."""
    parser.add_argument("--data", required=True, help="training set: JSON lines or a BEIR folder")
    parser.add_argument("--out", required=True, metavar="FILE", help="JSON lines with negatives")
    add_model(parser, "a folder, or a hub id")
    add_device(parser)
    parser.add_argument(
        "--corpus",
        action="append",
        default=[],
        metavar="PATH",
        help="more pages that may be negatives: a BEIR folder or its corpus.jsonl; repeatable",
    )
    parser.add_argument("--negatives", type=positive, default=4, help="a query (default: 4)")
    add_budget(parser, "vectors a side that rank the pages (default: all that the model makes)")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.95,
        help="drop pages that score this share of the positive's score or more, because they may"
        " be answers that nobody marked (default: 0.95)",
    )
    parser.add_argument("--skip", type=int, default=0, help="pass over the best N (default: 0)")
    parser.add_argument(
        "--depth", type=positive, default=50, help="pages looked at a query (default: 50)"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N examples only")
    parser.add_argument("--batch-size", type=positive, default=32, help="inputs at a time")


def _check_out(given: argparse.Namespace) -> None:
    """Before an hour of mining, not after it."""
    out = Path(given.out)
    if out.is_dir():
        raise DatasetError(f"{out} is a folder; name a file, such as {out / 'mined.jsonl'}")
    data = Path(given.data)
    if out.exists() and data.exists() and out.samefile(data):
        raise DatasetError(f"--out {out} is the training set itself; name another file")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise DatasetError(f"{out.parent} cannot be written to; name another folder")


def run(given: argparse.Namespace) -> int:
    """Mine, write the new training set, and say what was done."""
    from metaembed_rag.training.data import read_corpus, read_training_set, write_training_set
    from metaembed_rag.training.mining import MiningSettings, mine

    settings = MiningSettings(given.negatives, given.margin, given.skip, given.depth)
    _check_out(given)
    rows = read_training_set(given.data, limit=given.limit)
    corpus = [page for path in given.corpus for page in read_corpus(path)]
    examples, report = mine(
        rows,
        load_encoder(given),
        corpus=corpus,
        settings=settings,
        budget=given.budget,
        batch_size=given.batch_size,
        show_progress=not given.quiet,
    )
    write_training_set(given.out, examples)
    answer(
        given,
        {"data": given.data, "out": given.out, **asdict(report)},
        f"{report.mined} negatives for {report.examples} examples from {report.pages} pages,"
        f" in {given.out}",
    )
    if not given.json:
        say(
            f"{report.too_near} candidates were dropped (as near as the positive); {report.fewer}"
            f" examples got fewer than {given.negatives}, {report.none} of them none"
        )
    return 0
