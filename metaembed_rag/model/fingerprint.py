"""A name for what an encoder computes, so that an index can tell whether it fits."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from metaembed_rag.model.backbones import Backbone

_WHOLE = 64_000_000
"""Models of up to this many weights are hashed whole (mini: 20 ms); of larger ones, a sample."""

_SAMPLE = 65_536


def fingerprint(backbone: Backbone, values: int | None = None) -> str:
    """Hex digest (32 characters) over weights, Meta Tokens, template and lengths.

    It is computed from values, not from files: every weight is read as float32, and tensors are
    taken by content, not by name, so the digest is the same before saving, after loading, on
    every machine, and when a new transformers renames parameters. Of models with more than 64
    million weights, each tensor gives at most 65,536 evenly spaced values (any training step
    changes nearly all of them), or at most ``values``; Meta Tokens' rows are always hashed whole.
    """
    parts = digest_weights(backbone.model, values)
    rows = backbone.model.get_input_embeddings().weight.detach()
    parts += [_digest_values(rows[ids], None) for ids in backbone.meta_ids.values()]
    described = {**backbone.settings.to_dict(), "format": None, "meta_ids": backbone.meta_ids}
    described.pop("dimensions", None)  # they say what vectors are good for, and change none
    parts.append(json.dumps(described, sort_keys=True))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def weights_state(backbone: Backbone) -> str:
    """A quick digest (64 values a tensor) that tells whether weights changed since it was taken.

    torch's own counter of in-place writes does not: fused optimisers leave it as it is.
    """
    return fingerprint(backbone, 64)


def digest_weights(model: torch.nn.Module, values: int | None = None) -> list[str]:
    """Sorted digests of the different tensors of any model, as :func:`fingerprint` takes them."""
    tensors = [tensor.detach() for tensor in model.state_dict().values()]
    if values is None and sum(tensor.numel() for tensor in tensors) > _WHOLE:
        values = _SAMPLE
    return sorted({_digest_values(tensor, values) for tensor in tensors})


def _digest_values(tensor: torch.Tensor, sample: int | None) -> str:
    values = tensor.reshape(-1)
    if sample is not None:
        values = values[:: max(1, -(-values.numel() // sample))]
    exact: Any = values.to("cpu", torch.float32).contiguous().numpy()
    return f"{tuple(tensor.shape)} {hashlib.sha256(exact).hexdigest()}"
