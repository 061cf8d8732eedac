"""Teach the small checkpoint to see: data, training in stages, measures, one checkpoint.

::

    python -m metaembed_rag.training.vision prepare    # shards of pages and a manifest
    python -m metaembed_rag.training.vision text       # optional: a larger text model
    python -m metaembed_rag.training.vision train      # read cells, then land where texts land
    python -m metaembed_rag.training.vision evaluate   # tokens read and pages found, beside chance
    python -m metaembed_rag.training.vision join       # the folder for MetaEmbedEncoder

``text`` and ``train`` stop after ``--minutes``, saved, with exit code 3; the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from metaembed_rag.errors import MetaEmbedError, TrainingError
from metaembed_rag.training.tokenizer import load_tokenizer
from metaembed_rag.training.trainer import TrainSettings
from metaembed_rag.training.vision.batches import Drawer
from metaembed_rag.training.vision.dense import DenseSettings
from metaembed_rag.training.vision.pages import PagesSettings
from metaembed_rag.training.vision.run import (
    STAGES,
    Progress,
    RunSettings,
    run_stage,
    token_rows,
)
from metaembed_rag.training.vision.shards import PageSet
from metaembed_rag.training.vision.start import start_tower
from metaembed_rag.training.vision.state import load_state, read_about
from metaembed_rag.training.vision.text import log_measures, train_text
from metaembed_rag.training.vision.tower import (
    TowerSize,
    build_tower,
    digest,
    load_text_model,
    trained,
)

logger = logging.getLogger(__name__)

UNFINISHED = 3
"""Exit code where the minutes were over before the steps were."""


def prepare(options: argparse.Namespace) -> int:
    """Make the shards that are missing, and print the manifest's sums."""
    from metaembed_rag.training.vision.prepare import Preparation, PrepareSettings

    settings = PrepareSettings(
        side=options.side,
        pages_per_package=options.pages_per_package,
        pages_per_document=options.pages_per_document,
        charts=options.charts,
        drawn=options.drawn,
        seed=options.seed,
    )
    making = Preparation(options.work, options.data, options.text_model, settings)
    manifest = making.run(options.only)
    _print({key: manifest[key] for key in ("train", "validation", "removed")})
    return 0


def text(options: argparse.Namespace) -> int:
    """Train the larger text model for a while."""
    settings = TrainSettings(
        steps=options.steps, shapes=((options.batch, options.tokens),), seed=options.seed
    )
    finished = train_text(
        options.work,
        options.out,
        settings,
        layers=options.layers,
        intermediate=options.intermediate,
        minutes=options.minutes,
        device=options.device,
    )
    return 0 if finished else UNFINISHED


def train(options: argparse.Namespace) -> int:
    """Go on with the first stage that is not finished."""
    model = _tower(options, options.size)
    pages = PageSet.of_split(options.shards, "train")
    _check_tokenizer(pages, options.text_model)
    drawer = Drawer(
        pages,
        side=options.size.side,
        cell=options.size.cell,
        seed=options.seed,
        keep=options.keep,
    )
    rows, left = token_rows(model), options.minutes
    for name in STAGES:
        settings = _settings(options, name)
        begun = time.monotonic()
        finished = run_stage(
            model,
            STAGES[name](drawer, rows, settings),
            settings,
            options.run / name,
            minutes=left,
            threads=options.threads,
            report_every=options.report_every,
            on_progress=_report,
        )
        if not finished:
            logger.info("%s is not finished; the same command goes on", name)
            return UNFINISHED
        left -= (time.monotonic() - begun) / 60
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Print measures of the trained weights on the validation pages, as JSON."""
    from metaembed_rag.training.vision.quality import measure

    model = _trained(options)
    pages = PageSet.of_split(options.shards, options.split)
    _check_tokenizer(pages, options.text_model)
    _print(asdict(measure(model, pages, limit=options.limit)))
    return 0


def join(options: argparse.Namespace) -> int:
    """Write the checkpoint and check it on three pages."""
    from metaembed_rag.training.vision.join import check_join
    from metaembed_rag.training.vision.join import join as write

    options.device = "cpu"
    model = _trained(options)
    write(model, options.text_model, options.out)
    pages = PageSet.of_split(options.shards, "validation")
    images = [pages.picture(page).convert("RGB") for page in range(min(3, len(pages)))]
    worst = check_join(model, options.out, images)
    logger.info("%s: pictures' vectors within %.5f of training's", options.out, worst)
    return 0


def _tower(options: argparse.Namespace, size: TowerSize) -> Any:
    """The tower at its start, on its device; what it was begun with is kept beside its weights."""
    text_model = load_text_model(options.text_model)
    about, path = {"size": asdict(size), "text_model": digest(text_model)}, _about_path(options)
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != about:
        raise TrainingError(
            f"{path.parent} was begun with other sizes or another text model than "
            f"{options.text_model}; give the same, or remove it to begin anew"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about) + "\n", encoding="utf-8")
    model = build_tower(text_model, size)
    start_tower(model)
    return model.to(torch.device(options.device))  # type: ignore[arg-type]


def _trained(options: argparse.Namespace) -> Any:
    """The tower with the weights of the last stage that has some."""
    path = _about_path(options)
    begun = [name for name in STAGES if read_about(options.run / name) is not None]
    if not path.exists() or not begun:
        raise TrainingError(f"{options.run} holds no trained weights; run train first")
    size = TowerSize(**json.loads(path.read_text(encoding="utf-8"))["size"])
    model = _tower(options, size)
    load_state(options.run / begun[-1], trained(model))
    return model


def _about_path(options: argparse.Namespace) -> Path:
    return Path(options.run) / "tower.json"


def _settings(options: argparse.Namespace, stage: str) -> RunSettings:
    dense = DenseSettings(cells=options.cells, negatives=options.negatives)
    return RunSettings(
        steps=options.dense_steps if stage == "dense" else options.pages_steps,
        batch=options.windows if stage == "dense" else options.pages,
        window=min(options.window, options.size.grid),
        learning_rate=options.learning_rate * (1.0 if stage == "dense" else 0.3),
        seed=options.seed,
        dense=dense,
        pages=PagesSettings(dense=dense),
    )


def _check_tokenizer(pages: PageSet, text_model: Path) -> None:
    from metaembed_rag.training.vision.prepare import vocabulary_hash

    if vocabulary_hash(load_tokenizer(text_model)) != pages.tokenizer:
        raise TrainingError(
            f"the shards were made with another tokenizer than {text_model}; prepare them with it"
        )


def _report(progress: Progress) -> None:
    log_measures(progress.stage, progress.step, progress.seconds, progress.measures)


def _print(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


COMMANDS = {
    "prepare": prepare,
    "text": text,
    "train": train,
    "evaluate": evaluate,
    "join": join,
}


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parse = argparse.ArgumentParser(prog="python -m metaembed_rag.training.vision")
    commands = parse.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        one = commands.add_parser(name, help=(function.__doc__ or "").partition("\n")[0])
        _add_common(one)
        _ADD[name](one)
    return parse


def _add_common(one: argparse.ArgumentParser) -> None:
    mini = Path(__file__).parents[2] / "checkpoints" / "mini"
    one.add_argument("--work", type=Path, default=Path(".data/mini"), help="working folder of mini")
    one.add_argument("--text-model", type=Path, default=mini, help="folder of the text checkpoint")
    one.add_argument("--shards", type=Path, help="folder of the shards (WORK/vision)")
    one.add_argument("--run", type=Path, help="folder of the trained weights (WORK/vision/run)")
    one.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    one.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    one.add_argument("--seed", type=int, default=0)


def _numbers(one: argparse.ArgumentParser, defaults: dict[str, float]) -> None:
    for name, value in defaults.items():
        one.add_argument(f"--{name}", type=type(value), default=value)


def _add_prepare(one: argparse.ArgumentParser) -> None:
    from metaembed_rag.training.vision.prepare import KINDS, PrepareSettings

    data = os.environ.get("METAEMBED_DATA", "../shared/data")
    one.add_argument("--data", type=Path, default=Path(data), help="folder of the data sets")
    one.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    sizes = PrepareSettings()
    for name in ("side", "pages_per_package", "pages_per_document", "charts", "drawn"):
        _numbers(one, {name.replace("_", "-"): getattr(sizes, name)})


def _add_text(one: argparse.ArgumentParser) -> None:
    one.add_argument("--out", type=Path, required=True, help="folder of the finished text model")
    sizes = {"steps": 8000, "batch": 1024, "tokens": 128, "layers": 6, "intermediate": 768}
    _numbers(one, {**sizes, "minutes": 9.0})


def _add_train(one: argparse.ArgumentParser) -> None:
    _numbers(one, {**asdict(TowerSize())})
    steps = {"dense-steps": 20000, "pages-steps": 3000, "windows": 512, "pages": 48}
    cells = {"window": 7, "cells": 8192, "negatives": 0, "keep": 20000, "report-every": 50}
    _numbers(one, {**steps, **cells, "learning-rate": 1e-3, "minutes": 9.0})


def _add_evaluate(one: argparse.ArgumentParser) -> None:
    one.add_argument("--split", choices=("train", "validation"), default="validation")
    one.add_argument("--limit", type=int, default=200, help="at most so many pages")


def _add_join(one: argparse.ArgumentParser) -> None:
    one.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")


_ADD = {
    "prepare": _add_prepare,
    "text": _add_text,
    "train": _add_train,
    "evaluate": _add_evaluate,
    "join": _add_join,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    options.shards = options.shards or options.work / "vision"
    options.run = options.run or options.shards / "run"
    if options.command == "train":
        size = asdict(TowerSize())
        options.size = TowerSize(**{name: getattr(options, name) for name in size})
    try:
        return COMMANDS[options.command](options)
    except MetaEmbedError as error:
        logger.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
