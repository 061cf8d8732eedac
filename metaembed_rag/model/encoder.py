"""``MetaEmbedEncoder``: text, images and both together into ordered unit vectors."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize

from metaembed_rag.errors import CheckpointError, ModelError
from metaembed_rag.model.backbones import Backbone, load_model, tokenizer_of
from metaembed_rag.model.checkpoints import (
    check_backbone_folder,
    find_checkpoint,
    is_address,
    is_late_interaction,
    join_name,
    split_name,
)
from metaembed_rag.model.fingerprint import fingerprint, weights_state
from metaembed_rag.model.inputs import Input, Item, as_inputs, read_input
from metaembed_rag.model.loading import (
    DType,
    as_dtype,
    batches,
    best_device,
    bounded_batch_size,
    cast,
    checked_count,
    explained,
    quiet,
    weights,
)
from metaembed_rag.model.meta_tokens import MetaTokens, add_meta_tokens
from metaembed_rag.model.pooling import Pooling
from metaembed_rag.model.settings import Settings
from metaembed_rag.model.template import Template, template_of
from metaembed_rag.progress import tqdm


class MetaEmbedEncoder:
    """A backbone with Meta Tokens, made by :meth:`from_pretrained` or :meth:`from_backbone`.

    It may be shared between threads: one lock lets one batch at a time onto the device.

    Attributes:
        model: The ``sentence_transformers.MultiVectorEncoder`` inside: backbone, Meta Tokens,
            normalisation. Train this; the encoder sees the new weights.
        name: The name that the user asked for.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        name: str,
        device: str | None = None,
        dtype: DType = None,
    ) -> None:
        """Put a backbone on a device.

        Args:
            backbone: With its Meta Tokens in the vocabulary.
            name: What to call it.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; None takes the best there is.
            dtype: Of the weights, such as ``"bfloat16"``; None takes bfloat16 on CUDA and float32
                elsewhere.
        """
        self.name = name
        self._lock = threading.RLock()
        target = torch.device(device or best_device())
        wanted = as_dtype(dtype) or (torch.bfloat16 if target.type == "cuda" else torch.float32)
        self._fingerprint = ""
        self._fingerprint_of = ""
        rounds = wanted not in (torch.float32, backbone.model.dtype)
        rounded_from = fingerprint(backbone) if rounds else ""
        cast(backbone.model, wanted)
        modules: list[torch.nn.Module] = [backbone, MetaTokens(), Normalize("token_embeddings")]
        with quiet():
            self.model = MultiVectorEncoder(modules=modules, device=str(target))
        self.model.eval()
        if rounds:  # the stored weights name the encoder, not their rounded copy
            self._fingerprint, self._fingerprint_of = rounded_from, weights_state(self.backbone)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = "mini",
        *,
        device: str | None = None,
        dtype: DType = None,
        max_pixels: int | None = None,
        pooling: Pooling | str | None = None,
        trust_remote_code: bool = False,
    ) -> Any:
        """Load a checkpoint: the one door for every kind of encoder.

        Args:
            name_or_path: A shipped name (``"mini"``), a folder that :meth:`save_pretrained` wrote,
                or a hub id (``"owner/model"``). A folder never touches the network. It may also be
                a checkpoint of token-level late interaction (ColBERT, ColPali, ...), or the
                address of a server (``"http://host:8000#model"``, see ``docs/remote.md``); these
                two take options after a question mark: ``"my-colbert?pooling=kmeans"``.
            device: See :class:`MetaEmbedEncoder`.
            dtype: See :class:`MetaEmbedEncoder`.
            max_pixels: Scale larger images down to this instead of the checkpoint's own bound.
                It takes part in the fingerprint, because vectors depend on it.
            pooling: How token vectors become ordered ones, where the checkpoint gives one a
                token: a method of :mod:`metaembed_rag.model.pooling` or all its settings.
            trust_remote_code: Run Python code that comes with a late-interaction checkpoint.

        Returns:
            A :class:`MetaEmbedEncoder`, or for other checkpoints a
            :class:`~metaembed_rag.model.late_interaction.LateInteractionEncoder` or a
            :class:`~metaembed_rag.model.remote.RemoteEncoder`: the same verbs and properties.

        Raises:
            CheckpointError: No usable checkpoint is there; the message says what was tried.
        """
        if is_address(name_or_path):
            from metaembed_rag.model.remote import RemoteEncoder

            return RemoteEncoder.connect(os.fspath(name_or_path), pooling=pooling)
        bare, options = split_name(name_or_path)
        folder = find_checkpoint(bare)
        if is_late_interaction(folder):
            from metaembed_rag.model.late_interaction import LateInteractionEncoder

            chosen = Pooling.chosen(pooling, options)
            return LateInteractionEncoder.load(
                folder,
                name=join_name(bare, chosen.options()),
                pooling=chosen,
                device=device,
                dtype=dtype,
                max_pixels=max_pixels,
                trust_remote_code=trust_remote_code,
            )
        if options or pooling:
            raise CheckpointError(
                f"{bare} makes ordered vectors itself, so there is nothing to pool; leave out "
                f"pooling and what stands after the question mark"
            )
        with quiet(), explained(folder):
            backbone = Backbone.load(str(folder), local_files_only=True)
        if max_pixels is not None:
            backbone.settings = _replace(backbone.settings, max_pixels=max_pixels)
        return cls(backbone, name=os.fspath(name_or_path), device=device, dtype=dtype)

    @classmethod
    def from_backbone(
        cls,
        name_or_path: str | os.PathLike[str],
        r_q: int = 16,
        r_c: int = 64,
        *,
        device: str | None = None,
        dtype: DType = None,
        max_query_tokens: int = 128,
        max_document_tokens: int = 512,
        max_pixels: int = 1024 * 28 * 28,
        template: Template | Mapping[str, str] | None = None,
        dimensions: Sequence[int] = (),
        seed: int = 0,
    ) -> MetaEmbedEncoder:
        """Put Meta Tokens on a backbone, to be trained afterwards.

        Meta Tokens that its tokenizer has already (``<|meta_query_0|>``, ...) are reused with
        their rows, so a backbone trained elsewhere becomes an encoder as it is.

        Args:
            name_or_path: A folder or hub id of a text-only or vision-language model.
            r_q: Meta Tokens for queries.
            r_c: Meta Tokens for candidates.
            device: See :class:`MetaEmbedEncoder`.
            dtype: See :class:`MetaEmbedEncoder`.
            max_query_tokens: Longest text of a query; more is cut off, Meta Tokens never.
            max_document_tokens: Longest text of a candidate.
            max_pixels: Larger images are scaled down to it.
            template: What stands around an input; None takes the backbone's chat template, and
                without one the tokenizer's special tokens (``[CLS] text [SEP]``).
            seed: For the new embedding rows.

        Raises:
            CheckpointError: The backbone cannot be loaded, or has no room for such inputs.
        """
        name = os.fspath(name_or_path)
        if isinstance(template, Mapping):
            template = Template.from_dict(template)
        limits = (max_query_tokens, max_document_tokens, max_pixels)
        settings = Settings(r_q, r_c, *limits, template, tuple(dimensions))
        folder = Path(name).expanduser()
        if folder.is_dir():
            check_backbone_folder(folder)
            name_or_path = str(folder)
        with quiet(), explained(name):
            hub = {"local_files_only": folder.is_dir()}
            with torch.random.fork_rng(devices=[]):  # a pooler that files lack is drawn alike
                torch.manual_seed(seed)
                model, processor = load_model(str(name_or_path), hub=hub, dtype="auto")
            tokenizer = tokenizer_of(processor)
            add_meta_tokens(model, tokenizer, r_q, r_c, seed=seed)
            if template is None:
                images = hasattr(processor, "image_processor")
                kind = model.config.model_type
                found = template_of(processor, tokenizer, images=images, model_type=kind)
                settings = _replace(settings, template=found)
            backbone = Backbone(model, processor, settings)
        return cls(backbone, name=name, device=device, dtype=dtype)

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: DType = None) -> Path:
        """Write a folder for :meth:`from_pretrained`, in sentence-transformers' layout.

        The folder holds ``modules.json``, the stock transformers model with its tokenizer or
        processor, and ``metaembed.json``; an existing README.md is kept. Loading it gives the
        same vectors and the same fingerprint, unless ``dtype`` rounds the weights.

        Args:
            folder: It is made when it does not exist.
            dtype: Of the stored weights, such as ``"float16"``; None keeps what they are.

        Returns:
            The folder.
        """
        folder = Path(folder)
        model = self.backbone.model
        with self._lock, quiet():
            kept = {name: tensor.data for name, tensor in weights(model).items()}
            try:
                cast(model, as_dtype(dtype) or model.dtype)
                self.model.save_pretrained(str(folder), create_model_card=False)
            finally:
                for name, tensor in weights(model).items():
                    tensor.data = kept[name]
        return folder

    def encode_query(
        self,
        queries: Input | Sequence[Input],
        *,
        batch_size: int = 32,
        show_progress: bool = False,
        vectors: int | None = None,
    ) -> np.ndarray:
        """Ordered unit vectors of queries: text, images, or both fused.

        Args:
            queries: Each a str, a PIL image, or ``{"text": ..., "image": ...}``; a single one is
                accepted and counts as a list of one. A str is always text, never a path.
            batch_size: Inputs computed at a time, on a CPU at most 8. Results do not depend on it.
            show_progress: Draw a bar: on standard error, or in the notebook.
            vectors: Only the first r ones. Where the backbone is causal they are equal to the
                first r of all of them and cost r tokens; where it is bidirectional (ModernBERT,
                and so ``mini``) all are computed and the rest is dropped.

        Returns:
            float32 (n, r, D), rows in the order given, each vector of length 1.

        Raises:
            ModalityError: An input is empty, or of a kind that the model does not read.
            ModelError: The model gave numbers that are not finite.
        """
        return self._encode(as_inputs(queries), "query", batch_size, show_progress, vectors)

    def encode_document(
        self,
        documents: Input | Sequence[Input],
        *,
        batch_size: int = 32,
        show_progress: bool = False,
        vectors: int | None = None,
    ) -> np.ndarray:
        """Ordered unit vectors of candidates: text, images, or both fused.

        Arguments, result and errors are those of :meth:`encode_query`, with the candidate side's
        Meta Tokens and longest text.
        """
        return self._encode(as_inputs(documents), "document", batch_size, show_progress, vectors)

    @property
    def backbone(self) -> Backbone:
        """The first module: transformers model, processor, settings."""
        first = self.model[0]
        assert isinstance(first, Backbone)
        return first

    @property
    def dimension(self) -> int:
        """D, the length of a vector: the backbone's hidden size."""
        return self.backbone.get_embedding_dimension()

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Numbers of leading values with which a vector works, ascending; the last one is D."""
        trained = self.backbone.settings.dimensions
        return (*(one for one in trained if one < self.dimension), self.dimension)

    @property
    def query_vectors(self) -> int:
        """R_q, vectors of a query."""
        return self.backbone.settings.query_vectors

    @property
    def document_vectors(self) -> int:
        """R_c, vectors of a candidate."""
        return self.backbone.settings.document_vectors

    @property
    def modalities(self) -> frozenset[str]:
        """What it reads: ``{"text"}``, or ``{"text", "image", "fused"}``."""
        fused = {"text", "image", "fused"}
        return frozenset(fused if self.backbone.reads_images else {"text"})

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights, Meta Tokens, template and lengths; equal on every machine.

        It is that of the stored weights also where they run rounded (bfloat16 on CUDA), and is
        computed anew after the weights changed, as by training.
        """
        with self._lock:
            state = weights_state(self.backbone)
            if state != self._fingerprint_of:
                self._fingerprint, self._fingerprint_of = fingerprint(self.backbone), state
            return self._fingerprint

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def __repr__(self) -> str:
        return (
            f"MetaEmbedEncoder({self.name!r}, {'/'.join(sorted(self.modalities))}, "
            f"r_q={self.query_vectors}, r_c={self.document_vectors}, D={self.dimension}, "
            f"device={str(self.device)!r})"
        )

    def _encode(
        self,
        inputs: list[Input],
        side: str,
        batch_size: int,
        show_progress: bool,
        vectors: int | None,
    ) -> np.ndarray:
        count = checked_count(vectors, self.backbone.settings.vectors(side), side)
        items = [self._read(value, f"{side} {i}") for i, value in enumerate(inputs)]
        result = np.empty((len(items), count, self.dimension), np.float32)
        what = "queries" if side == "query" else "documents"
        with tqdm(total=len(items), desc=f"Encoding {what}", disable=not show_progress) as bar:
            for rows in batches(items, bounded_batch_size(batch_size, self.device)):
                result[rows] = self._encode_batch([items[i] for i in rows], side, count)
                bar.update(len(rows))
        if not np.isfinite(result).all():
            raise ModelError(
                f"{self.name} gave vectors that are not finite numbers in {self.model.dtype}; "
                f"load it with dtype='float32' (or 'bfloat16'), and check the training run"
            )
        return result

    def _encode_batch(self, items: list[Item], side: str, count: int) -> np.ndarray:
        appended = count if self.backbone.is_causal else None
        with self._lock, torch.inference_mode():
            self.model.eval()  # a trainer leaves dropout switched on
            features = self.backbone.preprocess(items, task=side, vectors=appended)
            features = {
                name: value.to(self.device) if isinstance(value, torch.Tensor) else value
                for name, value in features.items()
            }
            unit = self.model(features, task=side)["token_embeddings"]  # (batch, r, D)
            return unit[:, :count].cpu().numpy()

    def _read(self, value: Input, where: str) -> Item:
        return read_input(value, modalities=self.modalities, where=where, name=self.name)


def _replace(settings: Settings, **changes: Any) -> Settings:
    return Settings(**{**vars(settings), **changes})
