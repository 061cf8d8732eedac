"""The loss of a batch: MMR on whatever the batch holds, at once or by gradient caching.

Gradient caching (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup, RepL4NLP 2021): vectors of all chunks without gradients, the loss on all of them, and then
each chunk again with the gradient that the loss has at its vectors. Exact, for one more forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import RandContext
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn
from torch.nn import functional as F

from metaembed_rag.training.collapse import Collapse, collapse_at, evenness_penalty
from metaembed_rag.training.collate import Batch, Chunk
from metaembed_rag.training.mmr import (
    HardNegatives,
    MMRLoss,
    MMRSettings,
    mmr_loss,
    page_to_query_loss,
)
from metaembed_rag.training.sharing import gather

_TEACHER_TEMPERATURE = 0.05
"""Of the teacher's softmax over mean scores in [-1, 1]."""


_Embedded = tuple[Tensor, list[Tensor]]
"""Unit vectors (rows, r, D) float32, and for a teacher the states (tokens, D) of each row."""


class MMRObjective(nn.Module):
    """The loss module that the trainer calls.

    Args:
        model: The ``MultiVectorEncoder``: backbone, Meta Tokens, normalisation.
        settings: Groups, weights, temperatures.
        cached: Compute the batch chunk by chunk (GradCache).
        dimensions: Lengths of vector prefixes that are trained together, averaged (Kusupati et
            al., Matryoshka Representation Learning, NeurIPS 2022); empty trains whole vectors.
        both_directions: Average with the loss of pages that look for their queries.
        evenness: Weight of the penalty for few winners, at the largest group.
        distill: Weight of the backbone's own full-token late interaction as a teacher.
        autocast: Makes the context of the forward pass, for mixed precision.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: MMRSettings,
        *,
        cached: bool = False,
        dimensions: Sequence[int] = (),
        both_directions: bool = False,
        evenness: float = 0.0,
        distill: float = 0.0,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        super().__init__()
        self.model, self.settings, self.cached = model, settings, cached
        self.dimensions = sorted(dimensions, reverse=True)
        self.both_directions, self.evenness, self.distill = both_directions, evenness, distill
        self.autocast = autocast
        self._seen: list[Tensor] = []
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, batch: Batch) -> Tensor:
        """A scalar with a gradient; over several devices its sum is the mean over all queries."""
        return self._cached(batch) if self.cached else self._plain(batch)

    def take_numbers(self) -> Tensor:
        """Sums since the last call, float32 (2 + groups,): queries, loss, loss of each group."""
        count = 2 + len(self.settings.groups)
        found = torch.stack(self._seen).sum(0) if self._seen else torch.zeros(count)
        self._seen.clear()
        return found

    def collapse(self) -> dict[str, Collapse]:
        """How alike the vectors of the last batch are, at each budget."""
        if self._last is None or len(self._last[0]) < 2:
            return {}
        return collapse_at(*self._last, self.settings.groups)

    def _plain(self, batch: Batch) -> Tensor:
        queries, documents = (
            _in_order([self._embed(chunk) for chunk in chunks], chunks)
            for chunks in (batch.queries, batch.documents)
        )
        return self._score(queries, documents, batch)

    def _cached(self, batch: Batch) -> Tensor:
        chunks = [*batch.queries, *batch.documents]
        states: list[RandContext] = []
        parts: list[_Embedded] = []
        where = next(self.model.parameters())  # chunks are still on the CPU; dropout draws here
        with torch.no_grad():
            for chunk in chunks:
                states.append(RandContext(where))
                parts.append(self._embed(chunk))
        split = len(batch.queries)
        queries = _in_order(parts[:split], batch.queries)
        documents = _in_order(parts[split:], batch.documents)
        leaves = [vectors.requires_grad_() for vectors, _ in (queries, documents)]
        loss = self._score(queries, documents, batch)
        loss.backward()
        gradients = [leaves[i >= split].grad[chunk.rows] for i, chunk in enumerate(chunks)]  # type: ignore[index]
        result = loss.detach().requires_grad_()
        result.register_hook(lambda scale: self._again(chunks, states, gradients, scale))
        return result

    def _again(
        self,
        chunks: Sequence[Chunk],
        states: Sequence[RandContext],
        gradients: Sequence[Tensor],
        scale: Tensor,
    ) -> None:
        """The second pass: same dropout, now with the gradient that the loss has at the vectors."""
        for chunk, state, gradient in zip(chunks, states, gradients, strict=True):
            with state, torch.enable_grad():
                vectors, _ = self._embed(chunk)
            vectors.backward(gradient * scale)

    def _embed(self, chunk: Chunk) -> _Embedded:
        features = batch_to_device(dict(chunk.features), next(self.model.parameters()).device)
        tokens: list[Tensor] = []
        with self.autocast():
            for module in self.model.children():
                features = module(features)
                if self.distill and not tokens:  # the backbone's, before Meta Tokens are taken
                    tokens = _token_states(features)
        return features["token_embeddings"].float(), tokens

    def _score(self, asked: _Embedded, read: _Embedded, batch: Batch) -> Tensor:
        queries, documents = asked[0], read[0]
        own = documents[: batch.size]
        teacher = None
        if self.distill:
            scores = token_scores(asked[1], read[1][: batch.size]).to(queries.device)
            teacher = (scores / _TEACHER_TEMPERATURE).log_softmax(1)  # (n, n)
        losses = [
            self._mmr(_first(queries, size), _first(documents, size), batch, teacher)
            for size in self.dimensions or (queries.shape[-1],)
        ]
        total = torch.stack([loss.total for loss in losses]).mean()
        r_q, r_c = max(self.settings.groups)
        if self.evenness and r_c > 1:
            total = total + self.evenness * evenness_penalty(queries[:, :r_q], own[:, :r_c])
        numbers = torch.stack([torch.ones_like(total), total, *losses[0].groups]).detach()
        self._seen.append(numbers * batch.size)
        self._last = queries.detach(), own.detach()
        return total * (batch.size / batch.whole)

    def _mmr(
        self, queries: Tensor, documents: Tensor, batch: Batch, teacher: Tensor | None
    ) -> MMRLoss:
        own = documents[: batch.size]
        negatives = HardNegatives(documents[batch.size :], batch.owners.to(queries.device))
        found = mmr_loss(
            queries,
            gather(own),
            self.settings,
            teacher=teacher,
            teacher_weight=self.distill,
            negatives=negatives,
            first=batch.first,
        )
        if not self.both_directions:
            return found
        back = page_to_query_loss(gather(queries), own, self.settings, first=batch.first)
        return MMRLoss((found.total + back) / 2, found.groups)


@torch.no_grad()
def token_scores(queries: Sequence[Tensor], pages: Sequence[Tensor]) -> Tensor:
    """Full-token late interaction: mean over a query's tokens of their best page token.

    Args:
        queries: Unit vectors (tokens, D) of each query.
        pages: The same for each page.

    Returns:
        (queries, pages), in [-1, 1].
    """
    flat = torch.cat(list(queries))  # (all tokens, D)
    best = torch.stack([(flat @ page.T).amax(1) for page in pages], dim=1)  # (all tokens, pages)
    lengths = [len(query) for query in queries]
    return torch.stack([part.mean(0) for part in best.split(lengths)])


@torch.no_grad()
def _token_states(features: dict[str, Any]) -> list[Tensor]:
    """Unit vectors (tokens, D) of each input's own tokens, without Meta Tokens and padding."""
    mask = features["attention_mask"].bool().scatter(1, features["meta_positions"], False)
    states = F.normalize(features["token_embeddings"].float(), dim=-1)
    return [row[kept] for row, kept in zip(states, mask, strict=True)]


def _first(vectors: Tensor, size: int) -> Tensor:
    """The first ``size`` values of each vector, of length 1 again."""
    whole = size == vectors.shape[-1]
    return vectors if whole else F.normalize(vectors[..., :size], dim=-1)


def _in_order(parts: Sequence[_Embedded], chunks: Sequence[Chunk]) -> _Embedded:
    """Rows of all chunks in the batch's order."""
    rows = torch.tensor([row for chunk in chunks for row in chunk.rows]).argsort()
    tokens = [states for _, some in parts for states in some]
    vectors = torch.cat([vectors for vectors, _ in parts])
    return vectors[rows.to(vectors.device)], [tokens[row] for row in rows.tolist() if tokens]
