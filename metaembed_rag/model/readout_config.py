"""Configuration of a readout: which BERT, which windows, and how much of the words themselves."""

from __future__ import annotations

from typing import Any

from transformers import BertConfig, PreTrainedConfig

from metaembed_rag.errors import CheckpointError

MODEL_TYPE = "metaembed_readout"
QUERY_BLOCKS = (1, 1, 2, 4, 8)
DOCUMENT_BLOCKS = (1, 3, 4, 8, 48)
"""Windows of each block; a block covers the text, and blocks end where the budgets do."""


class ReadoutConfig(PreTrainedConfig):
    """Configuration of :class:`ReadoutModel`.

    Args:
        text: Configuration of the BERT that reads the text, as a dictionary.
        window: Tokens of text that it reads at a time, without ``[CLS]`` and ``[SEP]``.
        query_blocks: Windows of each block of the query side's Meta Tokens.
        document_blocks: The same of the candidate side.
        first_meta_token: Id of the first Meta Token: those of queries, then those of candidates.
        word_size: Values of a word's own vector; 0: words have none.
        word_share: Share of the words in a score, from 0 to 1 (``a`` above).

    Raises:
        CheckpointError: ``word_share`` is outside of 0 to 1, or ``word_size`` below 0.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        text: dict[str, Any] | None = None,
        window: int = 254,
        query_blocks: tuple[int, ...] = QUERY_BLOCKS,
        document_blocks: tuple[int, ...] = DOCUMENT_BLOCKS,
        first_meta_token: int = 0,
        vocab_size: int | None = None,
        word_size: int = 0,
        word_share: float = 0.0,
        **keywords: Any,
    ) -> None:
        if word_size < 0 or not 0 <= word_share <= 1:
            raise CheckpointError(
                f"word_size must be 0 or more and word_share from 0 to 1, not {word_size} and "
                f"{word_share}; they stand in the checkpoint's config.json"
            )
        self.word_size, self.word_share = word_size, word_share
        self.text = dict(text or {})
        plain = BertConfig(**self.text)
        self.window = window
        self.query_blocks, self.document_blocks = list(query_blocks), list(document_blocks)
        self.vocab_size = vocab_size or plain.vocab_size
        self.first_meta_token = first_meta_token or plain.vocab_size
        self.hidden_size = plain.hidden_size
        super().__init__(**keywords)
