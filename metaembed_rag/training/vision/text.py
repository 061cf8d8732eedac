"""A larger text model for a GPU: mini's data, start and loss, more layers, limited minutes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from metaembed_rag.errors import TrainingError
from metaembed_rag.training.batches import Sampler, TokenisedSources
from metaembed_rag.training.export import trained_dimensions
from metaembed_rag.training.functional_init import InitSettings, build_model, functional_init
from metaembed_rag.training.objectives import MetaTokenLoss
from metaembed_rag.training.tokenizer import load_tokenizer, save_pretrained_tokenizer
from metaembed_rag.training.trainer import Progress, TrainSettings, train

logger = logging.getLogger(__name__)


class _TimeUp(Exception):
    """The minutes are over; the trainer has saved its state."""


def train_text(
    work: Path,
    folder: Path,
    settings: TrainSettings,
    *,
    layers: int,
    intermediate: int,
    minutes: float,
    device: str,
) -> bool:
    """Train a text model from the bag vectors in ``work``; a run that was stopped goes on.

    Args:
        work: Holds ``sources.npz``, ``bag.pt`` and ``tokenizer.json``, as the stages ``tokenizer``
            and ``bag`` of ``python -m metaembed_rag.training.mini`` write them.
        folder: Where the finished model goes, in files of at most 15 MB.
        settings: Of the run.
        layers: Of the transformer; the first one is initialised from the bag vectors.
        intermediate: Of each layer's GeGLU.
        minutes: Stop, saved, after so many.
        device: Such as ``"cuda"``.

    Returns:
        Whether the model is finished.

    Raises:
        TrainingError: A file is missing.
    """
    from metaembed_rag.training.mini import token_counts

    for name in ("sources.npz", "bag.pt", "tokenizer.json"):
        if not (work / name).exists():
            raise TrainingError(
                f"{work / name} is missing; run the stages tokenizer and bag of "
                f"python -m metaembed_rag.training.mini first, with --hidden of your choice"
            )
    sources, vectors = TokenisedSources.load(work / "sources.npz"), torch.load(work / "bag.pt")
    torch.manual_seed(settings.seed)
    model = build_model(*vectors.shape, layers=layers, intermediate=intermediate)
    functional_init(model, vectors, token_counts(sources, len(vectors)), InitSettings())
    model.to(torch.device(device))  # type: ignore[arg-type]
    end = time.monotonic() + 60 * minutes

    def progressed(progress: Progress) -> None:
        log_measures("text", progress.step, progress.seconds, {"loss": progress.loss})
        if time.monotonic() > end and progress.step < settings.steps:
            raise _TimeUp

    try:
        train(
            model,
            Sampler(sources, seed=settings.seed + 7),
            settings,
            objective=MetaTokenLoss(dimensions=trained_dimensions(vectors.shape[1])),
            state=work / "text.pt",
            on_progress=progressed,
        )
    except _TimeUp:
        return False
    model.save_pretrained(folder, max_shard_size="15MB")
    save_pretrained_tokenizer(load_tokenizer(work), folder, max_length=1024)
    return True


def log_measures(stage: str, step: int, seconds: float, measures: Mapping[str, float]) -> None:
    """One line for a report."""
    line = ", ".join(f"{name} {value:.4f}" for name, value in measures.items())
    logger.info("%s step %d, %.0f s: %s", stage, step, seconds, line)
