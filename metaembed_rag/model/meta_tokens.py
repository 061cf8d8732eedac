"""Meta Tokens: their names, their rows in a vocabulary, and the module that reads them.

MetaEmbed (see the paper's section on Meta Tokens) appends learnable tokens to an input, one set
for queries and another for candidates, and takes the last layer's hidden states at their
positions as the ordered multi-vector. Here they are ordinary vocabulary tokens with trained
embedding rows: exactly equal to learnable vectors, on any backbone and any serving engine.
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Module
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.settings import meta_token_names


def meta_token_ids(tokenizer: PreTrainedTokenizerBase, side: str, count: int) -> list[int]:
    """The ids of one side's Meta Tokens, in order.

    Raises:
        CheckpointError: The tokenizer lacks some of them.
    """
    vocabulary = tokenizer.get_vocab()
    names = meta_token_names(side, count)
    missing = [name for name in names if name not in vocabulary]
    if missing:
        raise CheckpointError(
            f"the tokenizer lacks {len(missing)} of {count} {side} Meta Tokens, such as "
            f"{missing[0]}; make a checkpoint with MetaEmbedEncoder.from_backbone"
        )
    return [vocabulary[name] for name in names]


def add_meta_tokens(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    query_vectors: int,
    document_vectors: int,
    *,
    seed: int = 0,
) -> list[str]:
    """Put both sides' Meta Tokens into the vocabulary and give new ones an embedding row.

    Tokens that the tokenizer has already are reused with their trained rows. A new row is the
    mean of the embedding rows plus noise of a tenth of their standard deviation: near what the
    backbone knows, yet different from its neighbours, and the same for the same seed.

    Returns:
        The names that were added; empty when all were there.
    """
    names = meta_token_names("query", query_vectors)
    names += meta_token_names("document", document_vectors)
    vocabulary = tokenizer.get_vocab()
    new = [name for name in names if name not in vocabulary]
    if new:
        tokenizer.add_tokens(new, special_tokens=True)
        _make_room(model, max(tokenizer.get_vocab().values()) + 1)
        _initialise_rows(model, [tokenizer.get_vocab()[name] for name in new], seed)
    return new


def _make_room(model: Any, rows_needed: int) -> None:
    """Grow the embedding; Qwen pads its vocabulary, so that nothing may be left to do."""
    config = model.config.get_text_config()
    rows = model.get_input_embeddings().num_embeddings
    if rows >= rows_needed:
        return
    # Mllama keeps 8 rows more than vocab_size: the same surplus must be there after reloading.
    surplus = rows - config.vocab_size
    model.resize_token_embeddings(rows_needed, mean_resizing=False)
    config.vocab_size = model.get_input_embeddings().num_embeddings - surplus


@torch.no_grad()
def _initialise_rows(model: Any, ids: list[int], seed: int) -> None:
    weight = model.get_input_embeddings().weight
    known = torch.ones(len(weight), dtype=torch.bool)
    known[ids] = False
    rows = weight[known].float()
    noise = torch.randn(len(ids), rows.shape[1], generator=torch.Generator().manual_seed(seed))
    fresh = rows.mean(0) + 0.1 * rows.std(0) * noise  # (new tokens, D)
    weight[ids] = fresh.to(weight.dtype)


class MetaTokens(Module):
    """Keep the hidden states at the Meta Token positions, in order.

    Reads ``token_embeddings`` (batch, length, D) and ``meta_positions`` (batch, r) and writes
    ``token_embeddings`` (batch, r, D) in float32, so that the unit vectors made next are exact to
    fp32 also on a bf16 backbone; ``attention_mask`` becomes all ones (batch, r), because every
    Meta Token takes part in MaxSim.
    """

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Select (batch, r, D) of (batch, length, D)."""
        hidden: Tensor = features["token_embeddings"]
        positions: Tensor = features["meta_positions"]
        index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])  # (batch, r, D)
        features["token_embeddings"] = hidden.gather(1, index).float()
        features["attention_mask"] = torch.ones_like(positions)
        return features

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write the (empty) configuration."""
        self.save_config(output_path)
