"""all-MiniLM-L6-v2 with Meta Tokens that read windows of the page: the start of training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from metaembed_rag.model import MetaEmbedEncoder

QUERY_TOKENS = 126
DOCUMENT_TOKENS = 1016
"""Four windows of 254 tokens: whole pages of prose."""
DIMENSIONS = (64, 128)


def start(plain: Path, folder: Path) -> None:
    """Write the checkpoint that training starts from.

    Args:
        plain: A folder with the sentence encoder.
        folder: Where to write.
    """
    from transformers import AutoTokenizer, BertModel

    from metaembed_rag.model.readout import ReadoutConfig, ReadoutModel

    bert = BertModel.from_pretrained(plain, add_pooling_layer=False)
    config = ReadoutConfig(bert.config.to_diff_dict())
    model = ReadoutModel(config)
    model.text.load_state_dict(bert.state_dict())
    model.reader.start()
    with tempfile.TemporaryDirectory() as part:
        model.save_pretrained(part)
        tokenizer = AutoTokenizer.from_pretrained(plain)
        tokenizer.model_max_length = 4096
        tokenizer.save_pretrained(part)
        encoder = MetaEmbedEncoder.from_backbone(
            part,
            sum(config.query_blocks),
            sum(config.document_blocks),
            device="cpu",
            max_query_tokens=QUERY_TOKENS,
            max_document_tokens=DOCUMENT_TOKENS,
            dimensions=DIMENSIONS,
        )
        encoder.save_pretrained(folder)
