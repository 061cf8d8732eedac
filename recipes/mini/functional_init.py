"""Weights that make a stock ``ModernBertModel`` pool token vectors before any training.

From random weights MMR training does not start at this scale: the loss stays where it was. So the
first layer is written by hand. A token's row is its bag-model direction, turned so that the first
dimensions carry most (their prefixes work alone); coordinate 0 carries the log of its bag-model
norm (a LayerNorm would erase the norm itself), coordinate 1 a constant. Values and output are the
identity. What a Meta Token attends to is written into three parts of queries and keys:

- the weight coordinate: Meta Token 0 is the weighted mean of the text (the bag model);
- a projection onto centroids, in RoPE's slow dimensions: weighted mean of the words near one;
- RoPE's turning dimensions: weighted mean of the words around one place, counted from the text's
  end. A sum of cosines in the distance is a window as wide as one likes, and the phase moves it.

Windows are what a page's later Meta Tokens start as: a heading stands in one place, and a vector
that holds one place's words meets a query as a passage does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recipes.mini.tokenizer import (
    CLS,
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

WEIGHT, CONSTANT = 0, 1
"""Hidden coordinates that are no content: a token's log weight, and the same for every token."""

_LEVEL = 8.0
"""The constant: so large that what LayerNorm takes from it (a row's mean, 0.06) hardly shows."""

_WEIGHT = HEAD_SIZE // 2 - 1
"""The slowest head dimension: carries the log weight of a token."""

_TURNING = tuple(range(7))
"""Pairs of head dimensions (i, i + 32) that turn visibly over a page: they carry the position."""

_SLOW = [i for i in range(HEAD_SIZE) if i % (HEAD_SIZE // 2) >= 10 and i != _WEIGHT]
"""43 head dimensions whose RoPE angle stays under 0.15 over 768 positions."""

_REACH = 1024
"""Positions over which a window keeps its shape."""


@dataclass(frozen=True)
class Windows:
    """Meta Tokens that read one place each: ``count`` windows, ``spacing`` tokens apart.

    Args:
        width: Standard deviation in tokens.
    """

    count: int
    spacing: float
    width: float

    @property
    def centres(self) -> list[float]:
        """Distances from the text's last token, in tokens."""
        return [(i + 0.5) * self.spacing for i in range(self.count)]


PAGE_BLOCKS: tuple[int | Windows, ...] = (
    Windows(3, 235.0, 80.0),
    Windows(4, 176.0, 60.0),
    Windows(8, 88.0, 30.0),
    Windows(48, 14.0, 7.0),
)
"""A page's Meta Tokens after the first, which reads everything: clusters of the vocabulary (a
number of them) or windows. The blocks end where the budgets do: 4, 8, 16, 64."""


@dataclass(frozen=True)
class InitSettings:
    """How the first layer pools.

    Args:
        sharpness: Attention logit of a token that points at a document centroid.
        query_sharpness: The same for a query Meta Token's direction.
        blocks: What a page's Meta Tokens after the first read.
        output_scale: Size of the pooled vector against the Meta Token's own embedding.
        meta_scale: Scale of the Meta Tokens' rows; LayerNorm's epsilon (1e-5) shrinks rows this
            small nearly linearly, so a row's length sets how sharply it attends.
        noise: Standard deviation of what is random elsewhere.
    """

    sharpness: float = 15.0
    query_sharpness: float = 15.0
    blocks: tuple[int | Windows, ...] = PAGE_BLOCKS
    output_scale: float = 4.0
    meta_scale: float = 0.006
    noise: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class AttentionPlan:
    """What each of the 16 + 64 Meta Tokens attends to.

    Args:
        directions: ``(80, hidden)``: unit rows, or zeros for "whatever the words are".
        sharpness: ``(80,)``: attention logit of a token that points there.
        waves: complex64 ``(80, pairs)``: amplitude and phase of each turning pair's cosine in the
            distance of a token; zeros for "wherever it stands".
    """

    directions: Tensor
    sharpness: Tensor
    waves: Tensor


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
    importance = (token_counts + 1).log() * weight
    direction = _by_importance(token_vectors / weight[:, None], importance)
    plan = plan_attention(direction, importance, settings)
    rows = model.embeddings.tok_embeddings.weight
    rows.copy_(_token_rows(direction, weight, token_counts))
    rows[:FIRST_TEXT_ID] = _special_rows(plan, settings, noise)
    model.final_norm.weight[[WEIGHT, CONSTANT]] = 0.0
    meta = model.embeddings.norm(rows[QUERY_IDS[0] : FIRST_TEXT_ID])
    _write_attention(model, plan, meta, settings, noise)
    layer: Any
    for layer in model.layers:  # near the identity: random weights would only blur
        layer.mlp.Wo.weight.mul_(0.1)
    for layer in model.layers[1:]:
        layer.attn.Wo.weight.mul_(0.1)


def _by_importance(direction: Tensor, importance: Tensor) -> Tensor:
    """The unit rows turned onto their principal axes, the two least of which make room.

    Coordinates 0 and 1 are left at 0; from 2 on the axes come in falling order of what they carry,
    so that the first 64 or 128 dimensions alone keep most of every cosine.
    """
    points = direction * (importance / importance.sum()).sqrt()[:, None]
    _, axes = torch.linalg.eigh(points.T @ points)  # ascending
    turned = direction @ axes.flip(1)[:, :-2]
    return F.normalize(F.pad(turned, (2, 0)), dim=1)


def _token_rows(direction: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Rows of unit variance, so that LayerNorm leaves them; coordinate 0 is the log weight."""
    log_weight = weight.log()
    log_weight = log_weight - (log_weight * counts).sum() / counts.sum()
    rows = direction * math.sqrt(direction.shape[1])
    rows[:, WEIGHT] = log_weight.clamp(-3, 2)
    rows[:, CONSTANT] = _LEVEL
    return rows


def plan_attention(direction: Tensor, importance: Tensor, settings: InitSettings) -> AttentionPlan:
    """Clusters and windows in blocks that match the nesting of the budgets.

    Of the documents' 64 Meta Tokens the first reads the whole text, then come
    ``settings.blocks``; of the queries' 16, two read the whole text, then come 2, 4 and 8 clusters
    of the vocabulary.
    """
    points, importance = direction[FIRST_TEXT_ID:], importance[FIRST_TEXT_ID:]
    seed, pairs = settings.seed, len(_TURNING)
    whole = direction.new_zeros(1, direction.shape[1])
    query = [kmeans(points, importance, k, seed + k) for k in (2, 4, 8)]
    rows = [whole, whole, *query, whole]
    waves = [torch.zeros(QUERY_VECTORS + 1, pairs, dtype=torch.complex64)]
    for block in settings.blocks:
        if isinstance(block, Windows):
            begun = sum(len(one) for one in rows) - QUERY_VECTORS
            rows.append(direction.new_zeros(block.count, direction.shape[1]))
            waves.append(window_waves(block, begun))
        else:
            rows.append(kmeans(points, importance, block, seed - block))
            waves.append(torch.zeros(block, pairs, dtype=torch.complex64))
    directions = torch.cat(rows)
    if len(directions) != QUERY_VECTORS + DOCUMENT_VECTORS:
        raise ValueError(f"blocks must hold {DOCUMENT_VECTORS - 1} Meta Tokens")
    sharpness = torch.full((len(directions),), settings.sharpness)
    sharpness[:QUERY_VECTORS] = settings.query_sharpness
    return AttentionPlan(directions, sharpness, torch.cat(waves))


def window_waves(block: Windows, begun: int) -> Tensor:
    """Amplitude and phase of every turning pair for each window, complex64 ``(count, pairs)``.

    The logit at distance d is ``sum_i A_i cos(f_i (d - centre))``: with f_i RoPE's frequencies it
    is a query's and a key's product when the key is constant and the query carries the phase. The
    amplitudes are the least-squares fit, none negative, to a Gaussian's logarithm cut off at -16.

    Args:
        begun: How many Meta Tokens of a page stand before the block: each is one further away.
    """
    from scipy.optimize import nnls

    distance = np.arange(-_REACH, _REACH + 1)
    frequency = ROPE_THETA ** (-np.array(_TURNING) * 2 / HEAD_SIZE)
    wanted = np.maximum(-0.5 * (distance / block.width) ** 2, -16.0)
    near = np.exp(wanted / 4) + 0.05  # the peak's shape matters most
    cosines = np.cos(frequency * distance[:, None]) - 1
    amplitude, _ = nnls(cosines * near[:, None], wanted * near)
    own = 2 + begun + np.arange(block.count)  # Meta Tokens follow [SEP]
    phase = -np.outer(np.array(block.centres) + own, frequency)
    return torch.from_numpy(amplitude * np.exp(1j * phase)).to(torch.complex64)


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


def _special_rows(plan: AttentionPlan, settings: InitSettings, noise: torch.Generator) -> Tensor:
    """Rows of ids below 85: coordinate 0 negative, so that nobody attends to them."""
    hidden = plan.directions.shape[1]
    meta = plan.directions * (plan.sharpness[:, None] / 20)
    meta = meta + 0.005 * torch.randn(meta.shape, generator=noise)
    axes = _wave_axes(plan)
    meta = meta + (_wave_parts(plan) / 20 - meta @ axes.T) @ axes  # noise is no place
    meta[:, WEIGHT], meta[:, CONSTANT] = -2.0, 0.0
    meta = (meta - meta.mean(1, keepdim=True)) * settings.meta_scale
    plain = 0.01 * torch.randn(QUERY_IDS[0], hidden, generator=noise)
    plain[:, WEIGHT], plain[:, CONSTANT] = -0.06, 0.0
    return torch.cat([plain, meta])


def _wave_parts(plan: AttentionPlan) -> Tensor:
    """Real and imaginary parts of the waves, ``(80, 2 * pairs)``."""
    return torch.cat([plan.waves.real, plan.waves.imag], dim=1)


def _content_axes(plan: AttentionPlan) -> Tensor:
    """Orthonormal axes of what the directions span, ``(43 at most, hidden)``."""
    directed = plan.directions[plan.directions.norm(dim=1) > 0.5]
    axes: Tensor = torch.linalg.svd(directed, full_matrices=False)[2]
    return axes[: len(_SLOW)]


def _wave_axes(plan: AttentionPlan) -> Tensor:
    """Orthonormal axes of a Meta Token's row that hold its waves, ``(2 * pairs, hidden)``.

    They touch neither the content axes, nor coordinates 0 and 1, nor a row's mean.
    """
    hidden = plan.directions.shape[1]
    taken = torch.cat([_content_axes(plan), torch.eye(hidden)[:2], torch.ones(1, hidden)])
    drawn = torch.randn(2 * len(_TURNING), hidden, generator=torch.Generator().manual_seed(0))
    basis: Tensor = torch.linalg.qr(torch.cat([taken, drawn]).T)[0]
    return basis.T[len(taken) :]


def _write_attention(
    model: ModernBertModel,
    plan: AttentionPlan,
    meta: Tensor,
    settings: InitSettings,
    noise: torch.Generator,
) -> None:
    """Queries and keys of every head alike; values and output the identity.

    The logit of a token for a Meta Token is ``log weight + sharpness * cosine`` with its direction
    (up to the share of the cosine that the projection keeps) ``+ waves`` in its distance. Keys are
    as large as queries: Adam moves every entry alike, and would wipe out small ones in ten steps.
    """
    hidden = plan.directions.shape[1]
    first: Any = model.layers[0]
    attention, root = first.attn, math.sqrt(HEAD_SIZE)
    axes, wave_axes = _content_axes(plan), _wave_axes(plan)
    directed = plan.directions.norm(dim=1) > 0.5
    along = (meta * plan.directions).sum(1)[directed] / plan.sharpness[directed]
    queries, keys, values = attention.Wqkv.weight.view(3, hidden, hidden)
    for matrix in (queries, keys):
        matrix.normal_(std=settings.noise, generator=noise)
    for head in range(hidden // HEAD_SIZE):
        at = head * HEAD_SIZE
        slow = [at + i for i in _SLOW[: len(axes)]]
        turning = [at + i + half for half in (0, HEAD_SIZE // 2) for i in _TURNING]
        queries[at + _WEIGHT], keys[at + _WEIGHT] = 0, 0
        queries[at + _WEIGHT, WEIGHT] = root / meta[:, WEIGHT].mean()
        keys[at + _WEIGHT, WEIGHT] = 1
        queries[slow] = axes * (root / along.mean() / math.sqrt(hidden))
        keys[slow] = axes
        queries[turning] = wave_axes * (root * _wave_gain(plan, meta, wave_axes) / _LEVEL)
        keys[turning] = 0
        keys[turning[: len(_TURNING)], CONSTANT] = 1
        queries[slow, :2], keys[slow, :2] = 0, 0
    identity = torch.eye(hidden)
    values.copy_(identity + settings.noise * torch.randn(hidden, hidden, generator=noise))
    values[:2] = 0
    blurred = identity + settings.noise * torch.randn(hidden, hidden, generator=noise)
    attention.Wo.weight.copy_(settings.output_scale * blurred)


def _wave_gain(plan: AttentionPlan, meta: Tensor, axes: Tensor) -> float:
    """What brings the waves back to their size after the embedding's LayerNorm; 0 without any."""
    wanted = _wave_parts(plan)
    found = ((meta @ axes.T) * wanted).sum()
    return float((wanted * wanted).sum() / found) if wanted.any() else 0.0
