"""``MetaEmbedEncoder``: text, images and both together into ordered unit vectors."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize
from transformers.utils import logging as transformers_logging

from metaembed_rag.errors import CheckpointError, ModelError
from metaembed_rag.model.backbones import Backbone, load_model, tokenizer_of
from metaembed_rag.model.checkpoints import (
    check_backbone_folder,
    find_checkpoint,
    shipped_checkpoints,
)
from metaembed_rag.model.fingerprint import fingerprint, weights_state
from metaembed_rag.model.inputs import Input, Item, as_inputs, read_input
from metaembed_rag.model.meta_tokens import MetaTokens, add_meta_tokens
from metaembed_rag.model.settings import Settings
from metaembed_rag.model.template import Template, template_of
from metaembed_rag.progress import tqdm

DType = str | torch.dtype | None


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
        target = torch.device(device or _best_device())
        wanted = _as_dtype(dtype) or (torch.bfloat16 if target.type == "cuda" else torch.float32)
        self._fingerprint = ""
        self._fingerprint_of = ""
        rounds = wanted not in (torch.float32, backbone.model.dtype)
        rounded_from = fingerprint(backbone) if rounds else ""
        _cast(backbone.model, wanted)
        modules: list[torch.nn.Module] = [backbone, MetaTokens(), Normalize("token_embeddings")]
        with _quiet():
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
    ) -> MetaEmbedEncoder:
        """Load a checkpoint.

        Args:
            name_or_path: A shipped name (``"mini"``), a folder that :meth:`save_pretrained` wrote,
                or a hub id (``"owner/model"``). A folder never touches the network.
            device: See :class:`MetaEmbedEncoder`.
            dtype: See :class:`MetaEmbedEncoder`.
            max_pixels: Scale larger images down to this instead of the checkpoint's own bound.
                It takes part in the fingerprint, because vectors depend on it.

        Raises:
            CheckpointError: No usable checkpoint is there; the message says what was tried.
        """
        folder = find_checkpoint(name_or_path)
        with _quiet(), _explained(folder):
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
        settings = Settings(r_q, r_c, max_query_tokens, max_document_tokens, max_pixels, template)
        folder = Path(name).expanduser()
        if folder.is_dir():
            check_backbone_folder(folder)
            name_or_path = str(folder)
        with _quiet(), _explained(name):
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
        with self._lock, _quiet():
            kept = {name: tensor.data for name, tensor in _weights(model).items()}
            try:
                _cast(model, _as_dtype(dtype) or model.dtype)
                self.model.save_pretrained(str(folder), create_model_card=False)
            finally:
                for name, tensor in _weights(model).items():
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
        count = self._count(side, vectors)
        items = [self._read(value, f"{side} {i}") for i, value in enumerate(inputs)]
        result = np.empty((len(items), count, self.dimension), np.float32)
        what = "queries" if side == "query" else "documents"
        with tqdm(total=len(items), desc=f"Encoding {what}", disable=not show_progress) as bar:
            for rows in _batches(items, self._batch_size(batch_size)):
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

    def _batch_size(self, asked: int) -> int:
        if asked < 1:
            raise ValueError(f"batch_size must be at least 1, not {asked}")
        # Larger batches leave a CPU's cache: 30 pages a second at 4 to 8, 24 at 32 (D = 256).
        return min(asked, 8) if self.device.type == "cpu" else asked

    def _count(self, side: str, vectors: int | None) -> int:
        most = self.backbone.settings.vectors(side)
        if vectors is None:
            return most
        if not 1 <= vectors <= most:
            raise ValueError(f"vectors must be between 1 and {most} for a {side}, not {vectors}")
        return vectors


def _batches(items: list[Item], batch_size: int) -> Iterator[list[int]]:
    """Indices of batches: one modality each, longest first (a lack of memory shows at once)."""
    for modality in ("text", "image", "fused"):
        rows = [i for i, item in enumerate(items) if item.modality == modality]
        rows.sort(key=lambda i: -items[i].length)
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _as_dtype(dtype: DType) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"{dtype!r} is no dtype; use 'float32', 'bfloat16' or 'float16'")
    return found


def _weights(model: Any) -> dict[str, torch.Tensor]:
    return model.state_dict(keep_vars=True)  # type: ignore[no-any-return]


def _cast(model: Any, dtype: torch.dtype) -> None:
    """Change what is stored in a checkpoint; ``model.to`` would also round RoPE's frequencies."""
    for tensor in _weights(model).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def _replace(settings: Settings, **changes: Any) -> Settings:
    return Settings(**{**vars(settings), **changes})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no warnings of transformers meanwhile; users cannot act on them."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def _explained(what: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what libraries raise about bad files into one sentence."""
    try:
        yield
    except (ImportError, KeyError, OSError, RuntimeError, SafetensorError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{os.fspath(what)} cannot be loaded as a model ({type(error).__name__}: {reason}); "
            f"shipped checkpoints: {', '.join(shipped_checkpoints()) or 'none'}"
        ) from error
