"""A tiny randomly initialised BERT with a tokenizer, and a readout on it."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from tests.support.tiny_backbones import tokenizer


def bert(folder: Path) -> Path:
    """Write a BERT of two layers and 64 values, which reads 256 positions."""
    roles = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    names = {f"{role}_token": token for role, token in roles.items()}
    tok = tokenizer(list(roles.values()), frame=True, **names)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tok), hidden_size=64, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=256, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder
