"""Make the shipped checkpoint ``mini`` from nothing, stage by stage.

::

    python -m recipes.mini.mini prepare    # Debian's TeX documentation and WordNet
    python -m recipes.mini.mini tokenizer  # BPE, and every text as token ids
    python -m recipes.mini.mini bag        # token vectors: the bag model
    python -m recipes.mini.mini train      # functional initialisation, then MMR
    python -m recipes.mini.mini average    # between start and end, by validation sets
    python -m recipes.mini.mini export     # the folder for MetaEmbedEncoder
    python -m recipes.mini.mini evaluate   # nDCG@5 at the five budgets

Each stage reads and writes the working folder (``--work``) and is not repeated when its result is
there; ``train`` continues from its last state. ``--data`` holds the evaluation sets (they are only
read to keep their text out of training) and the lists of training pairs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from metaembed_rag.training.collapse import Collapse, measure_collapse
from recipes.mini import corpora
from recipes.mini.averaging import best_share, between
from recipes.mini.bag import train_bag
from recipes.mini.batches import Sampler, TokenisedSources, tokenise
from recipes.mini.export import (
    DOCUMENT_TOKENS,
    QUERY_TOKENS,
    check_export,
    export,
    trained_dimensions,
)
from recipes.mini.forward import encode_tokens
from recipes.mini.functional_init import InitSettings, build_model, functional_init
from recipes.mini.handbooks import prepare_handbooks
from recipes.mini.leaks import LeakCheck, find_leaks
from recipes.mini.objectives import MetaTokenLoss
from recipes.mini.retrieval import budget_curve
from recipes.mini.tokenizer import encode, load_tokenizer, train_tokenizer
from recipes.mini.trainer import (
    Progress,
    TrainSettings,
    load_state,
    train,
)

if TYPE_CHECKING:
    from transformers import ModernBertModel

logger = logging.getLogger(__name__)

STAGES = ("prepare", "tokenizer", "bag", "train", "average", "export", "evaluate")
EVALUATED = ("texdoc_pages", "debian_packages", "cranfield")


class Mini:
    """The stages, bound to their folders and sizes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work, self.data = Path(options.work).expanduser(), Path(options.data)
        self.work.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Download and extract the training text."""
        corpora.prepare(self.work, self.data)
        for package, report in prepare_handbooks(self.work, self.data).items():
            logger.info("%s: %s", package, dict(report))

    def tokenizer(self) -> None:
        """Train the tokenizer and encode every training text."""
        sources, left_out = without_near_duplicates(
            corpora.read_sources(self.work, self.data, part="train"),
            LeakCheck.of_sets(self.data, corpora.EVALUATION_SETS),
        )
        logger.info("left out as near-duplicates of evaluation text: %s", left_out)
        if not (self.work / "tokenizer.json").exists():
            texts = (text[:1500] for text in sources.texts())
            train_tokenizer(texts, self.options.vocabulary).save(str(self.work / "tokenizer.json"))
        tokenise(sources, load_tokenizer(self.work)).save(self.work / "sources.npz")

    def bag(self) -> None:
        """Train the bag-of-token-vectors model."""
        vectors = train_bag(
            Sampler(self._sources(), seed=self.options.seed + 1),
            self.options.vocabulary,
            self.options.hidden,
            steps=self.options.bag_steps,
            batch_size=self.options.bag_batch,
            seed=self.options.seed,
            on_step=lambda step, loss, _: logger.info("bag step %d: loss %.3f", step, loss),
        )
        torch.save(vectors, self.work / "bag.pt")

    def train(self) -> None:
        """Initialise the transformer from the bag model and train it."""
        sources, vectors = self._sources(), torch.load(self.work / "bag.pt")
        model: Any = self._start(sources, vectors)
        device = torch.device(self.options.device)
        model.to(device)
        settings = self._settings()
        validation = self._validation()
        report_validation(model, validation, "before training")

        def progressed(progress: Progress) -> None:
            _log_progress(progress)
            if progress.step % 500 == 0 and progress.step < settings.steps:
                report_validation(model, validation, f"step {progress.step}")

        train(
            model,
            Sampler(sources, seed=settings.seed + 7),
            settings,
            objective=MetaTokenLoss(dimensions=trained_dimensions(self.options.hidden)),
            state=self.work / "train.pt",
            on_progress=progressed,
        )
        report_validation(model, validation, "after training")

    def average(self) -> None:
        """Choose the share of the trained weights, by nDCG@5 on the validation sets."""
        sources, vectors = self._sources(), torch.load(self.work / "bag.pt")
        model, start = self._model(), self._start(sources, vectors).state_dict()
        load_state(self.work / "train.pt", model)
        validation = self._validation()

        def quality(weights: dict[str, Tensor]) -> float:
            model.load_state_dict(weights)
            curves = [curve for _, curve, _ in budget_curves(model, validation)]
            logger.info("%s", [{b: round(v, 4) for b, v in curve.items()} for curve in curves])
            return float(np.mean([list(curve.values()) for curve in curves]))

        trained = {name: one.clone() for name, one in model.state_dict().items()}
        share, scores = best_share(start, trained, quality)
        logger.info("share of the trained weights: %s of %s", share, scores)
        torch.save(between(start, trained, share), self.work / "weights.pt")

    def export(self) -> None:
        """Write and check the checkpoint folder."""
        model, tokenizer = self._trained(), load_tokenizer(self.work)
        folder = Path(self.options.out)
        export(model, tokenizer, folder)
        texts = [text for task in self._validation_tasks() for text in task.corpus[:20]]
        worst = check_export(model, tokenizer, folder, texts)
        logger.info("%s: vectors within %.5f of training's", folder, worst)

    def evaluate(self) -> None:
        """nDCG@5 of the trained weights on validation and evaluation sets."""
        model = self._trained()
        report_validation(model, self._validation(), "validation")
        tasks = [corpora.read_evaluation_set(self.data / name) for name in EVALUATED]
        report_validation(model, self._encoded(tasks), "evaluation")

    def _sources(self) -> TokenisedSources:
        return TokenisedSources.load(self.work / "sources.npz")

    def _model(self) -> ModernBertModel:
        torch.manual_seed(self.options.seed)
        size = self.options
        return build_model(
            size.vocabulary, size.hidden, layers=size.layers, intermediate=size.intermediate
        )

    def _start(self, sources: TokenisedSources, vectors: Tensor) -> ModernBertModel:
        model = self._model()
        functional_init(model, vectors, token_counts(sources, len(vectors)), InitSettings())
        return model

    def _trained(self) -> ModernBertModel:
        model = self._model()
        model.load_state_dict(torch.load(self.work / "weights.pt"))
        return model.eval()

    def _settings(self) -> TrainSettings:
        settings = TrainSettings(steps=self.options.steps, seed=self.options.seed)
        if self.options.batch:
            settings = replace(settings, shapes=((self.options.batch, 64),))
        logger.info("settings: %s", json.dumps(asdict(settings)))
        return settings

    def _validation_tasks(self) -> list[corpora.RetrievalSet]:
        part = corpora.read_sources(self.work, self.data, part="validation")
        return corpora.validation_sets(part)

    def _validation(self) -> list[EncodedTask]:
        return self._encoded(self._validation_tasks())

    def _encoded(self, tasks: Sequence[corpora.RetrievalSet]) -> list[EncodedTask]:
        tokenizer = load_tokenizer(self.work)
        return [
            (task, encode(tokenizer, task.queries), encode(tokenizer, task.corpus))
            for task in tasks
        ]


EncodedTask = tuple[corpora.RetrievalSet, list[np.ndarray], list[np.ndarray]]


def without_near_duplicates(
    sources: corpora.TextSources, check: LeakCheck
) -> tuple[corpora.TextSources, dict[str, int]]:
    """The sources without near-duplicates of evaluation text, and how many were left out of each.

    A page that nearly equals an evaluation document goes, and so does a pair with either leak.
    """
    kept: dict[str, Any] = {}
    left_out: dict[str, int] = {}
    for source in fields(sources):
        held = getattr(sources, source.name)
        pages = source.name in ("tex", "handbooks")
        texts = [("", one.text) for one in held] if pages else held
        leaks = {position for position, _ in find_leaks(check, texts)}
        kept[source.name] = [one for i, one in enumerate(held) if i not in leaks]
        left_out[source.name] = len(held) - len(kept[source.name])
    return corpora.TextSources(**kept), left_out


def token_counts(sources: TokenisedSources, vocabulary: int) -> Tensor:
    """How often each token stands in the training text, ``(vocabulary,)``."""
    every = [sources.pages, sources.titles]
    every += [one for pair in sources.pairs.values() for one in pair]
    counts = sum(np.bincount(one.ids, minlength=vocabulary) for one in every)
    return torch.from_numpy(np.asarray(counts)).float()


def budget_curves(
    model: ModernBertModel, tasks: Sequence[EncodedTask]
) -> Iterator[tuple[str, dict[str, float], Collapse]]:
    """Name, nDCG@5 at each budget and the measures of collapse of every task."""
    model.eval()
    for task, queries, documents in tasks:
        asked = encode_tokens(model, queries, query=True, max_tokens=QUERY_TOKENS)
        held = encode_tokens(model, documents, query=False, max_tokens=DOCUMENT_TOKENS)
        own = torch.tensor([next(iter(gains)) for gains in task.relevant])
        collapse = measure_collapse(asked[:300], held[own[:300]])
        yield task.name, budget_curve(asked, held, task.relevant), collapse
    model.train()


def report_validation(model: ModernBertModel, tasks: Sequence[EncodedTask], when: str) -> None:
    """Log nDCG@5 at each budget and the three measures of collapse, a line a task."""
    for name, curve, collapse in budget_curves(model, tasks):
        rounded = {budget: round(value, 4) for budget, value in curve.items()}
        logger.info("%s: %s nDCG@5 %s; %s", when, name, rounded, collapse)


def _log_progress(progress: Progress) -> None:
    logger.info(
        "step %d, %d pairs, %.0f s: loss %.3f, groups %s",
        progress.step,
        progress.pairs,
        progress.seconds,
        progress.loss,
        [round(group, 3) for group in progress.groups],
    )


def parser() -> argparse.ArgumentParser:
    """The options of every stage."""
    parse = argparse.ArgumentParser(prog="python -m recipes.mini.mini")
    parse.add_argument("stages", nargs="+", choices=[*STAGES, "all"])
    parse.add_argument("--work", default=".data/mini", help="working folder")
    default = os.environ.get("METAEMBED_DATA", "../shared/data")
    parse.add_argument("--data", default=default, help="folder of the data sets")
    out = Path(__file__).parent.parent / "checkpoints" / "mini"
    parse.add_argument("--out", default=str(out), help="where export writes the checkpoint")
    sizes: dict[str, Any] = {
        "vocabulary": 24576,
        "hidden": 256,
        "layers": 1,
        "intermediate": 384,
        "bag-batch": 1024,
        "bag-steps": 2900,
        "steps": 4000,
        "batch": 0,
        "seed": 0,
        "threads": 1,
    }
    for name, value in sizes.items():
        parse.add_argument(f"--{name}", type=int, default=value)
    parse.add_argument("--device", default="cpu", help="of the train stage: cpu or cuda")
    return parse


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages named on the command line, in the order of :data:`STAGES`."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    mini = Mini(options)
    for stage in STAGES:
        if stage in options.stages or "all" in options.stages:
            logger.info("stage: %s", stage)
            getattr(mini, stage)()


if __name__ == "__main__":
    main()
