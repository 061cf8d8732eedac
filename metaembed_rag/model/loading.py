"""What loading and running a model needs, whichever kind it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from metaembed_rag import forks
from metaembed_rag.errors import CheckpointError, ModelError
from metaembed_rag.model.checkpoints import shipped_checkpoints

DType = str | torch.dtype | None
_TORCH = "torch"


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


def check_threads(name: str) -> None:
    """Note that torch's threads run here, or refuse where a fork has left them behind.

    One thread works after a fork; several would wait for each other for ever.

    Raises:
        ModelError: This process was forked from one in which a model was loaded.
    """
    if forks.lost_threads(_TORCH) and torch.get_num_threads() > 1:
        raise ModelError(
            f"the model {name!r} cannot run in this process: it was forked from one in which a "
            f"model had been loaded, and {forks.ADVICE}; or call torch.set_num_threads(1) in each "
            f"worker"
        )
    forks.note_threads(_TORCH)


def placement(device: str | None, dtype: DType) -> tuple[torch.device, torch.dtype]:
    """Where weights go and as what; of None the best device, bfloat16 on CUDA, float32 elsewhere.

    Raises:
        ValueError: There is no dtype of that name.
    """
    other = "mps" if torch.backends.mps.is_available() else "cpu"
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else other))
    return place, as_dtype(dtype) or (torch.bfloat16 if place.type == "cuda" else torch.float32)


def weights(model: Any) -> dict[str, torch.Tensor]:
    """What is stored in a checkpoint, by name."""
    return model.state_dict(keep_vars=True)  # type: ignore[no-any-return]


def cast(model: Any, dtype: torch.dtype) -> None:
    """Change what is stored in a checkpoint; ``model.to`` would also round RoPE's frequencies.

    What a model names in ``float32_parts`` (prefixes of weights' names) is float32 always.
    """
    exact = tuple(getattr(model, "float32_parts", ()))
    for name, tensor in weights(model).items():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32 if name.startswith(exact) else dtype)


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
