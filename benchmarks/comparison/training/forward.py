"""Meta Token vectors of a stock ``ModernBertModel``, computing its last layer only where needed.

Only the hidden states at the Meta Tokens are read, so the last layer's queries and MLP are computed
there alone; the result equals the stock forward (a test compares them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recipes.mini.tokenizer import CLS, DOCUMENT_IDS, QUERY_IDS, SEP

if TYPE_CHECKING:
    from transformers import ModernBertModel


@dataclass(frozen=True)
class Tokens:
    """A padded batch: ``ids`` int64 and ``mask`` bool ``(batch, length)``; True is no padding.

    The Meta Tokens come first in memory and last by position, so that every row has them in the
    same columns: ``position`` int64 ``(batch, length)`` holds the place each token takes.
    """

    ids: Tensor
    mask: Tensor
    position: Tensor
    meta: int

    def to(self, device: torch.device) -> Tokens:
        """The same batch on ``device``."""
        return Tokens(
            self.ids.to(device), self.mask.to(device), self.position.to(device), self.meta
        )


def side_ids(query: bool) -> Sequence[int]:
    """The Meta Tokens of one side, in order."""
    return QUERY_IDS if query else DOCUMENT_IDS


def pad(
    texts: Sequence[np.ndarray], *, query: bool, max_tokens: int, meta_tokens: bool = True
) -> Tokens:
    """Batch ``[CLS] text [SEP]`` with the Meta Tokens of one side; texts are cut to the limit.

    Without ``meta_tokens`` the text stands alone, for baselines that read its own tokens.
    """
    meta = list(side_ids(query)) if meta_tokens else []
    cut = [text[:max_tokens].astype(np.int64) for text in texts]
    length = max(len(text) for text in cut) + 2 + len(meta)
    ids = np.zeros((len(cut), length), np.int64)
    mask = np.zeros((len(cut), length), bool)
    position = np.zeros((len(cut), length), np.int64)
    ids[:, : len(meta)] = meta
    for row, text in enumerate(cut):
        end = len(meta) + len(text) + 2
        ids[row, len(meta) : end] = np.concatenate([[CLS], text, [SEP]])
        mask[row, :end] = True
        position[row, len(meta) : end] = np.arange(len(text) + 2)
        position[row, : len(meta)] = len(text) + 2 + np.arange(len(meta))
    arrays = [torch.from_numpy(one) for one in (ids, mask, position)]
    return Tokens(arrays[0], arrays[1], arrays[2], len(meta))


def meta_vectors(model: ModernBertModel, tokens: Tokens, *, causal: bool = False) -> Tensor:
    """Unit vectors at the Meta Tokens, float32 ``(batch, meta, hidden)``.

    With ``causal`` a Meta Token does not see the later ones, as in a causal backbone.
    """
    return F.normalize(_states(model, tokens, tokens.meta, causal), dim=-1)


def token_states(model: ModernBertModel, tokens: Tokens) -> Tensor:
    """Last hidden states of every position, float32 ``(batch, length, hidden)``."""
    return _states(model, tokens, tokens.ids.shape[1], False)


def _states(model: ModernBertModel, tokens: Tokens, wanted: int, causal: bool) -> Tensor:
    states = model.embeddings(input_ids=tokens.ids)
    cosine, sine = model.rotary_emb(states, tokens.position, "full_attention")
    bias = torch.zeros(tokens.mask.shape, device=states.device, dtype=states.dtype)
    bias = bias.masked_fill(~tokens.mask, -1e4)[:, None, None, :]  # (batch, 1, 1, length)
    if causal:
        later = torch.ones(2 * tokens.ids.shape[1:], dtype=torch.bool, device=states.device)
        later[tokens.meta :] = False
        later[:, tokens.meta :] = False
        bias = bias.masked_fill(later.triu(1), -1e4)  # (batch, 1, length, length)
    for layer in model.layers[:-1]:
        states = _layer(layer, states, states.shape[1], cosine, sine, bias)
    states = _layer(model.layers[-1], states, wanted, cosine, sine, bias[:, :, :wanted])
    final: Tensor = model.final_norm(states)
    return final.float()


def _layer(
    layer: Any, states: Tensor, wanted: int, cosine: Tensor, sine: Tensor, bias: Tensor
) -> Tensor:
    """One encoder layer at the first ``wanted`` columns: ``(batch, wanted, hidden)``."""
    normed = layer.attn_norm(states)
    hidden = states.shape[-1]
    to_query, to_key, to_value = layer.attn.Wqkv.weight.split(hidden)
    query = _rotate(_heads(F.linear(normed[:, :wanted], to_query)), cosine, sine)
    key = _rotate(_heads(F.linear(normed, to_key)), cosine, sine)
    value = _heads(F.linear(normed, to_value))
    pooled = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
    out: Tensor = states[:, :wanted] + layer.attn.Wo(pooled.transpose(1, 2).flatten(2))
    mixed: Tensor = layer.mlp(layer.mlp_norm(out))
    return out + mixed


def _heads(states: Tensor) -> Tensor:
    """``(batch, length, hidden)`` to ``(batch, heads, length, 64)``."""
    heads: Tensor = states.unflatten(-1, (-1, 64))
    return heads.transpose(1, 2)


def _rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding of ``(batch, heads, length, 64)`` for the first columns."""
    length = states.shape[2]
    first, second = states.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    cosine = cosine[:, None, :length].to(states.dtype)
    sine = sine[:, None, :length].to(states.dtype)
    return states * cosine + turned * sine


@torch.no_grad()
def encode_tokens(
    model: ModernBertModel,
    texts: Sequence[np.ndarray],
    *,
    query: bool,
    max_tokens: int,
    batch_size: int = 64,
    causal: bool = False,
) -> Tensor:
    """Vectors of tokenised texts in their order, float32 ``(texts, meta, hidden)`` on the CPU."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = torch.empty(len(texts), len(side_ids(query)), model.config.hidden_size)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = pad([texts[i] for i in rows], query=query, max_tokens=max_tokens)
        out[rows] = meta_vectors(model, batch.to(model.device), causal=causal).cpu()
    return out
