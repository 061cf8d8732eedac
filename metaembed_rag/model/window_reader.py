"""The attention layer of a readout: Meta Tokens ask, the text's tokens answer.

:mod:`metaembed_rag.model.readout` has the formulas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaembed_rag.model.readout_config import ReadoutConfig

_STEEPNESS = 0.7
"""A window's logit at its edge is -0.7, a window's width further away -57."""
_WIDEST = 4.0
"""Half width of the window that covers everything: logits of at least -0.0002."""
_KEY_SIZE = 64
_GAIN = 10.0
"""Scalars are stored divided by this, so that a step of the optimiser moves them visibly."""


class Reader(nn.Module):
    """The attention layer: Meta Tokens ask, the text's tokens answer."""

    def __init__(self, config: ReadoutConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self._queries = sum(config.query_blocks)
        self._windows = [*windows(config.query_blocks), *windows(config.document_blocks)]
        self.lexical = nn.Linear(size, size, bias=False)
        self.output = nn.Linear(size + config.word_size, size, bias=False)
        self.query = nn.Linear(size, _KEY_SIZE, bias=False)
        self.key = nn.Linear(size, _KEY_SIZE, bias=False)
        self.weight = nn.Linear(size, 1, bias=False)
        self.token_weight = nn.Embedding(config.first_meta_token, 1)
        self.share = config.word_share
        self.words: WordVectors | None = None
        if config.word_size:
            self.words = WordVectors(config.first_meta_token, config.word_size)

    @torch.no_grad()
    def start(self, seed: int = 0) -> None:
        """Make it read plain windows of the backbone's states."""
        for zero in (self.lexical, self.key, self.weight, self.token_weight):
            zero.weight.zero_()
        generator = torch.Generator().manual_seed(seed)
        self.query.weight.normal_(std=0.5, generator=generator)
        self.output.weight.copy_(torch.eye(*self.output.weight.shape))

    def tokens(self, states: Tensor, rows: Tensor) -> Tensor:
        """What is read of each token: its state and something of the word itself."""
        found: Tensor = states + self.lexical(rows)
        return found

    def word_vectors(self, ids: Tensor) -> Tensor | None:
        """Vectors of the words themselves (batch, longest, word size); None if they have none."""
        found: Tensor | None = None if self.words is None else self.words(self._known(ids))
        return found

    def turn(self, meanings: Tensor, words: Tensor | None, rarity: Tensor | float = 1.0) -> Tensor:
        """Meanings and words as one vector, on axes of which the first few work alone.

        Args:
            meanings: (…, D).
            words: (…, word size), or None where words have no vectors.
            rarity: What the words' part is multiplied by.
        """
        if words is not None:
            meanings = math.sqrt(1 - self.share) * F.normalize(meanings, dim=-1)
            words = math.sqrt(self.share) * rarity * F.normalize(words.float(), dim=-1)
            meanings = torch.cat([meanings, words.to(meanings.dtype)], -1)
        turned: Tensor = self.output(meanings)
        return turned

    def _known(self, ids: Tensor) -> Tensor:
        """Ids of words; Meta Tokens, which may stand behind a shorter text, become the last one."""
        return ids.clamp(max=self.token_weight.num_embeddings - 1)

    def forward(
        self, tokens: Tensor, ids: Tensor, lengths: Tensor, meta: Tensor, numbers: Tensor
    ) -> Tensor:
        """What the Meta Tokens read.

        Args:
            tokens: (batch, longest, D): the text's tokens.
            ids: int64 (batch, longest): what they are.
            lengths: int64 (batch,): of the texts.
            meta: (batch, r, D): rows of the Meta Tokens.
            numbers: int64 (batch, r): which ones they are, counted from the queries' first.

        Returns:
            (batch, r, D), not of length 1.
        """
        weight = _GAIN * self.token_weight(self._known(ids))[..., 0] + self.weight(tokens)[..., 0]
        asked = self.query(meta) @ self.key(tokens).transpose(1, 2)  # (batch, r, longest)
        logits = asked.float() / math.sqrt(_KEY_SIZE) + weight.float()[:, None]
        place = torch.arange(tokens.shape[1], device=tokens.device)
        near = -self._distance(lengths, tokens.shape[1], numbers)
        near = near.masked_fill((place >= lengths[:, None])[:, None], -torch.inf)
        meanings = (logits + near).softmax(-1).to(tokens.dtype) @ tokens
        words = self.word_vectors(ids)
        if words is None:
            return self.turn(meanings, None)
        words = near.softmax(-1).to(words.dtype) @ words  # their lengths are their weights
        asks = numbers[:, :1, None] < self._queries
        rarity = torch.where(asks, words[:, :1].norm(dim=-1, keepdim=True), 1.0)  # (batch, 1, 1)
        return self.turn(meanings, words, rarity)

    def _distance(self, lengths: Tensor, longest: int, numbers: Tensor) -> Tensor:
        """What a token's place takes from its logit, float32 (batch, r, longest)."""
        asked = torch.tensor(self._windows, device=lengths.device)[numbers]  # (batch, r, 2)
        centre, half = asked[..., :1], asked[..., 1:]
        least = 0.5 / lengths[:, None, None]  # half of a token
        place = (torch.arange(longest, device=lengths.device) + 0.5) / lengths[:, None]
        away = (place[:, None] - centre) / torch.maximum(half, least)
        return _STEEPNESS * away.clamp(-30, 30) ** 4


class WordVectors(nn.Module):
    """A vector of each word piece, whose length is its weight: int8 values and a scale a piece.

    They are learnt apart from the rest, as bags of words (:meth:`set`), and stay as they are.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, vocabulary: int, size: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(vocabulary, size, dtype=torch.int8))
        self.register_buffer("scales", torch.zeros(vocabulary))

    @torch.no_grad()
    def set(self, vectors: Tensor) -> None:
        """Take vectors, float32 (vocabulary, size), rounded to 255 steps each."""
        scales = vectors.abs().amax(1) / 127
        self.scales.copy_(scales)
        self.codes.copy_((vectors / scales.clamp(min=1e-12)[:, None]).round())

    def forward(self, ids: Tensor) -> Tensor:
        """Of word pieces int64 (…), float32 (…, size)."""
        vectors: Tensor = self.codes[ids].float() * self.scales[ids][..., None].float()
        return vectors


def windows(blocks: list[int] | tuple[int, ...]) -> list[tuple[float, float]]:
    """Centre and half width, both as shares of the text, of each Meta Token of a side.

    A block of k windows covers the text. Its windows are put into an order in which any first few
    of them lie far apart (van der Corput's sequence), so that every prefix covers what it can.
    """
    found: list[tuple[float, float]] = []
    for count in blocks:
        half = 0.5 / count if count > 1 else _WIDEST
        order = sorted(range(count), key=lambda i: _reversed_bits(i, count))
        found += [((i + 0.5) / count, half) for i in order]
    return found


def _reversed_bits(number: int, count: int) -> float:
    """The radical inverse in base 2 of a window's number, counted from the middle."""
    bits = max(1, (count - 1).bit_length())
    found: float = sum((number >> i & 1) / 2 ** (i + 1) for i in range(bits))
    return found
