"""The encoder at a budget, as mteb's ``EncoderProtocol``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import torch
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.types import PromptType
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from metaembed_rag.budget import BudgetLike
from metaembed_rag.evaluation.mteb.inputs import (
    encode_options,
    pages_of,
    queries_of,
    rows_of,
    warn_of_skipped,
)
from metaembed_rag.evaluation.mteb.meta import choose_budget, model_meta
from metaembed_rag.evaluation.reading import PageReader, chunks, encode_queries
from metaembed_rag.model.inputs import Mode
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Page
from metaembed_rag.pages.reading import Ocr
from metaembed_rag.progress import tqdm
from metaembed_rag.vectors.maxsim import maxsim_batch

_PAGES_SCORED = 256
"""Pages on the encoder's device at one time: 134 MB at 64 float32 vectors of 2,048."""


class MTEBEncoder:
    """An encoder at one budget, as mteb's ``EncoderProtocol``.

    Retrieval and reranking tasks get multi-vectors: the query side's first r_q, the candidate
    side's first r_c, scored by MaxSim. Tasks that compare or classify single vectors (mteb names
    no side there) get the first vector of the candidate side, the (1,1) representation.

    A page with nothing to read is reported in a warning and scores -r_q, the least there is.

    Args:
        encoder: The model.
        budget: Without one, that of ``METAEMBED_BUDGET``, or else all vectors that there are.
        mode: What of a page is encoded; see :func:`metaembed_rag.model.inputs.page_input`.
        ocr: When pictures are read by OCR: ``auto`` (True) where the model reads none, ``always``,
            ``never`` (False).
        cache_dir: Keep OCR texts in this folder.
        about: Fields of mteb's ``ModelMeta`` that only you know: ``license``, ``languages``,
            ``training_datasets``, ``release_date``, ``reference``, ... They replace ours.

    Attributes:
        mteb_model_meta: What mteb records. Its revision is the encoder's fingerprint; budget and
            mode are part of its identity, so that mteb never mixes kept results of two runs.

    Raises:
        BudgetError: The budget asks for more vectors than the model makes.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        budget: BudgetLike | None = None,
        mode: Mode = "fused",
        ocr: bool | Ocr = True,
        cache_dir: str | PathLike[str] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.encoder = encoder
        self.budget = choose_budget(budget, encoder)
        self._reader = partial(PageReader, encoder, mode=mode, ocr=ocr, cache_dir=cache_dir)
        choices = {"budget": str(self.budget), "mode": mode, "ocr": ocr}
        self.mteb_model_meta = model_meta(encoder, choices, about)

    def encode(
        self,
        inputs: DataLoader[Any],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Vectors of mteb's inputs, in their order.

        Returns:
            float32 unit vectors: (n, r_q, D) of queries, (n, r_c, D) of documents, (n, D) where
            ``prompt_type`` is None; all zeros where there was nothing to read.

        Raises:
            ModelError: A query is empty, or mteb asks for another ``precision``.
            ModalityError: The inputs hold neither text nor pictures.
        """
        batch_size, shown = encode_options(kwargs)
        task = task_metadata.name
        bar = tqdm(rows_of(inputs, task), desc=task, disable=not shown)
        if prompt_type == PromptType.query:
            asked = queries_of(bar, self.encoder)
            return encode_queries(self.encoder, asked, batch_size, self.budget.r_q)
        vectors = self._documents(pages_of(bar, task), task, batch_size)
        return vectors if prompt_type == PromptType.document else vectors[:, 0]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """MaxSim of all pairs; of single vectors the inner product.

        Args:
            embeddings1: (n, r_q, D) or (n, D), arrays or tensors.
            embeddings2: (m, r_c, D) or (m, D).

        Returns:
            Raw sums, float32 (n, m), on the CPU; computed on the encoder's device.
        """
        device = getattr(self.encoder, "device", None) or "cpu"
        queries = _as_multivectors(embeddings1).to(device)  # (n, r_q, D)
        pages = _as_multivectors(embeddings2)  # (m, r_c, D)
        blocks = pages.split(_PAGES_SCORED)
        scores = torch.cat([maxsim_batch(queries, some.to(device)).cpu() for some in blocks], 1)
        scores[:, ~pages.any(2).any(1).cpu()] = -queries.shape[1]
        return scores

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """MaxSim of the first with the first, the second with the second, ...; float32 (n,)."""
        left, right = _as_multivectors(embeddings1), _as_multivectors(embeddings2)
        return torch.bmm(left, right.transpose(1, 2)).amax(2).sum(1)

    def _documents(self, pages: Iterable[Page], task: str, batch_size: int) -> NDArray[np.float32]:
        reader, parts = self._reader(), []
        for some in chunks(pages, batch_size):
            read = [list(reader.read([page])) for page in some]  # one input a page, or none
            vectors = np.zeros((len(some), self.budget.r_c, self.encoder.dimension), np.float32)
            if inputs := [value for values in read for value in values]:
                found = self.encoder.encode_document(inputs, batch_size=batch_size)
                vectors[[bool(values) for values in read]] = found[:, : self.budget.r_c]
            parts.append(vectors)
        warn_of_skipped(reader.skipped, task)
        return np.concatenate(parts)


def _as_multivectors(vectors: Any) -> torch.Tensor:
    """A float32 tensor (n, r, D) of that, of (n, D), or of one vector (D,)."""
    tensor: torch.Tensor = torch.atleast_2d(torch.as_tensor(vectors, dtype=torch.float32))
    return tensor[:, None] if tensor.ndim == 2 else tensor
