"""Text checkpoint + trained weights -> a folder that ``MetaEmbedEncoder`` loads, pictures too."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from metaembed_rag.errors import CheckpointError
from metaembed_rag.training.export import save_encoder, trained_dimensions
from metaembed_rag.training.vision.batches import stretch
from metaembed_rag.training.vision.tower import (
    IMAGE,
    IMAGE_TOKENS,
    MAX_POSITIONS,
    page_cells,
    page_vectors,
)


def join(model: Any, text_folder: Path, folder: Path) -> None:
    """Write a checkpoint with fp16 weights that reads text, pictures, and both together.

    Args:
        model: A ``ModernVBertModel`` on the CPU.
        text_folder: The text checkpoint, for its tokenizer.
        folder: Where to write; a README.md that is there is kept.
    """
    from metaembed_rag.model import Template

    config = model.config.vision_config
    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        cell = config.patch_size * model.config.pixel_shuffle_factor
        processor_of(text_folder, config.image_size, cell).save_pretrained(plain)
        save_encoder(
            Path(plain),
            folder,
            max_pixels=config.image_size**2,
            template=Template("{text}", IMAGE, IMAGE + "{text}"),
            dimensions=_dimensions(text_folder, model.config.text_config.hidden_size),
        )


def _dimensions(text_folder: Path, hidden: int) -> tuple[int, ...]:
    """The prefixes of the vectors that work alone: as the text checkpoint says, or as trained."""
    path = text_folder / "metaembed.json"
    if not path.exists():
        return trained_dimensions(hidden)[:0:-1]
    return tuple(json.loads(path.read_text(encoding="utf-8")).get("dimensions", ()))


def processor_of(text_folder: Path, side: int, cell: int) -> Any:
    """An ``Idefics3Processor`` that makes one square of a picture, by Pillow.

    Raises:
        CheckpointError: The tokenizer gives pictures' tokens other ids than the tower has.
    """
    from transformers import AutoTokenizer
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )
    from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

    tokenizer = AutoTokenizer.from_pretrained(text_folder, local_files_only=True)
    tokenizer.model_max_length = MAX_POSITIONS  # a picture is longer than the longest text
    known = len(tokenizer)
    tokenizer.add_tokens(list(IMAGE_TOKENS), special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(list(IMAGE_TOKENS))
    if ids != list(range(known, known + len(IMAGE_TOKENS))):
        raise CheckpointError(f"{text_folder}: its tokenizer knows {IMAGE_TOKENS} already: {ids}")
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": side},
        max_image_size={"longest_edge": side},
        do_image_splitting=False,
    )
    return Idefics3Processor(images, tokenizer, image_seq_len=(side // cell) ** 2)


@torch.no_grad()
def check_join(model: Any, folder: Path, images: list[Image.Image]) -> float:
    """Largest difference between the written encoder's vectors of pictures and training's.

    Raises:
        CheckpointError: It is above 0.01, more than fp16 weights explain.
    """
    from metaembed_rag.model import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    side = model.config.vision_config.image_size
    worst = 0.0
    for image in images:
        pixels = np.array(stretch(image.convert("L"), side))[None]
        ours = page_vectors(model, page_cells(model, torch.from_numpy(pixels))).numpy()
        worst = max(worst, float(np.abs(encoder.encode_document([image]) - ours).max()))
    if worst > 0.01:
        raise CheckpointError(f"{folder}: vectors differ from training's by {worst:.4f}")
    return worst
