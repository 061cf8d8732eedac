"""Random vectors of length 1, the same for the same seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit_vectors(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Float32 vectors along the last axis of ``shape``, made in double precision."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)
