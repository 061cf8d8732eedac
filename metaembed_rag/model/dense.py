"""``DenseEncoder``: any model of one vector an input, its token outputs pooled by windows.

bge, e5, gte, MiniLM and their kin give a text one vector. Here a page gets an order of them,
without training: the model's own vector of the page, then of its halves, its quarters, and so on,
so that every prefix of 1, 3, 7, 15, 31 and 63 vectors is a whole covering of the page
(:func:`~metaembed_rag.model.pooling.window_means`).

**What a window is.** The mean of its token outputs, moved by what lies between the mean of all
token outputs and the model's own pooled vector; then the modules after the pooling (projections,
normalisation). With mean pooling that is a window pooled as the model pools a page. With pooling
by the first or the last token, which trains no means, it is the page's own vector moved towards
where the window differs from the page. Either way the windows of a page average to its own vector,
a page of one pass has exactly the model's own vector first, and nothing is computed twice: encoding
the text of each window would cost all tokens again on every level of the tree.

**Pictures.** A model that reads them into tokens (a vision-language model) has windows as above. A
model of two towers (CLIP, SigLIP) was trained for whole pictures only: its patches are not in the
space of texts. There the picture is cut, its longer side halved on every level, and each part is
encoded as a picture: 1, 2, 4 and 8 parts, 15 vectors, repeated where more are asked for. Its texts
give one vector a pass.

**Queries.** The model's own vector first, then windows too, each half as far from it: a word or
two of a query alone say less than a paragraph of a page. A picture as query is its own vector,
repeated.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling as OwnPooling
from sentence_transformers.util import batch_to_device

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.inputs import Input, Item
from metaembed_rag.model.loading import DType, check_threads, explained, quiet
from metaembed_rag.model.pooling import Pooling, Vectors, window_means
from metaembed_rag.model.token_encoder import (
    TokenEncoder,
    refuse_random_weights,
    trained_dimensions,
    without_video,
)

_METHOD = "windows"
_PROMPTS = {"query_prompt": "query", "document_prompt": "document"}
"""Options of a name -> the model's prompts that they replace."""
_MOST_PARTS = 15
"""Of a picture: each is one more run of the picture tower."""
_LEAST_SIDE = 64
"""Pixels: smaller parts of a picture show too little."""
_PARTS_AT_ONCE = 16
_TEXT_TOWERS_OF_FIXED_LENGTH = ("siglip", "siglip2")
"""Model types whose texts were always padded to the full length in training."""
_SPREAD = np.float32(0.5)
"""How far a query's vectors go from its own one to its windows. Chosen on training pairs of package
descriptions: whole windows find a little more with all vectors and less with four."""
_LEAST = 1e-12


@dataclass(frozen=True)
class _Ordered:
    """Vectors (k, D) of an input that are in their order and of length 1 already."""

    vectors: Vectors


@dataclass(frozen=True)
class DenseOptions:
    """What may be chosen of a dense model, by an argument or in its name.

    Args:
        pooling: How many windows; its method is ``windows``.
        prompts: ``query_prompt`` and ``document_prompt``, where the model's own ones are replaced.

    Raises:
        CheckpointError: Another method of pooling.
    """

    pooling: Pooling
    prompts: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.pooling.method != _METHOD:
            raise CheckpointError(
                f"a model of one vector an input is pooled by windows, not by "
                f"{self.pooling.method!r}; leave the method out, or write Pooling('windows', …)"
            )

    @classmethod
    def chosen(cls, asked: Pooling | str | None, options: Mapping[str, str]) -> DenseOptions:
        """What an argument asks for, or else what stands after a name's ``?``.

        Raises:
            CheckpointError: Another method of pooling.
            ModelError: An unknown option, a value that makes no sense, or both ways at once.
        """
        prompts = {name: text for name, text in options.items() if name in _PROMPTS}
        others = {name: text for name, text in options.items() if name not in _PROMPTS}
        if asked is None:
            return cls(Pooling.from_options({"pooling": _METHOD, **others}), prompts)
        return cls(Pooling.chosen(asked, others), prompts)

    def options(self) -> dict[str, str]:
        """The inverse of :meth:`chosen`: what stands after the name's ``?``."""
        return {**self.prompts, **self.pooling.options()}


class DenseEncoder(TokenEncoder):
    """A single-vector model; made by ``MetaEmbedEncoder.from_pretrained``.

    It may be shared between threads: one lock lets one batch at a time onto the device.

    Attributes:
        model: The ``sentence_transformers.SentenceTransformer`` inside.
        name: What loads it again, pooling and prompts included.
        fingerprint: Hex digest of weights, modules' settings, prompts and pooling.
    """

    model: SentenceTransformer

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str | None = None,
        options: DenseOptions | None = None,
        device: str | None = None,
        dtype: DType = None,
        max_pixels: int | None = None,
        trust_remote_code: bool = False,
        local_files_only: bool = False,
    ) -> DenseEncoder:
        """Load a folder in sentence-transformers' layout, or a two-tower model of transformers.

        Args:
            folder: With ``modules.json``, or of CLIP or SigLIP.
            name: What to call it; the folder by default.
            options: Pooling and prompts.
            device: ``"cpu"``, ``"cuda"``, ``"mps"``; None takes the best there is.
            dtype: Of the weights; None takes bfloat16 on CUDA and float32 elsewhere.
            max_pixels: Larger images are scaled down to it before the checkpoint's own bounds.
            trust_remote_code: Run the Python code that comes with the checkpoint.
            local_files_only: Do not fetch what the checkpoint refers to either.

        Raises:
            CheckpointError: It cannot be loaded, lacks some of its weights, or is of a kind that
                has no token outputs.
        """
        name, options = name or os.fspath(folder), options or DenseOptions.chosen(None, {})
        refers = (folder / "adapter_config.json").is_file() or trust_remote_code
        with quiet(), explained(name), without_video(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a pooler that files lack is drawn alike
            model = SentenceTransformer(
                str(folder),
                device="cpu",
                local_files_only=local_files_only or not refers,
                trust_remote_code=trust_remote_code,
                model_kwargs={"dtype": "auto"},
            )
            refuse_random_weights(model, folder, name)
        _check_modules(model, name)
        _pad_as_trained(model[0])
        model.prompts |= {_PROMPTS[key]: text for key, text in options.prompts.items()}
        pooling = options.pooling
        if not pooling.dimensions:
            pooling = replace(pooling, dimensions=trained_dimensions(folder))
        return cls(
            model, name=name, pooling=pooling, device=device, dtype=dtype, max_pixels=max_pixels
        )

    def encode_tokens(
        self,
        inputs: Sequence[Input],
        side: str,
        *,
        batch_size: int = 32,
        show_progress: bool = False,
    ) -> list[Vectors]:
        """The unit vectors of each input's tokens, of which the windows are means: (tokens, D).

        Special tokens and the prompt are not among them. Of a picture that is cut into parts they
        are the parts' vectors. Arguments and errors are those of the overridden method.
        """
        found = super().encode_tokens(
            inputs, side, batch_size=batch_size, show_progress=show_progress
        )
        return [self._finished(tokens) for tokens in found]

    @property
    def _width(self) -> int:
        pooling = self._own_pooling
        if pooling is not None:
            return int(pooling.get_embedding_dimension())
        with self.model.truncate_embeddings(None):
            return int(self.model.get_embedding_dimension() or 0)

    @property
    def _own_pooling(self) -> OwnPooling | None:
        """The model's own pooling of tokens; None where it is inside its transformer."""
        return next((module for module in self.model if isinstance(module, OwnPooling)), None)

    @property
    def _finish(self) -> list[torch.nn.Module]:
        """The modules after the pooling."""
        modules = list(self.model)
        pooling = self._own_pooling
        return [] if pooling is None else modules[modules.index(pooling) + 1 :]

    def _compute(self, items: Sequence[Item], side: str, count: int) -> Sequence[Any]:
        tokens = self._checked_tokens(items, side)
        if self._is_cut(items[0]):
            return [_Ordered(self._finished(parts)) for parts in tokens]
        if side == "query":
            return [_Ordered(self._finished(_query_means(one, count))) for one in tokens]
        return tokens

    def _joined(self, parts: Sequence[Any], where: str, count: int, most: int) -> Vectors:
        """Windows over the tokens of all passes; of a query and of a cut picture what it has."""
        if isinstance(parts[0], _Ordered):
            made = parts[0].vectors
            return made[np.arange(count) % len(made)]
        return self._finished(window_means(self._all_tokens(parts, where), count))

    def _is_cut(self, item: Item) -> bool:
        """Whether a picture is encoded in parts: the model gives it one vector, and no tokens."""
        return item.image is not None and self._own_pooling is None

    def _tokens(self, items: Sequence[Item], side: str) -> list[Vectors]:
        """Of each input (tokens, width), before the modules after the pooling."""
        check_threads(self.name)
        with self._lock, torch.inference_mode(), quiet():
            self.model.eval()
            if self._is_cut(items[0]):
                return [self._parts(item, side) for item in items]
            found = self._run(self._features(items, side), side)
            pooling = self._own_pooling
            if pooling is None:
                return list(_numpy(found["sentence_embedding"][:, None]))
            pooled = _numpy(pooling(dict(found))["sentence_embedding"])  # (batch, width)
            repeats = pooled.shape[1] // found["token_embeddings"].shape[2]
            tokens = np.tile(_numpy(found["token_embeddings"]), repeats)  # (batch, length, width)
            kept = self._kept(found, tokens, items[0].image is None, side)
        moved = zip(tokens, kept, pooled, strict=True)
        return [one[mask] + (own - one[mask].mean(0)) for one, mask, own in moved]

    def _run(self, features: dict[str, Any], side: str) -> dict[str, Any]:
        found: dict[str, Any] = self.model(batch_to_device(features, self.device), task=side)
        return found

    def _kept(self, found: Mapping[str, Any], tokens: Vectors, is_text: bool, side: str) -> Any:
        """Which tokens windows are made of: bool (batch, length).

        Padding is left out; of texts also prompt and special tokens, unless there is nothing else.
        """
        mask = found.get("attention_mask")
        if mask is None or mask.shape != tokens.shape[:2]:
            return np.ones(tokens.shape[:2], bool)
        real = mask.bool().cpu().numpy()
        if not is_text:  # the places of a picture's patches are special tokens too
            return real
        special = torch.tensor(sorted(set(self._transformer.tokenizer.all_special_ids)))
        own = real & ~torch.isin(found["input_ids"].cpu(), special).numpy()
        if found.get("prompt_length"):
            own &= np.cumsum(own, 1) > self._prompt_tokens(side)
        return np.where(own.any(1, keepdims=True), own, real)

    def _prompt_tokens(self, side: str) -> int:
        """Tokens of the prompt; a space at its end often joins the text's first word."""
        prompt = (self._prompt(side) or "").rstrip()
        return len(self._transformer.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def _parts(self, item: Item, side: str) -> Vectors:
        """The vectors (parts, width) of a picture and its parts; of a query's the picture's."""
        image = item.prepare_image(self._max_pixels or 2**62)
        assert image is not None
        most = 1 if side == "query" else min(self.document_vectors, _MOST_PARTS)
        parts = [Item("", part) for part in picture_parts(image, most)]
        batches = [parts[i : i + _PARTS_AT_ONCE] for i in range(0, len(parts), _PARTS_AT_ONCE)]
        found = [self._run(self._features(some, side), side) for some in batches]
        return np.concatenate([_numpy(one["sentence_embedding"]) for one in found])

    def _finished(self, pooled: Vectors) -> Vectors:
        """Unit vectors (n, D) of pooled ones (n, width): through the modules after the pooling."""
        with self._lock, torch.inference_mode():
            kinds = (one.dtype for module in self._finish for one in module.parameters())
            vectors = torch.from_numpy(pooled).to(self.device, next(kinds, torch.float32))
            features: dict[str, Any] = {"sentence_embedding": vectors}
            for module in self._finish:
                features = module(features)
            found = _numpy(features["sentence_embedding"])[:, : self.dimension]
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        unit: Vectors = found / np.maximum(lengths, _LEAST)
        return unit


def picture_parts(image: Image.Image, most: int) -> list[Image.Image]:
    """A picture, then its parts, level by level: each level halves the longer sides of the last.

    A level whose parts would have a side below 64 pixels is left out, and so is what is beyond
    ``most`` parts.
    """
    level, found = [image], [image]
    while len(found) < most:
        level = [half for one in level for half in _halves(one)]
        if min(min(one.size) for one in level) < _LEAST_SIDE:
            break
        found += level
    return found[:most]


def _halves(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    width, height = image.size
    if width >= height:
        middle = width // 2
        return image.crop((0, 0, middle, height)), image.crop((middle, 0, width, height))
    middle = height // 2
    return image.crop((0, 0, width, middle)), image.crop((0, middle, width, height))


def _query_means(tokens: Vectors, count: int) -> Vectors:
    """A query's pooled vectors (count, width): its own, then windows, half as far from it."""
    windows = window_means(tokens, count)
    moved: Vectors = windows[:1] + _SPREAD * (windows - windows[:1])
    return moved


def _numpy(values: torch.Tensor) -> Vectors:
    found: Vectors = values.float().cpu().numpy()
    return found


def _check_modules(model: SentenceTransformer, name: str) -> None:
    """Refuse models without token outputs or without a tokenizer of transformers."""
    first = model[0]
    if isinstance(first, Router) or not callable(getattr(first, "tokenizer", None)):
        raise CheckpointError(
            f"{name} starts with the module {type(first).__name__}, which gives no token outputs "
            f"to make windows of; models that start with a transformer work"
        )


def _pad_as_trained(transformer: Any) -> None:
    """Pad texts to the full length where the model knows no others and its files do not say so."""
    config = getattr(transformer, "config", None)
    if getattr(config, "model_type", "") in _TEXT_TOWERS_OF_FIXED_LENGTH:
        length = config.get_text_config().max_position_embeddings  # type: ignore[union-attr]
        given = transformer.processing_kwargs
        text = {"padding": "max_length", "max_length": length, **given.get("text", {})}
        transformer.processing_kwargs = {**given, "text": text}
