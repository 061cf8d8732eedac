"""The bag-of-token-vectors model: one vector a token, a text is their normalised mean.

It learns token vectors and, through their norms, token weights thirty times faster than a
transformer on a CPU; the functional initialisation starts from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from metaembed_rag.training.examples import TrainingSet
from metaembed_rag.training.mixture import Mixture
from recipes.mini.tokenizer import UNK, encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_REPORTED = 100
"""Steps between two reports."""


@dataclass(frozen=True)
class BagSettings:
    """How the bag model is trained.

    Args:
        dimension: Values of a vector.
        steps: Batches in all; the learning rate falls to zero over them.
        batch_size: Pairs of a batch.
        learning_rate: Of Adam, at the start.
        temperature: Of the softmax over cosines.
        seed: Of the first vectors and of the order of the pairs.
    """

    dimension: int
    steps: int
    batch_size: int = 1024
    learning_rate: float = 1e-2
    temperature: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Bag:
    """What the bag model learnt.

    Args:
        vectors: float32 ``(vocabulary, dimension)``; the norm of a row is its token's weight.
        counts: float32 ``(vocabulary,)``: how often each token stands in the training text.
    """

    vectors: Tensor
    counts: Tensor

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        save_file({"vectors": self.vectors.contiguous(), "counts": self.counts}, path)

    @classmethod
    def load(cls, path: Path) -> Bag:
        """Read what :meth:`save` wrote."""
        return cls(**load_file(path))


def train_bag(
    sets: Sequence[TrainingSet],
    tokenizer: Tokenizer,
    settings: BagSettings,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> Bag:
    """Train token vectors by InfoNCE in both directions; negatives of examples are not used.

    Args:
        sets: Training pairs, drawn by their weights.
        tokenizer: Makes their tokens.
        settings: Sizes and rates.
        on_step: Called every 100 steps with the step and the mean loss since the last call.
    """
    torch.manual_seed(settings.seed)
    tokens = [_tokenise(rows, tokenizer) for rows in sets]
    mixture = Mixture(sets, settings.batch_size, settings.seed)
    bag = torch.nn.EmbeddingBag(tokenizer.get_vocab_size(), settings.dimension, mode="mean")
    torch.nn.init.normal_(bag.weight, std=0.1)
    optimizer = torch.optim.Adam(bag.parameters(), lr=settings.learning_rate)
    losses: list[float] = []
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * (1 - step / settings.steps) + 1e-5
        which, rows = mixture.batch(step)
        queries, texts = ([side[row] for row in rows] for side in tokens[which])
        loss = bag_loss(bag, queries, texts, settings.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if on_step and (step + 1) % _REPORTED == 0:
            on_step(step + 1, float(np.mean(losses[-_REPORTED:])))
    return Bag(bag.weight.detach(), _count(tokens, bag.num_embeddings))


_Tokens = tuple[list[np.ndarray], list[np.ndarray]]
"""Token ids of the queries and of the texts of a set."""


def _tokenise(rows: TrainingSet, tokenizer: Tokenizer) -> _Tokens:
    queries = encode(tokenizer, [example.query.text for example in rows])
    return queries, encode(tokenizer, [example.positive.text for example in rows])


def _count(tokens: Sequence[_Tokens], vocabulary: int) -> Tensor:
    every = np.concatenate([ids for sides in tokens for side in sides for ids in side])
    return torch.from_numpy(np.bincount(every, minlength=vocabulary)).float()


def bag_loss(
    bag: torch.nn.EmbeddingBag,
    queries: Sequence[np.ndarray],
    texts: Sequence[np.ndarray],
    temperature: float,
) -> Tensor:
    """InfoNCE of queries against texts and of texts against queries, averaged."""
    scores = embed(bag, queries) @ embed(bag, texts).T / temperature  # (queries, texts)
    right = torch.arange(len(queries))
    return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2


def embed(bag: torch.nn.EmbeddingBag, texts: Sequence[np.ndarray]) -> Tensor:
    """Unit vectors of tokenised texts, float32 ``(texts, dimension)``."""
    filled = [one if len(one) else np.array([UNK], np.uint16) for one in texts]
    offsets = np.cumsum([0] + [len(one) for one in filled[:-1]])
    device = bag.weight.device
    ids = torch.from_numpy(np.concatenate(filled).astype(np.int64)).to(device)
    return F.normalize(bag(ids, torch.from_numpy(offsets).to(device)), dim=-1)
