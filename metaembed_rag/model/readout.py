"""A text backbone whose Meta Tokens read windows of the page: one attention layer after the last.

A sentence encoder such as MiniLM has learnt what words mean, and Meta Tokens put into its input
would disturb that before they are of any use. Here they take part after the backbone's last layer
only: each attends to the states of the text's tokens, and what it attends to at first is a window
of the text - the whole of it, its thirds, quarters, eighths, forty-eighths - so that the vectors
are ordered from coarse to fine, and every prefix of them covers the page, before any training
(means over windows of a sentence encoder's states are what mean pooling makes of its parts).
Training moves what a token weighs, for all and for each Meta Token, and what of a word itself (its
row in the vocabulary) is carried beside its meaning; the windows stay where they are.

With h_t the last hidden state of token t, e_t its row in the vocabulary, p_t its place in the text
from 0 to 1, and m_j the row of Meta Token j with centre c_j and half width b_j::

    x_t = h_t + A e_t
    s_jt = g_t + (Q m_j) · (K x_t) - 0.7 ((p_t - c_j) / b_j)^4
    y_j = W sum_t softmax_t(s_jt) x_t

A text that is longer than the backbone's window is read in parts of equal length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput

from metaembed_rag.errors import CheckpointError

MODEL_TYPE = "metaembed_readout"
QUERY_BLOCKS = (1, 1, 2, 4, 8)
DOCUMENT_BLOCKS = (1, 3, 4, 8, 48)
"""Windows of each block; a block covers the text, and blocks end where the budgets do."""

_STEEPNESS = 0.7
"""A window's logit at its edge is -0.7, a window's width further away -57."""
_WIDEST = 4.0
"""Half width of the window that covers everything: logits of at least -0.0002."""
_KEY_SIZE = 64
_READ_AT_ONCE = 16
"""Texts that a frozen BERT reads at a time, sorted by length as they come."""
_PARTS_AT_ONCE = 8
"""Parts that BERT reads at a time on a CPU, sorted by length, so that they stay in its cache."""
_GAIN = 10.0
"""Scalars are stored divided by this, so that a step of the optimiser moves them visibly."""


class ReadoutConfig(PreTrainedConfig):
    """Configuration of :class:`ReadoutModel`.

    Args:
        text: Configuration of the BERT that reads the text, as a dictionary.
        window: Tokens of text that it reads at a time, without ``[CLS]`` and ``[SEP]``.
        query_blocks: Windows of each block of the query side's Meta Tokens.
        document_blocks: The same of the candidate side.
        first_meta_token: Id of the first Meta Token: those of queries, then those of candidates.
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
        **keywords: Any,
    ) -> None:
        self.text = dict(text or {})
        plain = BertConfig(**self.text)
        self.window = window
        self.query_blocks, self.document_blocks = list(query_blocks), list(document_blocks)
        self.vocab_size = vocab_size or plain.vocab_size
        self.first_meta_token = first_meta_token or plain.vocab_size
        self.hidden_size = plain.hidden_size
        super().__init__(**keywords)


class ReadoutModel(PreTrainedModel):
    """BERT, then one attention layer by which Meta Tokens read its states.

    Use it as a backbone: :meth:`metaembed_rag.MetaEmbedEncoder.from_backbone` gives it Meta Tokens.
    """

    config_class = ReadoutConfig
    config: ReadoutConfig
    base_model_prefix = "readout"
    float32_parts = ("reader.",)
    """Rounded to bfloat16 it would move vectors visibly; BERT in bfloat16 hardly does."""
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: ReadoutConfig) -> None:
        super().__init__(config)
        plain = BertConfig(**{**config.text, "vocab_size": config.vocab_size})
        plain._attn_implementation = config._attn_implementation
        self.text = BertModel(plain, add_pooling_layer=False)
        self.reader = Reader(config)
        self._remembered: dict[bytes, Tensor] | None = None
        self.post_init()  # type: ignore[no-untyped-call]

    def freeze_text(self) -> None:
        """Train the readout alone: BERT's weights stay, and what it says of a text is kept.

        States are kept in float16 in main memory, 768 bytes a token at 384 values.
        """
        self.text.requires_grad_(False)
        self._remembered = {}

    def check_meta_tokens(self, ids: Sequence[int]) -> None:
        """Refuse Meta Tokens whose windows are not the configuration's.

        Args:
            ids: Of the query side's Meta Tokens, then of the candidate side's.

        Raises:
            CheckpointError: They are more or fewer than windows, or do not follow each other from
                ``first_meta_token`` on.
        """
        queries, pages = sum(self.config.query_blocks), sum(self.config.document_blocks)
        first = self.config.first_meta_token
        if list(ids) != list(range(first, first + queries + pages)):
            raise CheckpointError(
                f"this readout has windows for {queries} query and {pages} page vectors, whose "
                f"Meta Tokens are the tokens from {first} on; make the encoder with r_q={queries} "
                f"and r_c={pages}, and with the tokenizer that belongs to it"
            )

    def get_input_embeddings(self) -> nn.Module:
        """The vocabulary, Meta Tokens included."""
        embeddings: nn.Module = self.text.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the vocabulary."""
        self.text.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        meta_positions: Tensor | None = None,
        return_dict: bool = True,
    ) -> BaseModelOutput:
        """States of text and Meta Tokens.

        Args:
            input_ids: int64 (batch, length): ``[CLS]`` text ``[SEP]`` Meta Tokens, then padding.
            attention_mask: (batch, length); not looked at: Meta Tokens end what is read.
            meta_positions: int64 (batch, r): where the Meta Tokens stand.
            return_dict: Always true.

        Returns:
            ``last_hidden_state`` (batch, length, D): at the Meta Tokens' positions what they read,
            at those of the text the token states that they read it from, zeros elsewhere.
        """
        if meta_positions is None:
            raise ValueError("a readout needs the positions of its Meta Tokens (meta_positions)")
        rows = torch.arange(len(input_ids), device=input_ids.device)[:, None]
        lengths = (meta_positions[:, 0] - 2).clamp(min=1)
        frozen = self._remembered is not None
        states = (self._recall if frozen else self._read)(input_ids, lengths)
        vocabulary = self.get_input_embeddings()
        ids = input_ids[:, 1 : 1 + states.shape[1]]
        tokens = self.reader.tokens(states.float(), vocabulary(ids).float())
        meta_ids = input_ids[rows, meta_positions]
        numbers = meta_ids - self.config.first_meta_token
        found = self.reader(tokens, ids, lengths, vocabulary(meta_ids).float(), numbers)
        whole = found.new_zeros(*input_ids.shape, found.shape[-1])
        whole[:, 1 : 1 + tokens.shape[1]] = self.reader.turn(tokens).to(whole.dtype)
        whole[rows, meta_positions] = found
        return BaseModelOutput(last_hidden_state=whole)

    @torch.no_grad()
    def _recall(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """As :meth:`_read`, of a frozen BERT: each text is read once."""
        assert self._remembered is not None
        self.text.eval()  # without dropout: what is kept stands for every later step
        ends = (1 + lengths).tolist()
        keys = [
            row[1:end].tobytes() for row, end in zip(input_ids.cpu().numpy(), ends, strict=True)
        ]
        new = [row for row, key in enumerate(keys) if key not in self._remembered]
        for some in torch.tensor(new).split(_READ_AT_ONCE) if new else ():
            rows = some.to(input_ids.device)
            found = self._read(input_ids[rows], lengths[rows]).half().cpu()
            for row, states in zip(some.tolist(), found, strict=True):
                self._remembered[keys[row]] = states[: ends[row] - 1].clone()
        whole = torch.zeros(len(keys), max(ends) - 1, self.config.hidden_size)
        for row, key in enumerate(keys):
            whole[row, : ends[row] - 1] = self._remembered[key]
        return whole.to(input_ids.device)

    def _read(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Last hidden states of the text (batch, longest, D), read in parts of equal length."""
        parts = divide(lengths, self.config.window)
        # Parts of one length together need no padding, and few of them stay in a CPU's cache.
        order = (parts.ends - parts.starts).argsort(descending=True, stable=True)
        at_once = _PARTS_AT_ONCE if input_ids.device.type == "cpu" else len(order)
        read = [
            self._read_parts(input_ids, lengths, Parts(*(one[some] for one in parts)))
            for some in order.split(at_once)
        ]
        rows, places, states = (torch.cat(some) for some in zip(*read, strict=True))
        whole = states.new_zeros(len(input_ids), int(lengths.max()), states.shape[-1])
        whole[rows, places] = states
        return whole

    def _read_parts(
        self, input_ids: Tensor, lengths: Tensor, parts: Parts
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of each token of these parts its text and place, int64 (tokens,), and state."""
        size = parts.ends - parts.starts
        place = torch.arange(int(size.max()), device=input_ids.device)
        inside = place < size[:, None]  # (parts, longest part)
        at = torch.where(inside, parts.starts[:, None] + place, 0)
        pad = self.text.config.pad_token_id or 0
        ids = input_ids.new_full((len(size), len(place) + 2), pad)
        ids[:, 0] = input_ids[parts.rows, 0]
        ids[:, 1:-1] = torch.where(inside, input_ids[parts.rows[:, None], 1 + at], pad)
        ids.scatter_(1, 1 + size[:, None], input_ids[parts.rows, lengths[parts.rows] + 1][:, None])
        mask = torch.arange(ids.shape[1], device=ids.device) < size[:, None] + 2
        padded = None if bool(inside.all()) else mask.long()
        states = self.text(input_ids=ids, attention_mask=padded).last_hidden_state
        owners = parts.rows[:, None].expand_as(inside)
        return owners[inside], at[inside], states[:, 1:-1][inside]


class Parts(NamedTuple):
    """Parts of texts, each int64 (parts,): the text, and the tokens from ``starts`` to ``ends``."""

    rows: Tensor
    starts: Tensor
    ends: Tensor


def divide(lengths: Tensor, window: int) -> Parts:
    """The parts of at most ``window`` tokens, as equal as can be, of texts of these lengths."""
    counts = (lengths + window - 1) // window
    rows = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), counts)
    number = torch.arange(len(rows), device=lengths.device) - (counts.cumsum(0) - counts)[rows]
    starts, ends = (lengths[rows] * at // counts[rows] for at in (number, number + 1))
    return Parts(rows, starts, ends)


class Reader(nn.Module):
    """The attention layer: Meta Tokens ask, the text's tokens answer."""

    def __init__(self, config: ReadoutConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self._windows = [*windows(config.query_blocks), *windows(config.document_blocks)]
        self.lexical = nn.Linear(size, size, bias=False)
        self.output = nn.Linear(size, size, bias=False)
        self.query = nn.Linear(size, _KEY_SIZE, bias=False)
        self.key = nn.Linear(size, _KEY_SIZE, bias=False)
        self.weight = nn.Linear(size, 1, bias=False)
        self.token_weight = nn.Embedding(config.first_meta_token, 1)

    @torch.no_grad()
    def start(self, seed: int = 0) -> None:
        """Make it read plain windows of the backbone's states."""
        for zero in (self.lexical, self.key, self.weight, self.token_weight):
            zero.weight.zero_()
        generator = torch.Generator().manual_seed(seed)
        self.query.weight.normal_(std=0.5, generator=generator)
        self.output.weight.copy_(torch.eye(len(self.output.weight)))

    def tokens(self, states: Tensor, rows: Tensor) -> Tensor:
        """What is read of each token: its state and something of the word itself."""
        found: Tensor = states + self.lexical(rows)
        return found

    def turn(self, vectors: Tensor) -> Tensor:
        """Onto the axes in which prefixes of a vector's values work alone."""
        turned: Tensor = self.output(vectors)
        return turned

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
        known = ids.clamp(max=self.token_weight.num_embeddings - 1)
        weight = _GAIN * self.token_weight(known)[..., 0] + self.weight(tokens)[..., 0]
        asked = self.query(meta) @ self.key(tokens).transpose(1, 2)  # (batch, r, longest)
        logits = asked.float() / math.sqrt(_KEY_SIZE) + weight.float()[:, None]
        logits = logits - self._distance(lengths, tokens.shape[1], numbers)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        outside = place >= lengths[:, None]
        attention = logits.masked_fill(outside[:, None], -torch.inf).softmax(-1)
        return self.turn(attention.to(tokens.dtype) @ tokens)

    def _distance(self, lengths: Tensor, longest: int, numbers: Tensor) -> Tensor:
        """What a token's place takes from its logit, float32 (batch, r, longest)."""
        asked = torch.tensor(self._windows, device=lengths.device)[numbers]  # (batch, r, 2)
        centre, half = asked[..., :1], asked[..., 1:]
        least = 0.5 / lengths[:, None, None]  # half of a token
        place = (torch.arange(longest, device=lengths.device) + 0.5) / lengths[:, None]
        away = (place[:, None] - centre) / torch.maximum(half, least)
        return _STEEPNESS * away.clamp(-30, 30) ** 4


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


AutoConfig.register(MODEL_TYPE, ReadoutConfig)
AutoModel.register(ReadoutConfig, ReadoutModel)
