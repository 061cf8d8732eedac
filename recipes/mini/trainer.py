"""The training loop of the small checkpoint: MMR, distillation from token-level late interaction.

Runs on a CPU (bf16 products where the processor has them) and on a GPU; saves itself and resumes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from metaembed_rag.training.mmr import MMRSettings
from recipes.mini.batches import Sampler
from recipes.mini.objectives import MetaTokenLoss, Objective
from recipes.mini.tokenizer import FIRST_TEXT_ID

if TYPE_CHECKING:
    from transformers import ModernBertModel


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


@dataclass(frozen=True)
class Progress:
    """Means since the last report."""

    step: int
    pairs: int
    seconds: float
    loss: float
    groups: list[float]


def train(
    model: ModernBertModel,
    sampler: Sampler,
    settings: TrainSettings,
    *,
    objective: Objective | None = None,
    state: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    report_every: int = 50,
) -> None:
    """Train ``model`` in place; its device decides where.

    A batch's loss is :class:`MetaTokenLoss` without a teacher, unless an ``objective`` is given.

    With ``state`` the run saves itself there at each report and continues from it: a step's batch
    depends on the seed and its number alone, so an interrupted run sees the same batches.
    """
    torch.manual_seed(settings.seed)
    objective = objective or MetaTokenLoss()
    rows = model.embeddings.tok_embeddings.weight
    optimizer = _optimizer(model, settings)
    first = load_state(state, model, optimizer) if state and state.exists() else 0
    start, pairs = time.monotonic(), 0
    losses: list[list[float]] = []
    for step in range(first, settings.steps):
        _set_rate(optimizer, step / settings.steps, settings.warm_up)
        size, tokens = settings.shapes[step % len(settings.shapes)]
        batch = sampler.draw(step, size, tokens)
        with torch.autocast(model.device.type, torch.bfloat16):
            loss = objective(model, batch, tokens, settings)
        optimizer.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        special = rows.detach()[:FIRST_TEXT_ID].clone()
        optimizer.step()
        with torch.no_grad():
            rows[:FIRST_TEXT_ID].lerp_(special, 1 - settings.meta_share)
        pairs += len(batch.queries)
        losses.append([loss.total.item(), *(group.item() for group in loss.groups)])
        done = step + 1
        if done % report_every == 0 or done == settings.steps:
            if state:
                save_state(state, model, optimizer, done)
            if on_progress:
                mean = np.mean(losses, axis=0).tolist()
                on_progress(Progress(done, pairs, time.monotonic() - start, mean[0], mean[1:]))
            losses.clear()


def _optimizer(model: ModernBertModel, settings: TrainSettings) -> torch.optim.AdamW:
    tokens = [model.embeddings.tok_embeddings.weight]
    layers = [p for p in model.parameters() if p is not tokens[0]]
    groups = [
        {"params": layers, "lr": settings.learning_rate, "peak": settings.learning_rate},
        {"params": tokens, "lr": settings.token_learning_rate},
    ]
    groups[1]["peak"] = settings.token_learning_rate
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)


def _set_rate(optimizer: torch.optim.Optimizer, done: float, warm_up: float) -> None:
    """Linear warm-up over the first share of the run, then a cosine to zero."""
    share = min(1.0, done / warm_up + 0.02) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def save_state(
    path: Path, model: ModernBertModel, optimizer: torch.optim.Optimizer, step: int
) -> None:
    """Write the run's state whole or not at all."""
    part = path.with_suffix(".part")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, part)
    part.rename(path)


def load_state(
    path: Path, model: ModernBertModel, optimizer: torch.optim.Optimizer | None = None
) -> int:
    """Restore what :func:`save_state` wrote; the number of steps done."""
    state = torch.load(path, map_location=model.device)
    model.load_state_dict(state["model"])
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
