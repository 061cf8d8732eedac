"""Weights that make a stock ``ModernBertModel`` pool token vectors before any training.

From random weights MMR training does not start at this scale: the loss stays where it was. So the
first layer is written by hand. A token's row is its bag-model direction; coordinate 0 carries the
log of its bag-model norm (a LayerNorm would erase the norm itself). Keys and queries read that
coordinate and a projection onto centroids, in RoPE's slow dimensions; values and output are the
identity. Then Meta Token 0 is the weighted mean of the text (the bag model), and each other Meta
Token is the weighted mean of the words near its centroid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from metaembed_rag.training.tokenizer import (
    CLS,
    DOCUMENT_IDS,
    DOCUMENT_VECTORS,
    FIRST_TEXT_ID,
    PAD,
    QUERY_IDS,
    QUERY_VECTORS,
    SEP,
)

if TYPE_CHECKING:
    from transformers import ModernBertModel

HEAD_SIZE = 64
ROPE_THETA = 1e12
"""So large that most head dimensions hardly turn over 512 positions: they carry content."""

_WEIGHT = HEAD_SIZE // 2 - 1
"""The slowest head dimension: carries the log weight of a token."""

_SLOW = [i for i in range(HEAD_SIZE) if i % (HEAD_SIZE // 2) >= 10 and i != _WEIGHT]
"""43 head dimensions whose RoPE angle stays under 0.1 over 512 positions."""


@dataclass(frozen=True)
class InitSettings:
    """How the first layer pools.

    Args:
        sharpness: Attention logit of a token that points at a document centroid.
        query_sharpness: The same for a query Meta Token's direction.
        query_power: In queries, attention grows with a token's weight to this power; elsewhere with
            the weight itself.
        sampled: Whether the later query Meta Tokens have random directions, so that each picks
            single words of the query (heavy ones more often), or centroids as in documents.
        output_scale: Size of the pooled vector against the Meta Token's own embedding.
        meta_scale: Scale of the Meta Tokens' rows; LayerNorm's epsilon (1e-5) shrinks rows this
            small nearly linearly, so a row's length sets how sharply it attends.
        noise: Standard deviation of what is random elsewhere.
    """

    sharpness: float = 15.0
    query_sharpness: float = 15.0
    query_power: float = 1.0
    sampled: bool = False
    output_scale: float = 4.0
    meta_scale: float = 0.006
    noise: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class Pooling:
    """What each of the 16 + 64 Meta Tokens attends to.

    Args:
        directions: ``(80, hidden)``: unit rows, or zeros for "the whole text".
        sharpness: ``(80,)``: attention logit of a token that points there.
        power: ``(80,)``: power of the token's weight.
    """

    directions: Tensor
    sharpness: Tensor
    power: Tensor


def build_model(vocabulary: int, hidden: int, *, layers: int, intermediate: int) -> ModernBertModel:
    """A stock ModernBERT with full attention in every layer and randomly initialised weights."""
    from transformers import ModernBertConfig, ModernBertModel

    return ModernBertModel(
        ModernBertConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=hidden // HEAD_SIZE,
            layer_types=["full_attention"] * layers,
            max_position_embeddings=2048,
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": ROPE_THETA},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
            pad_token_id=PAD,
            bos_token_id=CLS,
            eos_token_id=SEP,
            cls_token_id=CLS,
            sep_token_id=SEP,
        )
    )


@torch.no_grad()
def functional_init(
    model: ModernBertModel,
    token_vectors: Tensor,
    token_counts: Tensor,
    settings: InitSettings | None = None,
) -> None:
    """Write the pooling function into ``model`` (in place).

    Args:
        token_vectors: float32 ``(vocabulary, hidden)`` of the bag model.
        token_counts: ``(vocabulary,)``: how often each token stands in the training text.
    """
    settings = settings or InitSettings()
    noise = torch.Generator().manual_seed(settings.seed)
    weight = token_vectors.norm(dim=1).clamp(min=1e-3)
    direction = token_vectors / weight[:, None]
    direction[:, 0] = 0
    pooling = plan_pooling(direction, (token_counts + 1).log() * weight, settings)
    rows = model.embeddings.tok_embeddings.weight
    rows.copy_(_token_rows(direction, weight, token_counts))
    rows[:FIRST_TEXT_ID] = _special_rows(pooling, settings, noise)
    model.final_norm.weight[0] = 0.0  # the weight coordinate is no content
    meta = model.embeddings.norm(rows[QUERY_IDS[0] : FIRST_TEXT_ID])
    _write_attention(model, pooling, meta, settings, noise)
    layer: Any
    for layer in model.layers[1:]:  # near the identity: they add little at first
        layer.attn.Wo.weight.mul_(0.1)
        layer.mlp.Wo.weight.mul_(0.1)


def _token_rows(direction: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Rows of unit variance, so that LayerNorm leaves them; coordinate 0 is the log weight."""
    log_weight = weight.log()
    log_weight = log_weight - (log_weight * counts).sum() / counts.sum()
    rows = direction * math.sqrt(direction.shape[1])
    rows[:, 0] = log_weight.clamp(-3, 2)
    return rows


def plan_pooling(direction: Tensor, importance: Tensor, settings: InitSettings) -> Pooling:
    """Directions in blocks that match the nesting of the budgets.

    Of the documents' 64 Meta Tokens the first reads the whole text, then come 3, 4, 8 and 48
    clusters of the vocabulary; of the queries' 16, two read the whole text, then 2, 4 and 8.
    """
    points, importance = direction[FIRST_TEXT_ID:], importance[FIRST_TEXT_ID:]
    whole, seed = direction.new_zeros(1, direction.shape[1]), settings.seed
    document = [whole, *(kmeans(points, importance, k, seed - k) for k in (3, 4, 8, 48))]
    query = [whole, whole, *(kmeans(points, importance, k, seed + k) for k in (2, 4, 8))]
    if settings.sampled:
        _, _, axes = torch.linalg.svd(torch.cat(document), full_matrices=False)
        drawn = torch.randn(14, len(_SLOW), generator=torch.Generator().manual_seed(seed))
        query = [whole, whole, F.normalize(drawn @ axes[: len(_SLOW)], dim=1)]
    directions = torch.cat([*query, *document])
    sharpness = torch.full((len(directions),), settings.sharpness)
    sharpness[:QUERY_VECTORS] = settings.query_sharpness
    power = torch.ones(len(directions))
    power[2:QUERY_VECTORS] = settings.query_power
    assert len(directions) == QUERY_VECTORS + DOCUMENT_VECTORS
    return Pooling(directions, sharpness, power)


def kmeans(points: Tensor, importance: Tensor, k: int, seed: int, rounds: int = 25) -> Tensor:
    """Spherical k-means: ``k`` unit centroids of unit ``points`` weighted by ``importance``."""
    generator = torch.Generator().manual_seed(seed % 2**31)
    start = torch.multinomial(importance, k, generator=generator)
    centroids = points[start]
    for _ in range(rounds):
        nearest = (points @ centroids.T).argmax(1)
        sums = torch.zeros_like(centroids)
        sums.index_add_(0, nearest, points * importance[:, None])
        empty = sums.norm(dim=1) < 1e-6
        sums[empty] = points[torch.multinomial(importance, int(empty.sum()) or 1)][: empty.sum()]
        centroids = F.normalize(sums, dim=1)
    return centroids


def _special_rows(pooling: Pooling, settings: InitSettings, noise: torch.Generator) -> Tensor:
    """Rows of ids below 85: coordinate 0 negative, so that nobody attends to them."""
    hidden = pooling.directions.shape[1]
    meta = pooling.directions * (pooling.sharpness[:, None] / 20)
    meta = meta + 0.005 * torch.randn(meta.shape, generator=noise)
    meta[:, 0] = -2.0 * pooling.power
    meta = (meta - meta.mean(1, keepdim=True)) * settings.meta_scale
    plain = 0.01 * torch.randn(QUERY_IDS[0], hidden, generator=noise)
    plain[:, 0] = -0.06
    return torch.cat([plain, meta])


def _write_attention(
    model: ModernBertModel,
    pooling: Pooling,
    meta: Tensor,
    settings: InitSettings,
    noise: torch.Generator,
) -> None:
    """Queries and keys of every head alike; values and output the identity.

    The logit of a token for a Meta Token is ``power * log weight + sharpness * cosine`` with its
    direction, up to the share of the cosine that the projection onto 43 dimensions keeps.
    """
    hidden = pooling.directions.shape[1]
    first: Any = model.layers[0]
    attention, root = first.attn, math.sqrt(HEAD_SIZE)
    _, _, axes = torch.linalg.svd(pooling.directions[QUERY_VECTORS:], full_matrices=False)
    axes = axes[: len(_SLOW)]
    directed = pooling.directions.norm(dim=1) > 0.5
    along = (meta * pooling.directions).sum(1)[directed] / pooling.sharpness[directed]
    low = (meta[:, 0] / pooling.power).mean()
    queries, keys, values = attention.Wqkv.weight.view(3, hidden, hidden)
    for matrix in (queries, keys):
        matrix.normal_(std=settings.noise, generator=noise)
    for head in range(hidden // HEAD_SIZE):
        at = head * HEAD_SIZE
        slow = [at + i for i in _SLOW]
        queries[at + _WEIGHT], keys[at + _WEIGHT] = 0, 0
        queries[at + _WEIGHT, 0] = root / low
        keys[at + _WEIGHT, 0] = 1
        queries[slow] = axes * (root / along.mean())
        keys[slow] = axes / math.sqrt(hidden)
        queries[slow, 0], keys[slow, 0] = 0, 0
    identity = torch.eye(hidden)
    values.copy_(identity + settings.noise * torch.randn(hidden, hidden, generator=noise))
    values[0] = 0
    blurred = identity + settings.noise * torch.randn(hidden, hidden, generator=noise)
    attention.Wo.weight.copy_(settings.output_scale * blurred)


def side_ids(query: bool) -> Sequence[int]:
    """The Meta Tokens of one side, in order."""
    return QUERY_IDS if query else DOCUMENT_IDS
