"""The stages in which the checkpoint ``mini`` is made; each reads what those before it wrote.

::

    work/
    ├── debs/, tex/, handbooks/   prepare: downloads, and the text extracted from them
    ├── pairs/*.jsonl             pairs: training pairs, and validation/ in BEIR layout
    ├── tokenizer.json            tokenizer
    ├── bag.safetensors           bag: token vectors and counts
    ├── start/                    start: the functionally initialised checkpoint
    ├── run/                      train: a run of ``metaembed train``
    └── average/                  average: between start and run, in fp32
"""

from __future__ import annotations

import logging
import shutil
import statistics
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaembed_rag.errors import CheckpointError
from metaembed_rag.evaluation import EvaluationReport, evaluate, read_dataset
from metaembed_rag.model import MetaEmbedEncoder
from metaembed_rag.training import fit
from metaembed_rag.training.config import RunConfig, read_config
from metaembed_rag.training.data import TrainingSet, read_training_set, write_training_set
from recipes.mini.averaging import best_share, between
from recipes.mini.bag import Bag, BagSettings, train_bag
from recipes.mini.data import corpora
from recipes.mini.data.handbooks import prepare_handbooks
from recipes.mini.data.rows import write_dataset
from recipes.mini.data.validation import validation_sets
from recipes.mini.export import export
from recipes.mini.functional_init import InitSettings, build_model, functional_init
from recipes.mini.pairs import training_pairs
from recipes.mini.tokenizer import load_tokenizer, train_tokenizer

logger = logging.getLogger(__name__)

CONFIG = Path(__file__).parent / "mini.toml"
EVALUATED = ("texdoc_pages", "debian_packages", "cranfield")
METRIC = "ndcg@5"

_ROUNDING = 0.005
"""Vectors differ by less when fp16 weights are the only reason."""


@dataclass(frozen=True)
class Sizes:
    """How large everything is; the defaults are those of the shipped checkpoint.

    Args:
        vocabulary: Tokens, special ones among them.
        hidden: Hidden size, and so values of a vector; a multiple of 64.
        layers: Of the transformer.
        intermediate: Inner size of its MLP.
        bag_steps: Batches of the bag model.
        bag_batch: Pairs of such a batch.
        seed: Of everything that is drawn before training; ``mini.toml`` has that of training.
    """

    vocabulary: int = 24_576
    hidden: int = 256
    layers: int = 1
    intermediate: int = 384
    bag_steps: int = 2_900
    bag_batch: int = 1_024
    seed: int = 0


class Mini:
    """The stages, bound to their folders and sizes.

    Args:
        work: Where results lie.
        data: The folder of the evaluation sets and of the lists of training pairs.
        out: Where the checkpoint is exported to.
        sizes: Of tokenizer, bag model and transformer.
        training: Keys of ``[train]`` that replace those of ``mini.toml``.
    """

    def __init__(
        self,
        work: Path,
        data: Path,
        out: Path,
        sizes: Sizes,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        self.work, self.data, self.out, self.sizes = work, data, out, sizes
        self.training = dict(training or {})
        self._pairs, self._average = work / "pairs", work / "average"
        self._tokenizer, self._bag = work / "tokenizer.json", work / "bag.safetensors"
        self._start, self._run = work / "start", work / "run"

    def prepare(self) -> None:
        """Download and extract the text; what is there already is kept."""
        corpora.prepare(self.work, self.data)
        for package, report in prepare_handbooks(self.work, self.data).items():
            logger.info("%s: %s", package, dict(report))

    def pairs(self) -> None:
        """Write the training pairs as JSON lines, and the validation sets beside them."""
        _made_once(self._pairs, self._write_pairs)

    def tokenizer(self) -> None:
        """Train the tokenizer."""
        _made_once(self._tokenizer, self._train_tokenizer)

    def bag(self) -> None:
        """Train the bag-of-token-vectors model."""
        _made_once(self._bag, self._train_bag)

    def start(self) -> None:
        """Write the transformer that the bag model initialises, as a checkpoint."""
        _made_once(self._start, self._initialise)

    def train(self) -> None:
        """Train it by the loop of ``metaembed train``, or go on with an interrupted run."""
        fit.train(self.run_config(), command="python -m recipes.mini train", say=logger.info)

    def average(self) -> None:
        """Choose the share of the trained weights by nDCG@5 on the validation sets."""
        _made_once(self._average, self._choose_share)

    def export(self) -> None:
        """Write the checkpoint in fp16.

        Raises:
            CheckpointError: Its vectors differ by more than the rounding explains.
        """
        whole = MetaEmbedEncoder.from_pretrained(self._average, device="cpu")
        whole.save_pretrained(self.out, dtype="float16")
        rounded = MetaEmbedEncoder.from_pretrained(self.out, device="cpu")
        texts = [p.text for d in self._validation() for p in read_dataset(d).pages[:20]]
        apart = whole.encode_document(texts) - rounded.encode_document(texts)
        worst = float(np.abs(apart).max())
        if worst > _ROUNDING:
            raise CheckpointError(f"{self.out}: vectors differ from training's by {worst:.4f}")
        logger.info("%s: vectors within %.5f of training's", self.out, worst)

    def evaluate(self) -> None:
        """nDCG@5 of the exported checkpoint on validation and evaluation sets."""
        encoder = MetaEmbedEncoder.from_pretrained(self.out, device="cpu")
        evaluated = [self.data / name for name in EVALUATED]
        there = [folder for folder in evaluated if (folder / "corpus.jsonl").exists()]
        for folder in [*self._validation(), *there]:
            _report(evaluate(folder, encoder, mode="text"))

    def run_config(self) -> RunConfig:
        """``mini.toml`` with this work folder's paths and what was asked otherwise."""
        given = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
        training = dict(self.training)
        if "steps" in training:
            training.setdefault("warm_up", training["steps"] // 20)
        written = [one for one in given["data"] if self._moved(one["path"]).exists()]
        return read_config(
            CONFIG,
            {
                "out": str(self._run),
                "model": {"backbone": str(self._start)},
                "data": [{**one, "path": str(self._moved(one["path"]))} for one in written],
                "train": training,
            },
        )

    def _moved(self, path: str) -> Path:
        """A path of ``mini.toml`` in this work folder."""
        return self.work / Path(path).relative_to(".data/mini")

    def _write_pairs(self, folder: Path) -> None:
        sources = corpora.read_training_text(self.work, self.data)
        for name, examples in training_pairs(sources, seed=self.sizes.seed).items():
            write_training_set(folder / f"{name}.jsonl", examples)
            logger.info("%s: %d pairs", name, len(examples))
        part = corpora.read_sources(self.work, self.data, part="validation")
        for dataset in validation_sets(part):
            write_dataset(folder / "validation" / dataset.name.replace(" ", "_"), dataset)

    def _train_tokenizer(self, file: Path) -> None:
        sources = corpora.read_training_text(self.work, self.data)
        texts = (text[:1500] for text in sources.texts())
        train_tokenizer(texts, self.sizes.vocabulary).save(str(file))

    def _train_bag(self, file: Path) -> None:
        sizes = self.sizes
        bag = train_bag(
            self._training_sets(),
            load_tokenizer(self.work),
            BagSettings(sizes.hidden, sizes.bag_steps, sizes.bag_batch, seed=sizes.seed),
            on_step=lambda step, loss: logger.info("bag step %d: loss %.3f", step, loss),
        )
        bag.save(file)

    def _training_sets(self) -> list[TrainingSet]:
        return [read_training_set(one.path, weight=one.weight) for one in self.run_config().data]

    def _initialise(self, folder: Path) -> None:
        bag, sizes = Bag.load(self._bag), self.sizes
        torch.manual_seed(sizes.seed)
        model = build_model(
            len(bag.vectors), sizes.hidden, layers=sizes.layers, intermediate=sizes.intermediate
        )
        functional_init(model, bag.vectors, bag.counts, InitSettings())
        export(model, load_tokenizer(self.work), folder, dtype="float32")

    def _choose_share(self, folder: Path) -> None:
        encoder = MetaEmbedEncoder.from_pretrained(self._run, device="cpu")
        start = MetaEmbedEncoder.from_pretrained(self._start, device="cpu")
        model: torch.nn.Module = encoder.backbone.model
        sets = [read_dataset(path) for path in self._validation()]

        def quality(weights: dict[str, Tensor]) -> float:
            model.load_state_dict(weights)
            return statistics.fmean(
                value
                for dataset in sets
                for value in _report(evaluate(dataset, encoder, mode="text")).values()
            )

        before = start.backbone.model.state_dict()
        trained = {name: one.clone() for name, one in model.state_dict().items()}
        share, scores = best_share(before, trained, quality)
        logger.info("share of the trained weights: %s of %s", share, scores)
        model.load_state_dict(between(before, trained, share))
        encoder.save_pretrained(folder)

    def _validation(self) -> list[Path]:
        return sorted((self._pairs / "validation").iterdir())


def _made_once(place: Path, make: Callable[[Path], None]) -> None:
    """Make a file or folder whole or not at all; one that is there is kept."""
    if place.exists():
        logger.info("%s is there already; remove it to have it made again", place)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f"part-{place.name}")
    shutil.rmtree(part, ignore_errors=True)
    make(part)
    part.replace(place)


def _report(report: EvaluationReport) -> dict[str, float]:
    """nDCG@5 at each budget, logged."""
    found = {str(one.budget): round(one.mean(METRIC), 4) for one in report.results}
    logger.info("%s, %s: %s", report.dataset, METRIC, found)
    return found
