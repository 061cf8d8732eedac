"""What a batch of pairs is trained for: Meta Tokens, and the baselines that they are compared with.

All of them take the same batches, the same backbone and InfoNCE with in-batch negatives; they
differ in which vectors a text becomes, and so in the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metaembed_rag.training.collapse import evenness_penalty
from metaembed_rag.training.mmr import MMRLoss, MMRSettings, mmr_loss
from recipes.mini.tokenizer import FIRST_TEXT_ID, UNK

from .batches import TokenPairs
from .forward import Tokens, meta_vectors, pad, token_states
from .settings import TrainSettings
from .teacher import TokenTeacher

if TYPE_CHECKING:
    from transformers import ModernBertModel


class Objective(Protocol):
    """The loss of one batch; ``max_tokens`` cuts the documents."""

    def __call__(
        self, model: ModernBertModel, batch: TokenPairs, max_tokens: int, settings: TrainSettings
    ) -> MMRLoss:
        """Total and each group's cross-entropy."""
        ...


@dataclass(frozen=True)
class MetaTokenLoss:
    """MMR over the budgets in ``settings.mmr``.

    Args:
        teacher: Also draw the scores to this teacher's, by ``settings.teacher_weight``.
        evenness: Weight of :func:`~metaembed_rag.training.collapse.evenness_penalty`.
        diversity: Weight of :func:`diversity_penalty`.
        dimensions: Prefixes of the vectors' dimensions that are trained together, each by its own
            MMR loss on the renormalised prefix, averaged; empty trains all dimensions only.
        causal: A Meta Token does not see the later ones.
    """

    teacher: TokenTeacher | None = None
    evenness: float = 0.0
    diversity: float = 0.0
    dimensions: tuple[int, ...] = ()
    causal: bool = False

    def __call__(
        self, model: ModernBertModel, batch: TokenPairs, max_tokens: int, settings: TrainSettings
    ) -> MMRLoss:
        """MMR loss of a batch."""
        read = _filled(batch.queries)
        asked = self._vectors(model, read, settings.query_tokens, query=True)
        answered = self._vectors(model, batch.texts, max_tokens, query=False)
        aim = self._aim(read, batch.texts, settings)
        losses = [
            mmr_loss(
                F.normalize(asked[..., :size], dim=-1),
                F.normalize(answered[..., :size], dim=-1),
                settings.mmr,
                teacher=aim,
                teacher_weight=settings.teacher_weight,
            )
            for size in self.dimensions or (asked.shape[-1],)
        ]
        total = torch.stack([loss.total for loss in losses]).mean()
        if self.evenness:
            total = total + self.evenness * evenness_penalty(asked, answered[: len(asked)])
        if self.diversity:
            total = total + self.diversity * diversity_penalty(answered)
        return MMRLoss(total, losses[0].groups)

    def _vectors(
        self, model: ModernBertModel, texts: Sequence[np.ndarray], limit: int, *, query: bool
    ) -> Tensor:
        tokens = pad(texts, query=query, max_tokens=limit).to(model.device)
        return meta_vectors(model, tokens, causal=self.causal)

    def _aim(
        self, queries: Sequence[np.ndarray], texts: Sequence[np.ndarray], settings: TrainSettings
    ) -> Tensor | None:
        if self.teacher is None or not settings.teacher_weight:
            return None
        scores = self.teacher.scores([q[: settings.query_tokens] for q in queries], texts)
        return (scores / settings.teacher_temperature).log_softmax(1)


def diversity_penalty(documents: Tensor) -> Tensor:
    """Mean squared cosine of two vectors of one input, slots centred; a scalar in [0, 1]."""
    centred = F.normalize(documents - documents.mean(0), dim=-1)
    cosines = centred @ centred.transpose(1, 2)  # (n, R_c, R_c)
    apart = ~torch.eye(documents.shape[1], dtype=torch.bool, device=documents.device)
    return cosines[:, apart].square().mean()


@dataclass(frozen=True)
class MeanVectorLoss:
    """One vector a text: the mean of its tokens' last hidden states."""

    def __call__(
        self, model: ModernBertModel, batch: TokenPairs, max_tokens: int, settings: TrainSettings
    ) -> MMRLoss:
        """InfoNCE of a batch."""
        asked, answered = (
            mean_vectors(model, plain(texts, limit).to(model.device))
            for texts, limit in ((batch.queries, settings.query_tokens), (batch.texts, max_tokens))
        )
        return mmr_loss(asked, answered, one_group((1, 1), settings.mmr.temperatures[0]))


@dataclass(frozen=True)
class TokenLoss:
    """Late interaction over all tokens (ColBERT, arXiv 2004.12832), mean over the query's."""

    def __call__(
        self, model: ModernBertModel, batch: TokenPairs, max_tokens: int, settings: TrainSettings
    ) -> MMRLoss:
        """InfoNCE of a batch."""
        read = plain(batch.queries, settings.query_tokens).to(model.device)
        asked, own = token_vectors(model, read)
        answered, _ = token_vectors(model, plain(batch.texts, max_tokens).to(model.device))
        # mmr_loss divides by all rows; a query has fewer tokens than the longest one.
        share = own / own.float().mean(1, keepdim=True)  # (batch, length), 0 at padding
        group = (asked.shape[1], answered.shape[1])
        settings_of_group = one_group(group, settings.mmr.temperatures[-1])
        return mmr_loss(asked * share[..., None], answered, settings_of_group)


def one_group(group: tuple[int, int], temperature: float) -> MMRSettings:
    """Plain InfoNCE: a single budget, the mean score."""
    return MMRSettings((group,), (1.0,), (temperature,), "mean", (1.0,))


def mean_vectors(model: ModernBertModel, tokens: Tokens) -> Tensor:
    """Unit mean of the text tokens' states, float32 ``(batch, 1, hidden)``."""
    states, read = token_states(model, tokens), _is_text(tokens)
    return F.normalize((states * read[..., None]).sum(1, keepdim=True), dim=-1)


def token_vectors(model: ModernBertModel, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Unit vectors of the text tokens, float32 ``(batch, length, hidden)``, and which rows are one.

    Other rows repeat the first text token, which changes no maximum over a document; a sum over a
    query's rows has to leave them out.
    """
    unit, read = F.normalize(token_states(model, tokens), dim=-1), _is_text(tokens)
    first = unit.gather(1, read.int().argmax(1)[:, None, None].expand(-1, 1, unit.shape[-1]))
    return torch.where(read[..., None], unit, first), read


def _is_text(tokens: Tokens) -> Tensor:
    return tokens.mask & ((tokens.ids >= FIRST_TEXT_ID) | (tokens.ids == UNK))


def plain(texts: Sequence[np.ndarray], max_tokens: int) -> Tokens:
    """``[CLS] text [SEP]`` of each text, without Meta Tokens."""
    return pad(_filled(texts), query=False, max_tokens=max_tokens, meta_tokens=False)


def _filled(texts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """An empty text is read as one unknown token."""
    return [text if len(text) else np.array([UNK], np.uint16) for text in texts]
