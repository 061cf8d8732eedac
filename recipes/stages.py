"""Stages that recipes have in common: training, averaging, exporting, measuring; made once.

A recipe is a class of stages that read and write one working folder; a result that is there is
kept, so an interrupted run goes on where it was. :class:`Recipe` holds the last four stages, which
a recipe inherits; those before write ``pairs/`` (with ``validation/`` in it) and ``start/``.

::

    work/
    ├── pairs/validation/   sets in BEIR layout that settings may be chosen on
    ├── start/              the checkpoint that training starts from
    ├── run/                train: a run of ``metaembed train``
    └── average/            average: between start and run, in fp32
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metaembed_rag.errors import CheckpointError, MetaEmbedError
from metaembed_rag.evaluation import Dataset, EvaluationReport, evaluate, read_dataset
from metaembed_rag.model import MetaEmbedEncoder
from metaembed_rag.training import fit
from metaembed_rag.training.config import RunConfig, read_config
from recipes.averaging import best_share, between

logger = logging.getLogger(__name__)

EVALUATED = ("texdoc_pages", "debian_packages", "cranfield")
"""Sets that an exported checkpoint is measured on, and nothing is chosen by."""
METRIC = "ndcg@5"
TRAINING = ("steps", "batch_size", "device")
"""Keys of ``[train]`` that are options of a recipe's command line."""

_ROUNDING = 0.005
"""Vectors differ by less when fp16 weights are the only reason."""


class Recipe:
    """The last stages of a recipe, bound to their folders.

    Args:
        work: Where results lie.
        data: The folder of the evaluation sets and of the lists of training pairs.
        out: Where the checkpoint is exported to.
        config: The configuration of the training; its paths, which lie beside its ``out``, are
            moved to ``work``.
        training: Keys of ``[train]`` that replace those of ``config``.
    """

    name: ClassVar[str]

    def __init__(
        self,
        work: Path,
        data: Path,
        out: Path,
        config: Path,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        self.work, self.data, self.out, self.config = work, data, out, config
        self.training = dict(training or {})
        self.evaluated: Sequence[str] = EVALUATED
        self.pairs_folder, self.average_folder = work / "pairs", work / "average"
        self.start_folder, self.run_folder = work / "start", work / "run"

    @property
    def finished_folder(self) -> Path:
        """The checkpoint that is exported."""
        return self.average_folder

    def train(self) -> None:
        """Train it by the loop of ``metaembed train``, or go on with an interrupted run."""
        command = f"python -m recipes.{self.name} train"
        fit.train(self.run_config(), command=command, say=logger.info)

    def average(self) -> None:
        """Choose the share of the trained weights by nDCG@5 on the validation sets."""
        made_once(self.average_folder, self._choose_share)

    def export(self) -> None:
        """Write the checkpoint in fp16.

        Raises:
            CheckpointError: Its vectors differ by more than the rounding explains.
        """
        whole = MetaEmbedEncoder.from_pretrained(self.finished_folder, device="cpu")
        whole.save_pretrained(self.out, dtype="float16")
        rounded = MetaEmbedEncoder.from_pretrained(self.out, device="cpu")
        texts = [page.text for one in self.validation() for page in one.pages[:20]]
        apart = whole.encode_document(texts) - rounded.encode_document(texts)
        worst = float(np.abs(apart).max())
        if worst > _ROUNDING:
            raise CheckpointError(f"{self.out}: vectors differ from training's by {worst:.4f}")
        logger.info("%s: vectors within %.5f of training's", self.out, worst)

    def evaluate(self) -> None:
        """nDCG@5 of the exported checkpoint on validation and evaluation sets."""
        encoder = MetaEmbedEncoder.from_pretrained(self.out, device="cpu")
        folders = [self.data / name for name in self.evaluated]
        there = [read_dataset(one) for one in folders if (one / "corpus.jsonl").exists()]
        for dataset in [*self.validation(), *there]:
            logged(evaluate(dataset, encoder, mode="text"))

    def run_config(self) -> RunConfig:
        """The configuration with this work folder's paths and what was asked otherwise."""
        given = tomllib.loads(self.config.read_text(encoding="utf-8"))
        former = Path(given["out"]).parent

        def moved(path: str) -> Path:
            return self.work / Path(path).relative_to(former)

        training = dict(self.training)
        if "steps" in training:
            training.setdefault("warm_up", training["steps"] // 20)
        written = [one for one in given["data"] if moved(one["path"]).exists()]
        return read_config(
            self.config,
            {
                "out": str(self.run_folder),
                "model": {"backbone": str(self.start_folder)},
                "data": [{**one, "path": str(moved(one["path"]))} for one in written],
                "train": training,
            },
        )

    def validation(self) -> list[Dataset]:
        """The sets that settings may be chosen on."""
        return [read_dataset(one) for one in sorted((self.pairs_folder / "validation").iterdir())]

    def quality(self, encoder: MetaEmbedEncoder, sets: Sequence[Dataset]) -> float:
        """Of a model on the validation sets; by default the mean of all sets and budgets."""
        return statistics.fmean(
            value
            for dataset in sets
            for value in logged(evaluate(dataset, encoder, mode="text")).values()
        )

    def _choose_share(self, folder: Path) -> None:
        encoder = MetaEmbedEncoder.from_pretrained(self.run_folder, device="cpu")
        start = MetaEmbedEncoder.from_pretrained(self.start_folder, device="cpu")
        model: Any = encoder.backbone.model
        sets = self.validation()
        if self.run_config().train.trained == "readout":
            model.freeze_text()  # a text is read once, not once a share

        def quality(weights: dict[str, Tensor]) -> float:
            model.load_state_dict(weights)
            return self.quality(encoder, sets)

        before = start.backbone.model.state_dict()
        trained = {name: one.clone() for name, one in model.state_dict().items()}
        share, scores = best_share(before, trained, quality)
        logger.info("share of the trained weights: %s of %s", share, scores)
        model.load_state_dict(between(before, trained, share))
        encoder.save_pretrained(folder)


def made_once(place: Path, make: Callable[[Path], None]) -> None:
    """Make a file or folder whole or not at all; one that is there is kept."""
    if place.exists():
        logger.info("%s is there already; remove it to have it made again", place)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f"part-{place.name}")
    shutil.rmtree(part, ignore_errors=True)
    make(part)
    part.replace(place)


def logged(report: EvaluationReport) -> dict[str, float]:
    """nDCG@5 at each budget, written to the log as well."""
    found = {str(one.budget): round(one.mean(METRIC), 4) for one in report.results}
    logger.info("%s, %s: %s", report.dataset, METRIC, found)
    return found


# ------------------------------------------------------------------------------- command line


def parser(
    name: str, stages: Sequence[str], *, steps: str, batch_size: str
) -> argparse.ArgumentParser:
    """The options that every recipe has; ``steps`` and ``batch_size`` are its defaults in words."""
    parse = argparse.ArgumentParser(prog=f"python -m recipes.{name}")
    parse.add_argument("stages", nargs="+", choices=[*stages, "all"])
    parse.add_argument("--work", type=Path, default=Path(".data") / name, help="working folder")
    default = os.environ.get("METAEMBED_DATA", "../shared/data")
    parse.add_argument("--data", type=Path, default=Path(default), help="folder of the data sets")
    parse.add_argument("--steps", type=int, help=f"of the train stage ({steps})")
    parse.add_argument("--batch-size", type=int, help=f"of the train stage ({batch_size})")
    parse.add_argument("--device", help="of the train stage: cpu, cuda or mps")
    parse.add_argument("--threads", type=int, default=1)
    return parse


def run_stages(
    given: argparse.Namespace, stages: Sequence[str], recipe: Callable[[], Recipe]
) -> int:
    """Run the stages named on the command line, in their order.

    Args:
        given: The options of :func:`parser`.
        stages: All of them, which are methods of the recipe.
        recipe: Makes it.

    Returns:
        The exit status; errors of this package are one line.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    try:
        bound = recipe()
        for stage in stages:
            if stage in given.stages or "all" in given.stages:
                logger.info("stage: %s", stage)
                getattr(bound, stage)()
    except MetaEmbedError as error:
        logger.error("%s", error)
        return 1
    return 0


def asked(given: argparse.Namespace) -> dict[str, Any]:
    """Keys of ``[train]`` that were given on the command line."""
    values = {name: getattr(given, name) for name in TRAINING}
    return {name: value for name, value in values.items() if value is not None}
