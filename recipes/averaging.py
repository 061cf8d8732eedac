"""Weights between a start that works and what training made of it.

Training improves what it asks for and wears off what the start could do besides; the line between
the two often holds better points than either end (Wortsman et al., "Robust fine-tuning of
zero-shot models", arXiv 2109.01903). The share is chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]

SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Of the trained weights; 1 leaves them as they are."""


def between(start: Weights, trained: Weights, share: float) -> dict[str, Tensor]:
    """``(1 - share) * start + share * trained``, of every tensor; equal ones stay as they are.

    Tensors of whole numbers are codes, which training does not change.

    Args:
        start: The weights before training.
        trained: The same tensors afterwards.
        share: From 0 (the start) to 1 (the trained weights).
    """
    return {
        name: torch.lerp(start[name], one, share) if one.is_floating_point() else one
        for name, one in trained.items()
    }


def best_share(
    start: Weights,
    trained: Weights,
    quality: Callable[[dict[str, Tensor]], float],
    shares: Sequence[float] = SHARES,
) -> tuple[float, dict[float, float]]:
    """The share whose weights score highest, and every share's score; the larger one wins a tie.

    Args:
        start: The weights before training.
        trained: The same tensors afterwards.
        quality: Of some weights, measured on validation data; higher is better.
        shares: What is tried.
    """
    scores = {share: quality(between(start, trained, share)) for share in shares}
    return max(scores, key=lambda share: (scores[share], share)), scores
