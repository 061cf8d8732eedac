"""Distillation from the text path: a page's picture lands where the same page's text does.

At each budget every vector of the text looks for its nearest one of the picture, and the other way
round; both distances fall. Vectors are not compared slot by slot, because a Meta Token may read one
place, counted in tokens, and a picture has other places than a text. Beside it a query has to find
its page among the batch's pictures by MMR, and the cells go on being read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metaembed_rag.training.export import DOCUMENT_TOKENS
from metaembed_rag.training.forward import meta_vectors, pad
from metaembed_rag.training.mmr import MMRSettings, mmr_loss
from metaembed_rag.training.vision.batches import Pages
from metaembed_rag.training.vision.dense import DenseSettings, TokenRows, dense_loss
from metaembed_rag.training.vision.tower import page_cells, page_vectors


@dataclass(frozen=True)
class PagesSettings:
    """The loss of the pages stage.

    Args:
        landing: Weight of the distance between a picture's and its text's vectors.
        finding: Weight of MMR: queries find pictures.
        reading: Weight of the dense loss.
        query_tokens: Longest query; ``page_tokens`` longest text of the text path.
    """

    landing: float = 1.0
    finding: float = 0.3
    reading: float = 1.0
    query_tokens: int = 32
    page_tokens: int = DOCUMENT_TOKENS
    dense: DenseSettings = field(default_factory=DenseSettings)
    mmr: MMRSettings = field(default_factory=MMRSettings)


@dataclass(frozen=True)
class PagesLoss:
    """``total`` carries the gradient; the others are measures without."""

    total: Tensor
    agreement: Tensor
    finding: Tensor
    right: Tensor


def pages_loss(
    model: Any, pages: Pages, pixels: Tensor, rows: TokenRows, settings: PagesSettings, step: int
) -> PagesLoss:
    """The loss of a batch of pages.

    Args:
        model: A ``ModernVBertModel`` whose text model is frozen.
        pages: What the batch holds.
        pixels: ``pages.windows.pixels`` on the model's device.
        rows: Of the text model.
        settings: Weights.
        step: For the dense loss.
    """
    cells = page_cells(model, pixels)
    seen = page_vectors(model, cells)  # (n, 64, D)
    text = model.text_model
    known = [i for i, tokens in enumerate(pages.texts) if len(tokens)]
    with torch.no_grad():
        asked = meta_vectors(text, _tokens(pages.queries, True, settings.query_tokens, seen))
        read = [pages.texts[i] for i in known] or [pages.queries[0]]
        aims = meta_vectors(text, _tokens(read, False, settings.page_tokens, seen))
    near = agreement(aims, seen[known], settings.mmr.groups) if known else seen.sum() * 0
    finding = mmr_loss(asked, seen, settings.mmr)
    dense = dense_loss(text, cells, pages.windows, rows, settings.dense, step)
    total = (
        settings.landing * (1 - near)
        + settings.finding * finding.total
        + settings.reading * dense.total
    )
    return PagesLoss(total, near.detach(), finding.total.detach(), dense.right)


def agreement(one: Tensor, other: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
    """How near two sets of vectors of the same pages are, a scalar up to 1 for equal sets.

    Args:
        one: Unit vectors ``(n, R, D)``; ``other`` likewise.
        groups: Budgets: the mean is over their prefixes of r_c vectors.
    """
    cosines = one @ other.transpose(1, 2)  # (n, R, R)
    near = []
    for _, count in groups:
        some = cosines[:, :count, :count]
        near.append((some.amax(1).mean() + some.amax(2).mean()) / 2)
    return torch.stack(near).mean()


def _tokens(texts: list[Any], query: bool, limit: int, like: Tensor) -> Any:
    return pad(texts, query=query, max_tokens=limit).to(like.device)
