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

What a sentence encoder means by a page is not which words stand on it: two rare names are near each
other, and far from the page's sense. So a word may have a second, short vector v_t of its own,
whose length is its weight; the words of a window are added up beside their meaning, and a product
of two vectors grows with both their cosines::

    l_jt = -0.7 ((p_t - c_j) / b_j)^4
    z_j = sum_t softmax_t(l_jt) v_t
    y_j = W [sqrt(1 - a) unit(sum_t softmax_t(s_jt) x_t), r sqrt(a) unit(z_j)]

For pages r is 1. For a query it is the length of z_1, the mean of all its words: rare words, of
which titles and names are made, weigh more than those that questions are asked in.

A text that is longer than the backbone's window is read in parts of equal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.readout_config import MODEL_TYPE, ReadoutConfig
from metaembed_rag.model.window_reader import Reader

_READ_AT_ONCE = 16
"""Texts that a frozen BERT reads at a time, sorted by length as they come."""
_PARTS_AT_ONCE = 8
"""Parts that BERT reads at a time on a CPU, sorted by length, so that they stay in its cache."""


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

    @torch.no_grad()
    def give_words(self, vectors: Tensor, share: float) -> None:
        """Read words by vectors of their own beside their meaning.

        What the last layer makes of meanings stays; of the words it takes nothing yet: the columns
        ``output.weight[:, D:]`` are zero, and somebody who knows the axes writes them.

        Args:
            vectors: float32 (vocabulary, word size), without Meta Tokens; a row's length is its
                word's weight.
            share: Of the words in a score, from 0 to 1.

        Raises:
            CheckpointError: They have vectors already.
            ValueError: There are more or fewer rows than word pieces.
        """
        if self.config.word_size:
            raise CheckpointError("words of this readout have vectors of their own already")
        if len(vectors) != self.config.first_meta_token:
            raise ValueError(f"{self.config.first_meta_token} rows, not {len(vectors)}")
        self.config.word_size, self.config.word_share = vectors.shape[1], share
        before, self.reader = self.reader, Reader(self.config).to(self.device)
        kept = before.state_dict()
        blank = kept["output.weight"].new_zeros(self.config.hidden_size, vectors.shape[1])
        kept["output.weight"] = torch.cat([kept["output.weight"], blank], 1)
        self.reader.load_state_dict(kept, strict=False)
        assert self.reader.words is not None
        self.reader.words.set(vectors)

    def share_words(self, share: float) -> None:
        """Change the share of the words in a score, from 0 to 1."""
        self.config.word_share = self.reader.share = share

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
        turned = self.reader.turn(tokens, self.reader.word_vectors(ids))
        whole[:, 1 : 1 + tokens.shape[1]] = turned.to(whole.dtype)
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


AutoConfig.register(MODEL_TYPE, ReadoutConfig)
AutoModel.register(ReadoutConfig, ReadoutModel)
