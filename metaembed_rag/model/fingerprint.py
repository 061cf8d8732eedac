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


def fingerprint(backbone: Backbone) -> str:
    """Hex digest (32 characters) over weights, Meta Tokens, template and lengths.

    It is computed from values, not from files: every weight is read as float32, and tensors are
    taken by content, not by name, so the digest is the same before saving, after loading, on
    every machine, and when a new transformers renames parameters. Of models with more than 64
    million weights, each tensor gives at most 65,536 evenly spaced values (any training step
    changes nearly all of them); the Meta Tokens' rows are always hashed whole.
    """
    return _digest(backbone, _sample_of(backbone.model))


def weights_state(backbone: Backbone) -> str:
    """A quick digest (64 values a tensor) that tells whether weights changed since it was taken.

    torch's own counter of in-place writes does not: fused optimisers leave it as it is.
    """
    return _digest(backbone, 64)


def digest_weights(model: torch.nn.Module) -> str:
    """One line over the weights of any model, by content, as :func:`fingerprint` takes them."""
    return "\n".join(_tensor_digests(model, _sample_of(model)))


def _sample_of(model: torch.nn.Module) -> int | None:
    """How many values of each tensor are hashed; None for all."""
    whole = sum(tensor.numel() for tensor in model.state_dict().values()) <= _WHOLE
    return None if whole else _SAMPLE


def _tensor_digests(model: torch.nn.Module, sample: int | None) -> list[str]:
    """Of each different tensor, in the order of the digests."""
    tensors = model.state_dict().values()
    return sorted({_digest_values(tensor.detach(), sample) for tensor in tensors})


def _digest(backbone: Backbone, sample: int | None) -> str:
    parts = _tensor_digests(backbone.model, sample)
    rows = backbone.model.get_input_embeddings().weight.detach()
    parts += [_digest_values(rows[ids], None) for ids in backbone.meta_ids.values()]
    described = {**backbone.settings.to_dict(), "format": None, "meta_ids": backbone.meta_ids}
    described.pop("dimensions", None)  # they say what vectors are good for, and change none
    parts.append(json.dumps(described, sort_keys=True))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _digest_values(tensor: torch.Tensor, sample: int | None) -> str:
    values = tensor.reshape(-1)
    if sample is not None:
        values = values[:: max(1, -(-values.numel() // sample))]
    exact: Any = values.to("cpu", torch.float32).contiguous().numpy()
    return f"{tuple(tensor.shape)} {hashlib.sha256(exact).hexdigest()}"
