"""``TokenEncoder``: what encoders share whose model is one of sentence-transformers' kinds.

Late-interaction and dense models are loaded by the same library: a transformer with modules after
it, prompts, a limit of tokens. Here is how their inputs are cut into passes, what they read, and
what names them; the subclasses say what becomes of token outputs.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from sentence_transformers.base.modules import transformer as transformer_module
from transformers import AutoConfig

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.backbones import control_tokens, cut_texts, processor_class
from metaembed_rag.model.base import PooledEncoder
from metaembed_rag.model.checkpoints import read_json
from metaembed_rag.model.fingerprint import digest_weights
from metaembed_rag.model.inputs import Item
from metaembed_rag.model.loading import DType, cast, check_threads, placement, weights
from metaembed_rag.model.passes import Passes, split_item
from metaembed_rag.model.pooling import Pooling
from metaembed_rag.model.template import break_tokens, token_pattern

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_TRAINED_DIMENSIONS = ("matryoshka_dims", "matryoshka_dimensions")
MAX_TEXT = 512
"""Tokens of a text that goes beside an image, where the checkpoint sets no length of its own."""
_NO_LIMIT = 1_000_000
"""A tokenizer without a limit says some 10^30 tokens."""


class TokenEncoder(PooledEncoder):
    """A model of sentence-transformers whose token outputs are pooled into ordered vectors.

    It may be shared between threads: one lock lets one batch at a time onto the device.

    Attributes:
        model: The model of sentence-transformers inside.
        name: What loads it again, pooling included.
        fingerprint: Hex digest of weights, modules' settings, prompts and pooling.
    """

    fingerprint: str = ""
    loaded_by_name = True

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        pooling: Pooling | None = None,
        device: str | None = None,
        dtype: DType = None,
        max_pixels: int | None = None,
    ) -> None:
        """Put a model with its modules on a device."""
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
        self._control = token_pattern(control_tokens(self._processor))

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""
        return int(self.model.get_embedding_dimension() or 0)

    @property
    def modalities(self) -> frozenset[str]:
        """What it reads, of ``"text"``, ``"image"`` and ``"fused"``."""
        known = set(self.model.modalities)
        reads = {"text"} | ({"image"} if known & {"image", ("image", "text")} else set())
        if hasattr(self._processor, "image_processor") and "message" in known:
            reads |= {"image", "fused"}
        return frozenset(reads | ({"fused"} if ("image", "text") in known else set()))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        place: torch.device = self.model.device
        return place

    @property
    def _transformer(self) -> Any:
        return self.model[0]

    @property
    def _processor(self) -> Any:
        """Of pictures and texts; the tokenizer where code of the checkpoint has no other."""
        return getattr(self._transformer, "processor", None) or self._transformer.tokenizer

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
        windows = [MAX_TEXT] if "image" in self.modalities else []
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

    def _features(self, items: Sequence[Item], side: str) -> dict[str, Any]:
        """Token ids and pixels of a batch of one modality."""
        images = [item.prepare_image(self._max_pixels or 2**62) for item in items]
        inputs: list[Any] = [
            {"image": image, "text": text} if image and text else image or text
            for image, text in zip(images, self._texts(items), strict=True)
        ]
        features: dict[str, Any] = self.model.preprocess(
            inputs, prompt=self._prompt(side), task=side
        )
        return features

    def _texts(self, items: Sequence[Item]) -> list[str]:
        """Texts of a batch; of models that read images cut, and free of control tokens."""
        texts = [item.text for item in items]
        if "image" not in self.modalities:
            return texts
        harmless = [break_tokens(self._control, text) for text in texts]
        return cut_texts(self._transformer.tokenizer, harmless, MAX_TEXT)

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


def trained_dimensions(folder: Path) -> tuple[int, ...]:
    """Prefixes of a vector that the checkpoint's files say it was trained for."""
    for file in ("config_sentence_transformers.json", "config.json"):
        values = read_json(folder / file)
        for key in _TRAINED_DIMENSIONS:
            if isinstance(values.get(key), list):
                return tuple(int(one) for one in values[key])
    return ()


@contextlib.contextmanager
def without_video() -> Iterator[None]:
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


def refuse_random_weights(model: torch.nn.Module, folder: Path, name: str) -> None:
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
