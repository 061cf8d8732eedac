"""What one run of the comparison's training loop does."""

from __future__ import annotations

from dataclasses import dataclass, field

from metaembed_rag.training.mmr import MMRSettings


@dataclass(frozen=True)
class TrainSettings:
    """What one training run does.

    Args:
        steps: Batches in all; the learning rate follows a cosine over them.
        shapes: (batch size, document tokens) of the steps, taken in turn.
        learning_rate: Of the layers; ``token_learning_rate`` of the token rows.
        meta_share: Share of the update that special tokens' rows take: at the full rate (1, 1)
            is destroyed within a few steps.
        teacher_weight: Weight of the divergence from token-level late interaction of the bag
            vectors, plus the bag's own score, at ``teacher_temperature``; 0 leaves it out.
    """

    steps: int
    shapes: tuple[tuple[int, int], ...] = ((128, 128), (64, 512), (64, 256), (64, 768))
    query_tokens: int = 32
    learning_rate: float = 2e-4
    token_learning_rate: float = 1e-3
    meta_share: float = 0.005
    warm_up: float = 0.05
    clip: float = 1.0
    teacher_weight: float = 0.0
    teacher_temperature: float = 0.06
    seed: int = 0
    mmr: MMRSettings = field(default_factory=MMRSettings)
