"""What several devices share in a step: each other's vectors, and the sum of their gradients.

Gradients are summed once, after the whole backward pass, instead of by DistributedDataParallel's
hooks: these count on every parameter being used in every forward pass, which neither gradient
caching nor a batch of texts on a vision-language model keeps to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed


def devices() -> int:
    """How many devices train together."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


def gather(vectors: Tensor) -> Tensor:
    """Rows of all devices in their order, with gradients: (n, r, D) -> (all, r, D)."""
    if devices() == 1:
        return vectors
    gathered: Tensor = _Gather.apply(vectors)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """The gradient of a row is the sum of what all devices found for it."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        counts = torch.zeros(devices(), dtype=torch.int64, device=vectors.device)
        counts[distributed.get_rank()] = len(vectors)
        distributed.all_reduce(counts)
        ctx.counts = counts.tolist()
        padded = vectors.new_zeros(max(ctx.counts), *vectors.shape[1:])
        padded[: len(vectors)] = vectors
        parts = [torch.empty_like(padded) for _ in ctx.counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, ctx.counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        whole = gradient.contiguous()
        distributed.all_reduce(whole)
        own: Tensor = whole.split(ctx.counts)[distributed.get_rank()]
        return own


@torch.no_grad()
def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by the sum over all devices; a missing one counts as zero."""
    if devices() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)


def sum_numbers(numbers: Tensor, device: torch.device) -> Tensor:
    """The sum over all devices; ``device`` is where the backend takes them from."""
    shared = numbers.to(device)
    if devices() > 1:
        distributed.all_reduce(shared)
    return shared


def wait() -> None:
    """Until all devices are here."""
    if devices() > 1:
        distributed.barrier()


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    return devices() == 1 or distributed.get_rank() == 0
