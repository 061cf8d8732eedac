"""What loading and running a model needs, whichever kind it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.checkpoints import shipped_checkpoints
from metaembed_rag.model.inputs import Item

DType = str | torch.dtype | None


def best_device() -> str:
    """``"cuda"``, ``"mps"`` or ``"cpu"``: the best that this machine has."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def as_dtype(dtype: DType) -> torch.dtype | None:
    """The dtype of that name.

    Raises:
        ValueError: There is none.
    """
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"{dtype!r} is no dtype; use 'float32', 'bfloat16' or 'float16'")
    return found


def weights(model: Any) -> dict[str, torch.Tensor]:
    """What is stored in a checkpoint, by name."""
    return model.state_dict(keep_vars=True)  # type: ignore[no-any-return]


def cast(model: Any, dtype: torch.dtype) -> None:
    """Change what is stored in a checkpoint; ``model.to`` would also round RoPE's frequencies."""
    for tensor in weights(model).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def batches(items: list[Item], batch_size: int) -> Iterator[list[int]]:
    """Indices of batches: one modality each, longest first (a lack of memory shows at once)."""
    for modality in ("text", "image", "fused"):
        rows = [i for i, item in enumerate(items) if item.modality == modality]
        rows.sort(key=lambda i: -items[i].length)
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def bounded_batch_size(asked: int, device: torch.device) -> int:
    """How many inputs at a time: as asked, on a CPU at most 8.

    Raises:
        ValueError: Fewer than 1 were asked for.
    """
    if asked < 1:
        raise ValueError(f"batch_size must be at least 1, not {asked}")
    # Larger batches leave a CPU's cache: 30 pages a second at 4 to 8, 24 at 32 (D = 256).
    return min(asked, 8) if device.type == "cpu" else asked


def checked_count(asked: int | None, most: int, side: str) -> int:
    """How many vectors of a side: all without a wish.

    Raises:
        ValueError: More were asked for than there are, or fewer than 1.
    """
    if asked is None:
        return most
    if not 1 <= asked <= most:
        raise ValueError(f"vectors must be between 1 and {most} for a {side}, not {asked}")
    return asked


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings of transformers meanwhile; users cannot act on them."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def explained(what: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what libraries raise about bad files into one sentence.

    Raises:
        CheckpointError: The files cannot be loaded as a model.
    """
    try:
        yield
    except (ImportError, KeyError, OSError, RuntimeError, SafetensorError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{os.fspath(what)} cannot be loaded as a model ({type(error).__name__}: {reason}); "
            f"shipped checkpoints: {', '.join(shipped_checkpoints()) or 'none'}"
        ) from error
