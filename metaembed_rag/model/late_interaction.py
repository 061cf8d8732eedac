"""``LateInteractionEncoder``: any late-interaction checkpoint, its tokens pooled into an order.

ColBERT, ColPali, ColQwen and their kin give one vector a token. sentence-transformers loads them;
here their vectors are pooled (:mod:`metaembed_rag.model.pooling`) into ordered ones, so that they
can be stored and searched at any budget like those of Meta Tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import math
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import transformer as transformer_module
from sentence_transformers.util import batch_to_device
from transformers import AutoConfig

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.backbones import control_tokens, cut_texts, processor_class
from metaembed_rag.model.base import PooledEncoder
from metaembed_rag.model.checkpoints import read_json
from metaembed_rag.model.fingerprint import digest_weights
from metaembed_rag.model.inputs import Item
from metaembed_rag.model.loading import (
    DType,
    cast,
    check_threads,
    explained,
    placement,
    quiet,
    weights,
)
from metaembed_rag.model.passes import Passes, split_item
from metaembed_rag.model.pooling import Pooling, Vectors
from metaembed_rag.model.template import break_tokens, token_pattern

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_TRAINED_DIMENSIONS = ("matryoshka_dims", "matryoshka_dimensions")
_MAX_TEXT = 512
"""Tokens of a text that goes beside an image, where the checkpoint sets no length of its own."""
_NO_LIMIT = 1_000_000
"""A tokenizer without a limit says some 10^30 tokens."""


class LateInteractionEncoder(PooledEncoder):
    """A late-interaction checkpoint; made by ``MetaEmbedEncoder.from_pretrained``.

    It may be shared between threads: one lock lets one batch at a time onto the device.

    Attributes:
        model: The ``sentence_transformers.MultiVectorEncoder`` inside.
        name: What loads it again, pooling included.
        fingerprint: Hex digest of weights, modules' settings, prompts and pooling.
    """

    fingerprint: str = ""
    loaded_by_name = True

    def __init__(
        self,
        model: MultiVectorEncoder,
        *,
        name: str,
        pooling: Pooling | None = None,
        device: str | None = None,
        dtype: DType = None,
        max_pixels: int | None = None,
    ) -> None:
        """Put a model with its modules (projection, mask, norm) on a device; see :meth:`load`."""
        self.model = model
        self.name = name
        self.settings = pooling or Pooling()
        self._lock = threading.RLock()
        check_threads(name)
        self._max_pixels = max_pixels
        self.fingerprint = self._digest()
        target, wanted = placement(device, dtype)
        cast(model, wanted)
        self.model.to(target)
        self.model.eval()
        self._control = token_pattern(control_tokens(self._transformer.processor))

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
        with quiet(), explained(name), _without_video():
            model = MultiVectorEncoder(
                str(folder),
                device="cpu",
                local_files_only=local_files_only or not adapter,
                trust_remote_code=trust_remote_code,
                model_kwargs={"dtype": "auto"},
            )
            _refuse_random_weights(model, folder, name)
        pooling = pooling or Pooling()
        if not pooling.dimensions:
            pooling = replace(pooling, dimensions=_trained_dimensions(folder))
        return cls(
            model, name=name, pooling=pooling, device=device, dtype=dtype, max_pixels=max_pixels
        )

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""
        return int(self.model.get_embedding_dimension() or 0)

    @property
    def modalities(self) -> frozenset[str]:
        """What it reads, of ``"text"``, ``"image"`` and ``"fused"``."""
        known = set(self.model.modalities)
        reads = {"text"} | ({"image"} if known & {"image", ("image", "text")} else set())
        if hasattr(self._transformer.processor, "image_processor") and "message" in known:
            reads |= {"image", "fused"}
        return frozenset(reads | ({"fused"} if ("image", "text") in known else set()))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def _transformer(self) -> Any:
        return self.model[0]

    @property
    def _remedy(self) -> str:
        return f" in {self.model.dtype}; load it with dtype='float32' (or 'bfloat16')"

    def _passes(self, item: Item) -> Passes:
        with self._lock:  # a tokenizer's limits are its state
            window = self._pass_tokens
            if window is None or len(item.text.encode()) <= window:
                return Passes((item,))
            if self._fits(item):
                return Passes((item,))
            reads_images = "image" in self.modalities
            text = break_tokens(self._control, item.text) if reads_images else item.text
            tokenizer = self._transformer.tokenizer
            return split_item(item, tokenizer, window, self.max_passes, text=text)

    @property
    def _limit(self) -> int | None:
        """Tokens of a document's input, text and what stands around it; None without a limit."""
        limit = getattr(self._transformer, "document_length", None)
        limit = limit or self._transformer.max_seq_length
        return limit if limit is not None and limit < _NO_LIMIT else None

    @property
    def _pass_tokens(self) -> int | None:
        windows = [_MAX_TEXT] if "image" in self.modalities else []
        with self._lock:
            if self._limit is not None:
                windows.append(max(1, self._limit - self._length("")))
        return min(windows, default=None)

    def _fits(self, item: Item) -> bool:
        """Whether a text is read whole although it and its prompt have too many tokens apart."""
        alone = self._limit is not None and "image" not in self.modalities
        return alone and self._length(item.text) <= (self._limit or 0)

    def _length(self, text: str) -> int:
        """Tokens of a document's text with prompt and special tokens."""
        text = (self._prompt("document") or "") + text
        return len(self._transformer.tokenizer(text, verbose=False)["input_ids"])

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
        """Token ids and pixels of a batch of one modality."""
        processor = self._transformer.processor
        images = [item.prepare_image(self._max_pixels or 2**62) for item in items]
        texts = [item.text for item in items]
        if "image" in self.modalities:  # beside images they are cut, and free of control tokens
            harmless = [break_tokens(self._control, text) for text in texts]
            texts = cut_texts(self._transformer.tokenizer, harmless, _MAX_TEXT)
        if getattr(self._transformer, "transformer_task", "") == "retrieval":
            # sentence-transformers 6.2 calls the processor itself, which in transformers 5.23
            # leaves out ColModernVBert's prompts; these two are what each such processor promises.
            if items[0].image is not None:
                return {**processor.process_images(images=images), "modality": "image"}
            return {**processor.process_queries(text=texts), "modality": "text"}
        inputs: list[Any] = [
            {"image": image, "text": text} if image and text else image or text
            for image, text in zip(images, texts, strict=True)
        ]
        return self.model.preprocess(inputs, prompt=self._prompt(side), task=side)

    def _prompt(self, side: str) -> str | None:
        prompts = self.model.prompts
        names = ("query",) if side == "query" else _DOCUMENT_PROMPTS
        return next((prompts[name] for name in names if prompts.get(name)), None)

    def _digest(self) -> str:
        described = {
            "modules": [_described(module) for module in self.model],
            "prompts": dict(self.model.prompts),
            "pooling": [self.settings.method, self.query_vectors, self.document_vectors],
            "max_pixels": self._max_pixels,
        }
        parts = [*digest_weights(self.model), json.dumps(described, sort_keys=True, default=str)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _described(module: Any) -> dict[str, Any]:
    """The settings of a module of which vectors depend."""
    values = {"class": type(module).__name__}
    values |= {key: getattr(module, key, None) for key in getattr(module, "config_keys", [])}
    return {key: value for key, value in values.items() if "path" not in key}


def _trained_dimensions(folder: Path) -> tuple[int, ...]:
    """Prefixes of a vector that the checkpoint's files say it was trained for."""
    for file in ("config_sentence_transformers.json", "config.json"):
        values = read_json(folder / file)
        for key in _TRAINED_DIMENSIONS:
            if isinstance(values.get(key), list):
                return tuple(int(one) for one in values[key])
    return ()


@contextlib.contextmanager
def _without_video() -> Iterator[None]:
    """Where torchvision is missing, load processors without their video part, which needs it."""
    module: Any = transformer_module
    stock = module.AutoProcessor
    if importlib.util.find_spec("torchvision") is None:
        module.AutoProcessor = SimpleNamespace(from_pretrained=_load_processor)
    try:
        yield
    finally:
        module.AutoProcessor = stock


def _load_processor(name_or_path: str, **options: Any) -> Any:
    """What ``AutoProcessor`` gives; where that has a video part, without it."""
    config = AutoConfig.from_pretrained(name_or_path, **options)
    return processor_class(config).from_pretrained(name_or_path, **options)


def _refuse_random_weights(model: MultiVectorEncoder, folder: Path, name: str) -> None:
    """Refuse files that hold fewer values than the model: the rest would be random numbers.

    A pooler may be missing: it is not used. Tensors are counted by values, because transformers
    renames, splits and joins them when it loads a model.
    """
    files = list(folder.rglob("*.safetensors"))
    if not files or (folder / "adapter_config.json").is_file():
        return
    stored = sum(_values_in(file) for file in files)
    state = {key: one for key, one in weights(model).items() if "pooler" not in key}
    needed = sum(one.numel() for one in {one.data_ptr(): one for one in state.values()}.values())
    if stored < needed:
        raise CheckpointError(
            f"{name} lacks {needed - stored:,} of the model's {needed:,} weights; copy or "
            f"download it again"
        )


def _values_in(file: Path) -> int:
    with safe_open(file, "pt") as tensors:
        shapes = [tensors.get_slice(key).get_shape() for key in tensors.keys()]  # noqa: SIM118
    return sum(math.prod(shape) for shape in shapes)
