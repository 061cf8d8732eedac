"""The training loop: MMR, distillation from token-level late interaction.

Runs on a CPU (bf16 products where the processor has them) and on a GPU; saves itself and resumes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recipes.mini.tokenizer import FIRST_TEXT_ID

from .batches import Sampler
from .objectives import MetaTokenLoss, Objective
from .settings import TrainSettings

if TYPE_CHECKING:
    from transformers import ModernBertModel


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
        _update(model, optimizer, loss.total, settings)
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


def _update(
    model: ModernBertModel, optimizer: torch.optim.Optimizer, loss: Tensor, settings: TrainSettings
) -> None:
    """One step down the gradient; special tokens' rows take a share of theirs."""
    rows = model.embeddings.tok_embeddings.weight
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    special = rows.detach()[:FIRST_TEXT_ID].clone()
    optimizer.step()
    with torch.no_grad():
        rows[:FIRST_TEXT_ID].lerp_(special, 1 - settings.meta_share)


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
