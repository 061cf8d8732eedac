"""From a plain ModernBERT and its tokenizer to a folder for ``MetaEmbedEncoder``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from metaembed_rag.model import MetaEmbedEncoder
from recipes.mini.tokenizer import DOCUMENT_VECTORS, QUERY_VECTORS, save_pretrained_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import ModernBertModel

QUERY_TOKENS = 64
DOCUMENT_TOKENS = 768
DIMENSIONS = (64, 128)
"""Prefixes of the vectors' dimensions that training makes work alone."""


def export(
    model: ModernBertModel, tokenizer: Tokenizer, folder: Path, *, dtype: str = "float16"
) -> None:
    """Write a checkpoint with the Meta Tokens that the vocabulary holds.

    Args:
        model: Its first token rows are those of :mod:`recipes.mini.tokenizer`.
        tokenizer: Of the same vocabulary.
        folder: Where to write; an existing README.md is kept.
        dtype: Of the stored weights.
    """
    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        save_pretrained_tokenizer(tokenizer, Path(plain), max_length=1024)
        encoder = MetaEmbedEncoder.from_backbone(
            plain,
            QUERY_VECTORS,
            DOCUMENT_VECTORS,
            device="cpu",
            max_query_tokens=QUERY_TOKENS,
            max_document_tokens=DOCUMENT_TOKENS,
            dimensions=[size for size in DIMENSIONS if size < model.config.hidden_size],
        )
        encoder.save_pretrained(folder, dtype=dtype)
