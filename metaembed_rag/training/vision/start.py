"""The tower's first weights: it sees frequencies, looks at neighbours, and comes in unseen.

Untrained, a transformer has to find out that patches have neighbours. Here a patch's pixels enter
as cosine coefficients, its position as sines and cosines of row and column, and each attention head
starts by looking at the patch one or two places away, so that the tower begins as a small
convolutional network. Features start with a low first coordinate, on which the text model's
functional initialisation hangs the weight of a token: nobody attends to a picture that is not read
yet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-2, 0), (2, 0), (-3, 0), (3, 0))
"""(columns, rows) that the heads look away, in turn."""


@dataclass(frozen=True)
class StartSettings:
    """How the tower begins.

    Args:
        positions: Size of the position vectors against the content's.
        sharpness: How much the logit of the patch aimed at is above its neighbour's, about.
        low: The features' first coordinate, in standard deviations of the others.
        neighbours: False leaves transformers' random attention.
    """

    positions: float = 1.0
    sharpness: float = 5.0
    low: float = 7.0
    neighbours: bool = True
    seed: int = 0


@torch.no_grad()
def start_tower(model: Any, settings: StartSettings | None = None) -> None:
    """Write the first weights of the vision part and the connector (in place).

    Args:
        model: A ``ModernVBertModel`` as :func:`~.tower.build_tower` makes it.
    """
    settings = settings or StartSettings()
    noise = torch.Generator().manual_seed(settings.seed)
    config, vision = model.config.vision_config, model.vision_model
    for name, parameter in (*vision.named_parameters(), *model.connector.named_parameters()):
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim > 1:
            spread = 1 / math.sqrt(parameter[0].numel())
            parameter.copy_(spread * torch.randn(parameter.shape, generator=noise))
    room = config.hidden_size // config.num_attention_heads
    embeddings = vision.embeddings
    embeddings.patch_embedding.weight.copy_(
        cosine_filters(config.patch_size, config.hidden_size, config.hidden_size - room)
    )
    white = embeddings.patch_embedding.weight.sum((1, 2, 3))
    embeddings.patch_embedding.bias.copy_(-white)  # paper is nothing, ink is something
    grid = config.image_size // config.patch_size
    table = position_table(grid, room)
    embeddings.position_embedding.weight.zero_()
    embeddings.position_embedding.weight[:, -room:] = settings.positions * table
    for layer in vision.encoder.layers:
        if settings.neighbours:
            _look_at_neighbours(layer.self_attn, room, settings)
        layer.self_attn.out_proj.weight.mul_(0.5)
        layer.self_attn.out_proj.weight[-room:] *= 0.05  # positions stay readable
        layer.mlp.fc2.weight.mul_(0.5)
        layer.mlp.fc2.weight[-room:] *= 0.05
    _come_in_low(model, settings)


def cosine_filters(patch: int, rows: int, filled: int) -> Tensor:
    """The lowest two-dimensional cosine functions of a patch, ``(rows, 3, patch, patch)``.

    Rows from ``filled`` on are zero. All three colours have the same filter, so that a tower
    trained on grey pages sees colours as the grey that they are.
    """
    at = torch.arange(patch) + 0.5
    waves = torch.cos(math.pi / patch * at[None] * torch.arange(patch)[:, None])  # (patch, patch)
    waves[0] *= math.sqrt(0.5)
    order = sorted((u + v, u, v) for u in range(patch) for v in range(patch))
    filters = torch.zeros(rows, patch, patch)
    for row, (_, u, v) in enumerate(order[:filled]):
        filters[row] = waves[u][:, None] * waves[v][None] * (2 / patch)
    # A page's coefficients fall with the frequency; the factor keeps letters' details in sight.
    rise = torch.tensor([1.0 + 0.25 * total for total, _, _ in order[:filled]])
    filters[: len(rise)] *= rise[:, None, None]
    return (filters / 3)[:, None].expand(rows, 3, patch, patch).clone()


def position_table(grid: int, size: int) -> Tensor:
    """Sines and cosines of column and row, ``(grid * grid, size)``; ``size`` is a multiple of 4.

    The fastest wave is four patches long, the slowest one two grids.
    """
    waves = size // 4
    length = torch.logspace(math.log10(4), math.log10(2 * grid), waves)
    angle = torch.arange(grid)[:, None] * (2 * math.pi / length)  # (grid, waves)
    line = torch.cat([angle.cos(), angle.sin()], dim=1)  # (grid, size / 2)
    columns = line[None].expand(grid, -1, -1)
    rows = line[:, None].expand(-1, grid, -1)
    return torch.cat([columns, rows], dim=2).reshape(grid * grid, size)


def _look_at_neighbours(attention: Any, room: int, settings: StartSettings) -> None:
    """Queries turned by an offset meet keys: the logit is highest that many patches away."""
    grid = round(math.sqrt(attention.config.image_size**2 / attention.config.patch_size**2))
    waves = room // 4
    speed = 2 * math.pi / torch.logspace(math.log10(4), math.log10(2 * grid), waves)
    step = float((1 - speed.cos()).sum())  # what one column away loses
    gain = math.sqrt(settings.sharpness / step * math.sqrt(room)) / settings.positions
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.mul_(0.1)
        projection.bias.zero_()
    for head in range(attention.num_heads):
        across, down = NEIGHBOURS[head % len(NEIGHBOURS)]
        at = slice(head * room, (head + 1) * room)
        turn = torch.block_diag(_turn(speed, across), _turn(speed, down))
        attention.q_proj.weight[at, -room:] += gain * turn
        attention.k_proj.weight[at, -room:] += gain * torch.eye(room)


def _turn(speed: Tensor, offset: int) -> Tensor:
    """The matrix that moves cosines and sines of a place by ``offset`` places."""
    cosine, sine = (speed * offset).cos().diag(), (speed * offset).sin().diag()
    return torch.cat([torch.cat([cosine, -sine], dim=1), torch.cat([sine, cosine], dim=1)])


def _come_in_low(model: Any, settings: StartSettings) -> None:
    """The tower's last LayerNorm gives a constant; the connector makes it the low coordinate."""
    norm, connect = model.vision_model.post_layernorm, model.connector.modality_projection
    norm.weight[0], norm.bias[0] = 0, 1
    patches = model.config.pixel_shuffle_factor**2
    constant = slice(None, None, connect.in_features // patches)  # the first value of each patch
    connect.weight[0] = 0
    connect.weight[:, constant] = 0
    connect.weight[0, constant] = -settings.low / patches
