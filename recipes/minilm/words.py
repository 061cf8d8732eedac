"""Vectors of the words themselves: what a sentence encoder does not keep of a page.

Two rare names mean nearly the same to all-MiniLM-L6-v2, and a page's mean hardly holds either. So
each word piece gets a short vector that is learnt as a bag of words, by titles, descriptions and
spans of pages (``recipes.mini.bag``), and a window holds the sum of its words beside its meaning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaembed_rag.model import MetaEmbedEncoder
from recipes.minilm.start import principal_axes

WORD_SIZE = 96
"""Values of a word's vector: as many as keep the checkpoint under 50 MB in int8."""
STEPS = 3_600
"""Batches of 1,024 pairs."""
WEIGHTS = {
    "title": 0.25, "debian": 0.20, "span": 0.15, "section": 0.10, "passage": 0.10,
    "question": 0.08, "dictionary": 0.08, "wordnet": 0.05, "opencqa": 0.05, "paraphrase": 0.05,
    "faq": 0.02,
}  # fmt: skip
"""Shares of the kinds of pairs in the training of words: those of ``mini``, and questions."""
SHARES = (0.15, 0.2, 0.25, 0.3, 0.35)
"""Of the words in a score: what is tried on the validation sets."""

logger = logging.getLogger(__name__)


def with_words(
    folder: Path,
    vectors: Tensor,
    pages: Sequence[str],
    quality: Callable[[MetaEmbedEncoder], float],
    shares: Sequence[float] = SHARES,
) -> MetaEmbedEncoder:
    """A checkpoint whose words have vectors of their own, at the share that scores highest.

    Args:
        folder: The checkpoint without.
        vectors: float32 (vocabulary, word size).
        pages: Texts whose vectors give the axes that the values of a vector are turned onto.
        quality: Of a model on validation data; higher is better.
        shares: Of the words in a score, of which one is chosen.
    """
    encoder = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    model: Any = encoder.backbone.model
    model.freeze_text()  # a text is read once, not once a share
    meanings = encoder.encode_document(pages)
    turn = model.reader.output.weight.detach().clone()  # (D, D)
    model.give_words(vectors, 1.0)
    size, words = model.config.hidden_size, vectors.shape[1]
    with torch.no_grad():
        model.reader.output.weight[:, size:] = torch.eye(size, words)
    apart = encoder.encode_document(pages)[..., :words]
    both = torch.block_diag(turn, torch.eye(words))
    found: dict[float, float] = {}
    for share in shares:
        _turn(model, _axes(meanings, apart, share)[:size] @ both, share)
        found[share] = quality(encoder)
    best = max(found, key=lambda share: found[share])
    logger.info("share of the words: %s of %s", best, found)
    _turn(model, _axes(meanings, apart, best)[:size] @ both, best)
    return encoder


def _axes(meanings: np.ndarray, words: np.ndarray, share: float) -> Tensor:
    """Principal axes of both side by side, (D + word size, D + word size)."""
    return principal_axes(
        np.concatenate([np.sqrt(1 - share) * meanings, np.sqrt(share) * words], -1)
    )


@torch.no_grad()
def _turn(model: Any, weight: Tensor, share: float) -> None:
    model.reader.output.weight.copy_(weight)
    model.share_words(share)
