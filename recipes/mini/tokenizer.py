"""The small checkpoint's tokenizer: lowercased byte-level BPE with the Meta Tokens inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

QUERY_VECTORS = 16
DOCUMENT_VECTORS = 64
PAD, UNK, CLS, SEP, MASK = range(5)
"""Ids of the ordinary special tokens."""

QUERY_IDS = tuple(range(5, 5 + QUERY_VECTORS))
DOCUMENT_IDS = tuple(range(5 + QUERY_VECTORS, 5 + QUERY_VECTORS + DOCUMENT_VECTORS))
"""Ids of the Meta Tokens: they follow the ordinary special tokens."""

FIRST_TEXT_ID = 5 + QUERY_VECTORS + DOCUMENT_VECTORS
_HYPHENATION = ("\u0002", "\u00ad", "\ufffe")
"""What PDF text layers hold where a word was broken at a line's end."""

SPECIAL_TOKENS = (
    "<|pad|>",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *(f"<|meta_query_{i}|>" for i in range(QUERY_VECTORS)),
    *(f"<|meta_document_{i}|>" for i in range(DOCUMENT_VECTORS)),
)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE tokenizer trained on ``texts``; ids below 85 are special tokens.

    Numbers are split from letters, letters are lowercased and Unicode is composed (NFKC), so no
    input is unknown and ``[UNK]`` only stands for an empty text. White space of any kind and length
    is one space, as in the training texts: a line end would be a token that training never saw.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            *(normalizers.Replace(mark, "") for mark in _HYPHENATION),
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.ByteLevel(add_prefix_space=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=3,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """The ``tokenizer.json`` of ``folder``."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids of each text without special tokens: uint16 arrays ``(tokens,)``, maybe empty."""
    encoded: list[np.ndarray] = []
    for start in range(0, len(texts), 4096):  # bounds memory: an Encoding is large
        batch = tokenizer.encode_batch_fast(
            list(texts[start : start + 4096]), add_special_tokens=False
        )
        encoded += [np.asarray(one.ids, dtype=np.uint16) for one in batch]
    return encoded


def starts_word(tokenizer: Tokenizer) -> np.ndarray:
    """bool ``(vocabulary,)``: whether a token begins a word (byte-level BPE marks it with Ġ)."""
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    return np.array([token is not None and token.startswith("Ġ") for token in tokens])


def save_pretrained_tokenizer(tokenizer: Tokenizer, folder: Path, *, max_length: int) -> None:
    """Write ``tokenizer`` for ``AutoTokenizer``: ``[CLS] text [SEP]``, Meta Tokens special."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        additional_special_tokens=list(SPECIAL_TOKENS[5:]),
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
