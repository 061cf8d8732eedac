"""Steps -> batches of features, prepared late: pictures are opened when their batch is due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from metaembed_rag.errors import DatasetError, MetaEmbedError, TrainingError
from metaembed_rag.model.backbones import Backbone
from metaembed_rag.model.inputs import Item, read_input
from metaembed_rag.training.config import TrainConfig
from metaembed_rag.training.examples import Example, Side, TrainingSet
from metaembed_rag.training.mixture import Mixture


@dataclass(frozen=True)
class Chunk:
    """Inputs of one modality that are computed together.

    Attributes:
        features: What the backbone takes, padded to the chunk's longest input.
        rows: Which inputs of the batch they are.
    """

    features: dict[str, Any]
    rows: list[int]


@dataclass(frozen=True)
class Batch:
    """One step's inputs on one device.

    Attributes:
        source: The name of the training set.
        queries: Chunks of the n queries.
        documents: Chunks of the n positives, in the queries' order, and then the hard negatives.
        owners: int64 (hard negatives,): the query that each belongs to, in ascending order.
        size: The number n of positives.
        first: How many of the step's queries are on the devices before this one.
        whole: The step's queries on all devices.
    """

    source: str
    queries: list[Chunk]
    documents: list[Chunk]
    owners: Tensor
    size: int
    first: int
    whole: int


class Batches(Dataset[Any]):
    """The batch of a step by its number: the same in any order of asking, on any machine.

    Args:
        backbone: Turns inputs into features.
        sets: Training sets.
        config: How many steps and queries a batch, the seed of their order, the most explicit
            negatives a query, the largest chunk (0 makes one chunk of each modality).
        device: Which of ``devices`` takes this part of each step.
        devices: Over how many devices a step is divided; all take rows of the same set.
    """

    def __init__(
        self,
        backbone: Backbone,
        sets: Sequence[TrainingSet],
        config: TrainConfig,
        *,
        device: int = 0,
        devices: int = 1,
    ) -> None:
        self._backbone, self._sets, self._steps = backbone, sets, config.steps
        self._mixture = Mixture(sets, config.batch_size * devices, config.seed)
        self._negatives, self._mini_batch = config.negatives, config.mini_batch
        self._device, self._devices = device, devices
        reads = {"text", "image", "fused"} if backbone.reads_images else {"text"}
        self._modalities = frozenset(reads)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict[str, Batch | MetaEmbedError]:
        """The batch, or the error that kept it from being made: workers lose other exceptions."""
        try:
            return {"batch": self.batch(step)}
        except MetaEmbedError as error:
            return {"error": DatasetError(str(error))}

    def check(self) -> None:
        """Refuse sets of which nothing can be learnt.

        Raises:
            DatasetError: In one of them no page ever stands against another.
        """
        for which, rows in enumerate(self._sets):
            alone = self._mixture.epoch_batches(which) == len(rows)
            if alone and not (self._negatives and any(row.negatives for row in rows)):
                raise DatasetError(
                    f"{rows.path or rows.name}: no two of its {len(rows)} rows can stand in one "
                    f"batch (they share a page), so there is nothing to tell a page from; add rows "
                    f"with other pages, or negatives (metaembed mine)"
                )

    def batch(self, step: int) -> Batch:
        """One step's batch on this device.

        Raises:
            DatasetError: A picture cannot be opened.
            ModalityError: The backbone does not read such an input.
            TrainingError: The step has fewer rows than there are devices.
        """
        which, rows = self._mixture.batch(step)
        if len(rows) < self._devices:
            raise TrainingError(
                f"{self._sets[which].path}: a batch of {len(rows)} rows cannot be divided over "
                f"{self._devices} devices; use fewer devices or more data"
            )
        parts = np.array_split(np.array(rows), self._devices)
        examples = [self._sets[which][int(i)] for i in parts[self._device]]
        wrong = [example.negatives[: self._negatives] for example in examples]
        owners = np.repeat(np.arange(len(examples)), [len(sides) for sides in wrong])
        pages = [(example.positive, example) for example in examples]
        pages += [(side, one) for one, sides in zip(examples, wrong, strict=True) for side in sides]
        return Batch(
            source=self._sets[which].name,
            queries=list(self._chunks([(one.query, one) for one in examples], "query")),
            documents=list(self._chunks(pages, "document")),
            owners=torch.from_numpy(owners.astype(np.int64)),
            size=len(examples),
            first=sum(len(part) for part in parts[: self._device]),
            whole=len(rows),
        )

    def _chunks(self, sides: Sequence[tuple[Side, Example]], task: str) -> Iterator[Chunk]:
        """Longest first: a lack of memory shows at the first step, and padding stays short."""
        items = [self._read(side, example) for side, example in sides]
        for modality in ("text", "image", "fused"):
            rows = [i for i, item in enumerate(items) if item.modality == modality]
            rows.sort(key=lambda i: -items[i].length)
            size = self._mini_batch or len(rows)
            for start in range(0, len(rows), max(1, size)):
                some = rows[start : start + size]
                features = self._backbone.preprocess([items[i] for i in some], task=task)
                yield Chunk(features, some)

    def _read(self, side: Side, example: Example) -> Item:
        item = read_input(side.load(), modalities=self._modalities, where=example.where)
        small = item.prepare_image(self._backbone.settings.max_pixels)
        return replace(item, image=small)


class _From(Sampler[int]):
    """The steps that are left; its length is that of the whole run, as the trainer counts."""

    def __init__(self, first: int, steps: int) -> None:
        self._first, self._steps = first, steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, self._steps))

    def __len__(self) -> int:
        return self._steps


def load_batches(batches: Batches, first: int = 0, workers: int = 0) -> DataLoader[Any]:
    """A loader of the steps from ``first`` on.

    It has a random generator of its own: drawing its seed from torch's would make a resumed run
    draw other dropout masks than one that was never interrupted.
    """
    return DataLoader(
        batches,
        batch_size=None,
        sampler=_From(first, len(batches)),
        num_workers=workers,
        collate_fn=unchanged,
        generator=torch.Generator(),
    )


def unchanged(value: Any) -> Any:
    """The value itself: batches come ready, and libraries would collate them."""
    return value


def check_modalities(sets: Sequence[TrainingSet], modalities: frozenset[str], model: str) -> None:
    """Refuse, before training starts, what the model does not read.

    Raises:
        DatasetError: It names the file and the line of the first such input.
    """
    for one in sets:
        for example in one:
            sides = {"query": example.query, "positive": example.positive}
            sides |= {f"negative {i}": side for i, side in enumerate(example.negatives, 1)}
            for name, side in sides.items():
                if side.modality not in modalities:
                    raise DatasetError(
                        f"{example.where}: the {name} has an image, but {model} reads text only; "
                        f"train a vision-language backbone, or give the image's text instead"
                    )
