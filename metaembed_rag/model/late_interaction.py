"""``LateInteractionEncoder``: any late-interaction checkpoint, its tokens pooled into an order.

ColBERT, ColPali, ColQwen and their kin give one vector a token. sentence-transformers loads them;
here their vectors are pooled (:mod:`metaembed_rag.model.pooling`) into ordered ones, so that they
can be stored and searched at any budget like those of Meta Tokens.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.util import batch_to_device

from metaembed_rag.model.inputs import Item
from metaembed_rag.model.loading import DType, check_threads, explained, quiet
from metaembed_rag.model.pooling import Pooling, Vectors
from metaembed_rag.model.token_encoder import (
    TokenEncoder,
    refuse_random_weights,
    trained_dimensions,
    without_video,
)


class LateInteractionEncoder(TokenEncoder):
    """A late-interaction checkpoint; made by ``MetaEmbedEncoder.from_pretrained``.

    It may be shared between threads: one lock lets one batch at a time onto the device.

    Attributes:
        model: The ``sentence_transformers.MultiVectorEncoder`` inside.
        name: What loads it again, pooling included.
        fingerprint: Hex digest of weights, modules' settings, prompts and pooling.
    """

    model: MultiVectorEncoder

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str | None = None,
        pooling: Pooling | None = None,
        device: str | None = None,
        dtype: DType = None,
        max_pixels: int | None = None,
        trust_remote_code: bool = False,
        local_files_only: bool = False,
    ) -> LateInteractionEncoder:
        """Load a folder in a layout that sentence-transformers knows.

        Args:
            folder: Of sentence-transformers, PyLate, Stanford ColBERT, or transformers' ColPali,
                ColQwen2, ColModernVBert.
            name: What to call it; the folder by default.
            pooling: How tokens become ordered vectors.
            device: ``"cpu"``, ``"cuda"``, ``"mps"``; None takes the best there is.
            dtype: Of the weights; None takes bfloat16 on CUDA and float32 elsewhere.
            max_pixels: Larger images are scaled down to it before the checkpoint's own bounds.
            trust_remote_code: Run the Python code that comes with the checkpoint.
            local_files_only: Do not fetch the backbone of a LoRA adapter either.

        Raises:
            CheckpointError: It cannot be loaded, or lacks some of its weights.
        """
        name = name or os.fspath(folder)
        adapter = (folder / "adapter_config.json").is_file()  # its backbone may have to be fetched
        with quiet(), explained(name), without_video():
            model = MultiVectorEncoder(
                str(folder),
                device="cpu",
                local_files_only=local_files_only or not adapter,
                trust_remote_code=trust_remote_code,
                model_kwargs={"dtype": "auto"},
            )
            refuse_random_weights(model, folder, name)
        pooling = pooling or Pooling()
        if not pooling.dimensions:
            pooling = replace(pooling, dimensions=trained_dimensions(folder))
        return cls(
            model, name=name, pooling=pooling, device=device, dtype=dtype, max_pixels=max_pixels
        )

    def _tokens(self, items: Sequence[Item], side: str) -> list[Vectors]:
        check_threads(self.name)
        with self._lock, torch.inference_mode(), quiet():
            self.model.eval()
            features = batch_to_device(self._features(items, side), self.device)
            features = self.model(features, task=side)
            tokens = features["token_embeddings"].float().cpu().numpy()  # (batch, length, D)
            kept = features["attention_mask"].bool().cpu().numpy()
        return [one[mask] for one, mask in zip(tokens, kept, strict=True)]

    def _features(self, items: Sequence[Item], side: str) -> dict[str, Any]:
        if getattr(self._transformer, "transformer_task", "") != "retrieval":
            return super()._features(items, side)
        # sentence-transformers 6.2 calls the processor itself, which in transformers 5.23
        # leaves out ColModernVBert's prompts; these two are what each such processor promises.
        processor = self._transformer.processor
        if items[0].image is not None:
            images = [item.prepare_image(self._max_pixels or 2**62) for item in items]
            return {**processor.process_images(images=images), "modality": "image"}
        return {**processor.process_queries(text=self._texts(items)), "modality": "text"}
