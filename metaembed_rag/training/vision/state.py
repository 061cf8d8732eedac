"""A run's weights and moments as a folder of safetensors files, each at most 15 MiB."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaembed_rag.errors import TrainingError

MAX_BYTES = 15 * 2**20
_HEADER_ROOM = 2**16


def save_tensors(
    tensors: Mapping[str, Tensor], folder: Path, name: str, max_bytes: int = MAX_BYTES
) -> list[Path]:
    """Write ``<name>-00001.safetensors`` and so on; a large tensor is cut into pieces of rows.

    Raises:
        TrainingError: One row alone is larger than a file may be.
    """
    from safetensors.torch import save_file

    files: list[Path] = []
    held: dict[str, Tensor] = {}
    size, room = 0, max_bytes - _HEADER_ROOM
    for key, piece in _pieces(tensors, room):
        need = piece.numel() * piece.element_size()
        if held and size + need > room:
            files.append(folder / f"{name}-{len(files) + 1:05d}.safetensors")
            save_file(held, files[-1])
            held, size = {}, 0
        held[key] = piece
        size += need
    files.append(folder / f"{name}-{len(files) + 1:05d}.safetensors")
    save_file(held, files[-1])
    return files


def _pieces(tensors: Mapping[str, Tensor], room: int) -> list[tuple[str, Tensor]]:
    pieces = []
    for key, tensor in tensors.items():
        whole = tensor.detach().cpu().contiguous()
        row = whole.element_size() * (whole[0].numel() if whole.ndim else 1)
        if row > room:
            raise TrainingError(f"{key}: one row of {row} bytes does not fit into a file")
        if whole.numel() * whole.element_size() <= room:
            pieces.append((f"{key}|0", whole))
            continue
        parts = whole.split(room // row)
        pieces += [(f"{key}|{i}", part.contiguous()) for i, part in enumerate(parts)]
    return pieces


def load_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """What :func:`save_tensors` wrote; empty where there is none of that name."""
    from safetensors.torch import load_file

    pieces: dict[str, dict[int, Tensor]] = {}
    for path in sorted(folder.glob(f"{name}-*.safetensors")):
        for key, piece in load_file(path).items():
            whole, _, number = key.rpartition("|")
            pieces.setdefault(whole, {})[int(number)] = piece
    return {
        key: parts[0] if len(parts) == 1 else torch.cat([parts[i] for i in sorted(parts)])
        for key, parts in pieces.items()
    }


def save_state(
    folder: Path,
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    about: Mapping[str, Any],
) -> None:
    """Replace ``folder`` by weights, moments and ``about`` (JSON), whole or not at all."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_tensors(weights, fresh, "weights")
    save_tensors(_moments(weights, optimizer), fresh, "moments")
    (fresh / "about.json").write_text(json.dumps(dict(about), indent=1) + "\n", encoding="utf-8")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_about(folder: Path) -> dict[str, Any] | None:
    """The JSON of a saved state; None where there is no state.

    A state that was being replaced when the machine stopped is taken from beside its place.
    """
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        old.rename(folder)
    path = folder / "about.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def load_state(
    folder: Path, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None = None
) -> bool:
    """Put a saved state into ``weights`` and the optimizer.

    Returns:
        Whether the moments were there: without them a run goes on, but not exactly.

    Raises:
        TrainingError: Weights are missing, or have another shape.
    """
    stored = load_tensors(folder, "weights")
    wrong = [k for k, v in weights.items() if k not in stored or stored[k].shape != v.shape]
    if wrong:
        raise TrainingError(
            f"{folder} does not fit: {wrong[0]} is missing or of another size; choose the sizes "
            f"that it was trained with, or remove it"
        )
    with torch.no_grad():
        for key, value in weights.items():
            value.copy_(stored[key])
    moments = load_tensors(folder, "moments")
    if optimizer is not None and moments:
        for key, value in weights.items():
            optimizer.state[value] = {
                part: moments[f"{part}/{key}"].to("cpu" if part == "step" else value.device)
                for part in ("step", "exp_avg", "exp_avg_sq")
            }
    return bool(moments)


def _moments(weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{part}/{key}": torch.as_tensor(optimizer.state[value][part])
        for part in ("step", "exp_avg", "exp_avg_sq")
        for key, value in weights.items()
        if value in optimizer.state
    }
