"""Dense supervision: a cell's feature is drawn to the words that lie there.

The text model reads a token by its embedding row, normalised, and attends to it by the row's first
coordinate, the logarithm of the token's weight. A cell holds several tokens, or part of one, so its
feature is drawn to their bag: by cross-entropy to each token's share of the weight in the cell, and
by its first coordinate to the logarithm of the sum of those weights. Then all cells together weigh
what the page's text weighs. Paper is aimed at a weight so low that nobody attends to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from metaembed_rag.training.tokenizer import FIRST_TEXT_ID
from metaembed_rag.training.vision.batches import PAPER, Windows

_LEAST_MASS = 0.01
"""A cell with less is neither text nor paper."""


@dataclass(frozen=True)
class DenseSettings:
    """The dense loss.

    Args:
        cells: At most so many cells with text are looked at in a step.
        negatives: Tokens that each cell is told apart from, beside the batch's own; 0 takes the
            whole vocabulary.
        temperature: Of the softmax over cosines.
        weight_share: Weight of the error of the weight coordinate.
        paper: Weight coordinate that paper has to stay under: 784 cells at -6 weigh together
            as much as one word.
    """

    cells: int = 4096
    negatives: int = 0
    temperature: float = 0.07
    weight_share: float = 0.3
    paper: float = -6.0


class TokenRows:
    """The text model's normalised embedding rows: what features are drawn to.

    Args:
        text_model: A ``ModernBertModel``.
        vocabulary: Rows from here on belong to pictures' own tokens and are no targets.
    """

    @torch.no_grad()
    def __init__(self, text_model: Any, vocabulary: int) -> None:
        rows = text_model.embeddings.tok_embeddings.weight[:vocabulary]
        normed = text_model.embeddings.norm(rows).float()
        self.weight = normed[:, 0].clone()  # (vocabulary,)
        text = normed[FIRST_TEXT_ID:]
        self.level = text.mean(0)  # (D,)
        # A coordinate that is the same for every token says nothing about one, but the model may
        # rely on it.
        self.steady = text.std(0) < 0.2 * self.level.abs()  # (D,)
        self.steady[0] = False
        self.content = ~self.steady  # (D,)
        self.content[0] = False
        self.direction = F.normalize(normed[:, self.content], dim=1)  # (vocabulary, content)


@dataclass(frozen=True)
class Bags:
    """What lies in some cells.

    Args:
        cells: int64 ``(n,)``: which of all cells.
        ids: int64 ``(n, 6)``: their tokens; anything where ``mass`` is 0.
        mass: float32 ``(n, 6)``: the weight of each that lies in the cell.
    """

    cells: Tensor
    ids: Tensor
    mass: Tensor


def bags(windows: Windows, rows: TokenRows) -> Bags:
    """The cells with text, on the rows' device."""
    device = rows.weight.device
    ids = torch.from_numpy(windows.ids).to(device).flatten(0, 1)  # (cells, 6)
    parts = torch.from_numpy(windows.parts).to(device).flatten(0, 1)
    held = ids.clamp(min=0)
    mass = rows.weight[held].exp() * parts * (ids != PAPER)
    written = (mass.sum(1) > _LEAST_MASS).nonzero().flatten()
    return Bags(written, held[written], mass[written])


@dataclass(frozen=True)
class DenseLoss:
    """``total`` carries the gradient; the others are measures without.

    ``right`` is the share of cells whose nearest token is one of theirs.
    """

    total: Tensor
    reading: Tensor
    right: Tensor
    weight: Tensor
    paper: Tensor


def dense_loss(
    text_model: Any,
    features: Tensor,
    windows: Windows,
    rows: TokenRows,
    settings: DenseSettings,
    step: int,
) -> DenseLoss:
    """The loss of a step's windows.

    Args:
        text_model: The frozen text model, for its first LayerNorm.
        features: ``(n, cells, D)`` before that LayerNorm.
        windows: What lies in each cell.
        rows: The targets.
        settings: Sizes and weights.
        step: Decides which cells and negatives are drawn.
    """
    random = torch.Generator().manual_seed(step)
    normed = text_model.embeddings.norm(features).float().flatten(0, 1)  # (cells, D)
    paper = _paper_loss(normed, windows, settings.paper)
    held = _some(bags(windows, rows), settings.cells, random)
    if not len(held.cells):
        nothing = paper.detach() * 0
        return DenseLoss(settings.weight_share * paper, nothing, nothing, nothing, paper.detach())
    seen, mass = normed[held.cells], held.mass.sum(1)
    candidates = _candidates(held, len(rows.weight), settings.negatives, random)
    place = torch.searchsorted(candidates, held.ids)  # (n, 6)
    scores = F.normalize(seen[:, rows.content], dim=1) @ rows.direction[candidates].T
    likely = (scores / settings.temperature).log_softmax(1).gather(1, place)
    # A token's weight grows with how much it tells: "the" counts little, in a query as here.
    reading = -(likely * held.mass).sum() / mass.sum()
    weight = F.smooth_l1_loss(seen[:, 0], mass.log())
    if rows.steady.any():
        level = rows.level[rows.steady].expand(len(seen), -1)
        weight = weight + F.smooth_l1_loss(seen[:, rows.steady], level)
    hit = ((scores.argmax(1)[:, None] == place) & (held.mass > 0)).any(1).float().mean()
    total = reading + settings.weight_share * (weight + paper)
    return DenseLoss(total, reading.detach(), hit.detach(), weight.detach(), paper.detach())


def _some(held: Bags, count: int, random: torch.Generator) -> Bags:
    order = torch.randperm(len(held.cells), generator=random)[:count].to(held.cells.device)
    return Bags(held.cells[order], held.ids[order], held.mass[order])


def _candidates(held: Bags, vocabulary: int, negatives: int, random: torch.Generator) -> Tensor:
    """Ascending ids of the tokens that cells are told apart by."""
    device = held.ids.device
    if not negatives:
        return torch.arange(vocabulary, device=device)
    drawn = torch.randint(vocabulary, (negatives,), generator=random).to(device)
    return torch.cat([held.ids.flatten(), drawn]).unique()


def _paper_loss(normed: Tensor, windows: Windows, most: float) -> Tensor:
    blank = (torch.from_numpy(windows.ids[..., 0]).flatten() == PAPER).to(normed.device)
    over = F.relu(normed[:, 0] - most) * blank
    return over.sum() / blank.sum().clamp(min=1)
