"""Random tensors of unit vectors for the definitions of losses, in double precision."""

from __future__ import annotations

import torch


def unit_tensor(*shape: int, seed: int) -> torch.Tensor:
    """Float64 vectors of length 1 along the last axis, which gradients flow to."""
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return torch.nn.functional.normalize(vectors, dim=-1).requires_grad_()
