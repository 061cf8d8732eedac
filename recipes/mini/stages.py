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

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from metaembed_rag.training.data import TrainingSet, read_training_set, write_training_set
from recipes.mini.bag import Bag, BagSettings, train_bag
from recipes.mini.data import corpora
from recipes.mini.data.handbooks import prepare_handbooks
from recipes.mini.data.rows import write_dataset
from recipes.mini.data.validation import validation_sets
from recipes.mini.export import export
from recipes.mini.functional_init import InitSettings, build_model, functional_init
from recipes.mini.pairs import training_pairs
from recipes.mini.tokenizer import load_tokenizer, train_tokenizer
from recipes.stages import Recipe, logger, made_once

CONFIG = Path(__file__).parent / "mini.toml"


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


class Mini(Recipe):
    """The stages, bound to their folders and sizes.

    Args:
        work: Where results lie.
        data: The folder of the evaluation sets and of the lists of training pairs.
        out: Where the checkpoint is exported to.
        sizes: Of tokenizer, bag model and transformer.
        training: Keys of ``[train]`` that replace those of ``mini.toml``.
    """

    name = "mini"

    def __init__(
        self,
        work: Path,
        data: Path,
        out: Path,
        sizes: Sizes,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(work, data, out, CONFIG, training)
        self.sizes = sizes
        self._tokenizer, self._bag = work / "tokenizer.json", work / "bag.safetensors"

    def prepare(self) -> None:
        """Download and extract the text; what is there already is kept."""
        corpora.prepare(self.work, self.data)
        for package, report in prepare_handbooks(self.work, self.data).items():
            logger.info("%s: %s", package, dict(report))

    def pairs(self) -> None:
        """Write the training pairs as JSON lines, and the validation sets beside them."""
        made_once(self.pairs_folder, self._write_pairs)

    def tokenizer(self) -> None:
        """Train the tokenizer."""
        made_once(self._tokenizer, self._train_tokenizer)

    def bag(self) -> None:
        """Train the bag-of-token-vectors model."""
        made_once(self._bag, self._train_bag)

    def start(self) -> None:
        """Write the transformer that the bag model initialises, as a checkpoint."""
        made_once(self.start_folder, self._initialise)

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
