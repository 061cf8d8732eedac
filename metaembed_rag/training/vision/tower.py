"""A vision tower in front of a text model: stock ``ModernVBertModel``, and what training computes.

A page is stretched to a square and cut into square patches, which the vision tower reads; two by
two of them make a cell, and each cell becomes one token of the text model. 784 cells of a page are
about as many as it has words, and they stand in the order of lines: Meta Tokens that read one place
of a text read one place of a page. The text model is never changed here, so a text's vectors stay
those of the text checkpoint.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from metaembed_rag.errors import CheckpointError
from metaembed_rag.training.functional_init import side_ids
from metaembed_rag.training.tokenizer import CLS, SEP

if TYPE_CHECKING:
    from transformers import ModernVBertModel

IMAGE_TOKENS = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
"""What Idefics3Processor puts into a text for a picture; their ids follow the vocabulary's."""

IMAGE = IMAGE_TOKENS[0]
MAX_POSITIONS = 8192


@dataclass(frozen=True)
class TowerSize:
    """How large the vision tower is.

    Args:
        side: Pixels of the square that a page is stretched to.
        patch: Pixels of a patch's side.
        shuffle: Patches of a cell's side.
        hidden: Size of the tower's states; a multiple of 64.
        layers: Of the tower.
        heads: Of each layer; each has ``hidden / heads`` dimensions, a multiple of 4.
    """

    side: int = 896
    patch: int = 16
    shuffle: int = 2
    hidden: int = 384
    layers: int = 6
    heads: int = 6

    def __post_init__(self) -> None:
        if self.side % self.cell or self.hidden % self.heads or (self.hidden // self.heads) % 4:
            raise ValueError(
                f"side must be a multiple of patch * shuffle, and hidden / heads of 4; got {self}"
            )

    @property
    def grid(self) -> int:
        """Cells in a row, and rows."""
        return self.side // self.cell

    @property
    def cell(self) -> int:
        """Pixels of a cell's side."""
        return self.patch * self.shuffle


def load_text_model(folder: Path) -> Any:
    """The text checkpoint as a ``ModernBertModel`` in float32.

    Raises:
        CheckpointError: The folder holds no ModernBERT.
    """
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no text model ({error})") from error
    if model.config.model_type != "modernbert":
        raise CheckpointError(f"{folder} is a {model.config.model_type}; a ModernBERT is needed")
    return model.eval()


def digest(model: Any) -> str:
    """SHA-256 of a model's weights: features are only worth something with the rows they learnt."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def build_tower(text_model: Any, size: TowerSize) -> ModernVBertModel:
    """A ``ModernVBertModel`` with the text model's weights; the tower's own are random.

    The text model's vocabulary grows by :data:`IMAGE_TOKENS`, whose rows are copies of ``[SEP]``'s:
    nobody attends to it.
    """
    from transformers import ModernVBertConfig, ModernVBertModel

    known = text_model.config.vocab_size
    text = {
        **text_model.config.to_dict(),
        "vocab_size": known + len(IMAGE_TOKENS),
        "max_position_embeddings": MAX_POSITIONS,
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": size.hidden,
        "intermediate_size": 4 * size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "image_size": size.side,
        "patch_size": size.patch,
        "vision_use_head": False,
    }
    config = ModernVBertConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=known,
        pixel_shuffle_factor=size.shuffle,
    )
    model = ModernVBertModel(config)
    weights = dict(text_model.state_dict())
    name = "embeddings.tok_embeddings.weight"
    more = weights[name][SEP].expand(len(IMAGE_TOKENS), -1)
    weights[name] = torch.cat([weights[name], more])
    model.text_model.load_state_dict(weights)
    model.text_model.requires_grad_(False)
    return model.eval()


def trained(model: Any) -> dict[str, Tensor]:
    """What training changes, by name: the vision part and the connector."""
    own = model.named_parameters()
    return {name: value for name, value in own if not name.startswith("text_model.")}


def window_cells(model: Any, pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Features of windows of pages, before the text model's LayerNorm.

    Args:
        pixels: uint8 ``(n, h, h)``, grey squares; h is a multiple of a cell's side.
        rows: int64 ``(n,)``: the first cell of each window in its page.
        columns: int64 ``(n,)``.

    Returns:
        ``(n, cells, D)``, rows of cells one after another. With the whole page as one window it is
        what the stock model computes.
    """
    vision, size = model.vision_model, model.config.vision_config
    grid = size.image_size // size.patch_size
    grey = (pixels.to(vision.embeddings.patch_embedding.weight.dtype) / 127.5 - 1)[:, None]
    states = vision.embeddings.patch_embedding(grey.expand(-1, 3, -1, -1))  # (n, hidden, h', w')
    down, across = (torch.arange(n, device=pixels.device) for n in states.shape[2:])
    factor = model.config.pixel_shuffle_factor
    down, across = rows[:, None] * factor + down, columns[:, None] * factor + across
    at = down[:, :, None] * grid + across[:, None]  # (n, h', w')
    states = states.flatten(2).transpose(1, 2)  # (n, cells, hidden)
    states = states + vision.embeddings.position_embedding(at.flatten(1))
    states = vision.encoder(inputs_embeds=states).last_hidden_state
    return model.connector(vision.post_layernorm(states))  # type: ignore[no-any-return]


def page_cells(model: Any, pixels: Tensor) -> Tensor:
    """:func:`window_cells` of whole pages, uint8 ``(n, side, side)``."""
    nothing = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
    return window_cells(model, pixels, nothing, nothing)


def page_vectors(model: Any, cells: Tensor) -> Tensor:
    """Unit vectors of pictures alone, float32 ``(n, 64, D)``, from their cells' features.

    The input is what the encoder gives the stock model: ``[CLS]``, the picture's tokens, ``[SEP]``,
    the documents' Meta Tokens.
    """
    first = model.config.image_token_id
    around, tile = first + 1, first + 2
    table = model.text_model.embeddings.tok_embeddings
    begin, end = ([CLS, around, tile], [around, SEP, *side_ids(False)])
    device = cells.device
    head = table(torch.tensor(begin, device=device)).expand(len(cells), -1, -1)
    tail = table(torch.tensor(end, device=device)).expand(len(cells), -1, -1)
    states = torch.cat([head.to(cells.dtype), cells, tail.to(cells.dtype)], dim=1)
    mask = torch.ones(states.shape[:2], dtype=torch.long, device=device)
    out = model.text_model(inputs_embeds=states, attention_mask=mask).last_hidden_state
    return F.normalize(out[:, -len(side_ids(False)) :].float(), dim=-1)
