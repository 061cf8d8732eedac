"""From training's weights to the folder that ``MetaEmbedEncoder.from_pretrained`` loads."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metaembed_rag.errors import CheckpointError
from recipes.mini.forward import encode_tokens
from recipes.mini.tokenizer import (
    DOCUMENT_VECTORS,
    QUERY_VECTORS,
    encode,
    save_pretrained_tokenizer,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import ModernBertModel

QUERY_TOKENS = 64
DOCUMENT_TOKENS = 768
DIMENSIONS = (64, 128)
"""Prefixes of the vectors' dimensions that training makes work alone."""


def trained_dimensions(hidden: int) -> tuple[int, ...]:
    """All dimensions and the prefixes that are trained to work alone, the largest first."""
    return (hidden, *(size for size in DIMENSIONS[::-1] if size < hidden))


def export(model: ModernBertModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a checkpoint with fp16 weights; an existing README.md in ``folder`` is kept."""
    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        save_pretrained_tokenizer(tokenizer, Path(plain), max_length=1024)
        prefixes = trained_dimensions(model.config.hidden_size)[:0:-1]
        save_encoder(Path(plain), folder, dimensions=prefixes)


def save_encoder(backbone: Path, folder: Path, **options: Any) -> None:
    """Write a backbone with the small checkpoint's Meta Tokens and lengths, in fp16.

    Args:
        backbone: Weights and tokenizer or processor.
        folder: Where to write.
        options: Further ones of :meth:`MetaEmbedEncoder.from_backbone`.
    """
    from metaembed_rag.model import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_backbone(
        backbone,
        QUERY_VECTORS,
        DOCUMENT_VECTORS,
        device="cpu",
        max_query_tokens=QUERY_TOKENS,
        max_document_tokens=DOCUMENT_TOKENS,
        **options,
    )
    encoder.save_pretrained(folder, dtype="float16")


def check_export(
    model: ModernBertModel, tokenizer: Tokenizer, folder: Path, texts: Sequence[str]
) -> float:
    """Largest difference between the exported encoder's vectors and training's own forward.

    Raises:
        CheckpointError: It is above 0.005, more than fp16 weights explain.
    """
    from metaembed_rag.model import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    tokens = encode(tokenizer, texts)
    worst = 0.0
    for query, limit in ((True, QUERY_TOKENS), (False, DOCUMENT_TOKENS)):
        with torch.autocast("cpu", enabled=False):
            ours = encode_tokens(model, tokens, query=query, max_tokens=limit).numpy()
        verb = encoder.encode_query if query else encoder.encode_document
        worst = max(worst, float(np.abs(verb(list(texts)) - ours).max()))
    if worst > 0.005:
        raise CheckpointError(f"{folder}: vectors differ from training's by {worst:.4f}")
    return worst
