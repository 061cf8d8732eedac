"""The loop of both stages: a schedule over steps, a limit in minutes, exact resuming.

``dense`` trains on windows of pages (:mod:`.dense`), ``pages`` on whole ones (:mod:`.pages`). A
step's batch and draws depend on the seed and its number, so a run that was stopped and goes on from
its saved weights and moments computes what an uninterrupted one computes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from metaembed_rag.errors import TrainingError
from metaembed_rag.training.vision.batches import Drawer, Pages, Windows, ahead
from metaembed_rag.training.vision.dense import DenseSettings, TokenRows, dense_loss
from metaembed_rag.training.vision.pages import PagesSettings, pages_loss
from metaembed_rag.training.vision.state import load_state, read_about, save_state
from metaembed_rag.training.vision.tower import IMAGE_TOKENS, trained, window_cells


@dataclass(frozen=True)
class RunSettings:
    """One stage's run; a run that goes on must have the same.

    Args:
        steps: In all; the learning rate follows a cosine over them.
        batch: Windows or pages of a step.
        window: Cells of a window's side (dense stage).
        learning_rate: At its highest.
        warm_up: Share of the steps in which it rises.
        clip: Largest norm of the gradient.
        seed: Of the draws.
    """

    steps: int
    batch: int
    window: int = 7
    learning_rate: float = 1e-3
    warm_up: float = 0.05
    clip: float = 1.0
    seed: int = 0
    dense: DenseSettings = field(default_factory=DenseSettings)
    pages: PagesSettings = field(default_factory=PagesSettings)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        import json

        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Progress:
    """Means of a stage's measures since the last report."""

    stage: str
    step: int
    seconds: float
    measures: Mapping[str, float]


class Stage(Protocol):
    """What a step draws and computes."""

    name: str

    def draw(self, step: int) -> Any:
        """The batch of a step; called in threads."""

    def loss(self, model: Any, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, and measures."""


@dataclass(frozen=True)
class _OfPages:
    """What both stages are bound to.

    Args:
        drawer: Of the training pages.
        rows: Of the text model.
        settings: Of the run.
    """

    drawer: Drawer
    rows: TokenRows
    settings: RunSettings


class DenseStage(_OfPages):
    """Windows: cells are read."""

    name = "dense"

    def draw(self, step: int) -> Windows:
        """Windows of a step."""
        return self.drawer.windows(step, self.settings.batch, self.settings.window)

    def loss(self, model: Any, batch: Windows, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The dense loss."""
        device = self.rows.weight.device
        arrays = (batch.pixels, batch.rows, batch.columns)
        pixels, rows, columns = (torch.from_numpy(value).to(device) for value in arrays)
        features = window_cells(model, pixels, rows, columns)
        loss = dense_loss(model.text_model, features, batch, self.rows, self.settings.dense, step)
        measures = {
            "reading": loss.reading,
            "right": loss.right,
            "weight": loss.weight,
            "paper": loss.paper,
        }
        return loss.total, measures


class PagesStage(_OfPages):
    """Whole pages: pictures land where texts do."""

    name = "pages"

    def draw(self, step: int) -> Pages:
        """Pages of a step."""
        return self.drawer.whole(step, self.settings.batch)

    def loss(self, model: Any, batch: Pages, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Distillation, MMR and the dense loss."""
        pixels = torch.from_numpy(batch.windows.pixels).to(self.rows.weight.device)
        loss = pages_loss(model, batch, pixels, self.rows, self.settings.pages, step)
        return loss.total, {
            "agreement": loss.agreement,
            "finding": loss.finding,
            "right": loss.right,
        }


STAGES: dict[str, type[DenseStage] | type[PagesStage]] = {"dense": DenseStage, "pages": PagesStage}


def token_rows(model: Any) -> TokenRows:
    """The targets of a tower's text model: all but the pictures' own tokens."""
    return TokenRows(model.text_model, model.config.text_config.vocab_size - len(IMAGE_TOKENS))


def run_stage(
    model: Any,
    stage: Stage,
    settings: RunSettings,
    folder: Path,
    *,
    minutes: float = math.inf,
    threads: int = 1,
    report_every: int = 50,
    save_minutes: float = 2.0,
    on_progress: Callable[[Progress], None] | None = None,
) -> bool:
    """Train ``model`` in place until the stage is finished or the time is up.

    Args:
        model: On its device.
        stage: What a step is.
        settings: Of the run.
        folder: Its state; a run that was begun there goes on.
        minutes: Stop, saved, after so many.
        threads: That decode pictures.
        report_every: Steps between two reports.
        save_minutes: Between two savings.
        on_progress: Called with each report.

    Returns:
        Whether all steps are done.

    Raises:
        TrainingError: The state in ``folder`` is of a run with other settings.
    """
    begun, weights = time.monotonic(), trained(model)
    optimizer = torch.optim.AdamW(
        weights.values(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    first = _resume(folder, stage, settings, weights, optimizer)
    saved, done = begun, first
    sums: dict[str, list[float]] = {}
    model.train()
    for step, batch in ahead(stage.draw, range(first, settings.steps), threads=threads):
        measures = _step(model, stage, batch, step, settings, optimizer)
        for name, value in measures.items():
            sums.setdefault(name, []).append(value.item())
        done, now = step + 1, time.monotonic()
        if on_progress and (done % report_every == 0 or done == settings.steps):
            means = {name: sum(values) / len(values) for name, values in sums.items()}
            on_progress(Progress(stage.name, done, now - begun, means))
            sums.clear()
        if now - saved > 60 * save_minutes or now - begun > 60 * minutes:
            save_state(folder, weights, optimizer, _about(stage, settings, done))
            saved = now
        if now - begun > 60 * minutes:
            break
    model.eval()
    if done == settings.steps and first < done:
        save_state(folder, weights, optimizer, _about(stage, settings, done))
    return done == settings.steps


def _step(
    model: Any,
    stage: Stage,
    batch: Any,
    step: int,
    settings: RunSettings,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Tensor]:
    rate = settings.learning_rate * _share(step / settings.steps, settings.warm_up)
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(model.device.type, torch.bfloat16):
        loss, measures = stage.loss(model, batch, step)
    optimizer.zero_grad()
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
    if torch.isfinite(norm):
        optimizer.step()
    return {"loss": loss.detach(), **measures}


def _share(done: float, warm_up: float) -> float:
    """Linear up, then a cosine to zero."""
    return min(1.0, done / warm_up + 0.02) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _about(stage: Stage, settings: RunSettings, done: int) -> dict[str, Any]:
    return {"stage": stage.name, "step": done, "settings": settings.to_dict()}


def _resume(
    folder: Path,
    stage: Stage,
    settings: RunSettings,
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> int:
    about = read_about(folder)
    if about is None:
        return 0
    if about["settings"] != settings.to_dict():
        raise TrainingError(
            f"{folder} was begun with other settings ({about['settings']}); give the same, or "
            f"remove it to begin anew"
        )
    load_state(folder, weights, optimizer)
    return int(about["step"])
