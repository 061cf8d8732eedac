"""A transformers backbone as the first module of a ``MultiVectorEncoder``.

It turns inputs into token ids, puts one side's Meta Tokens after the end of each input, and runs
the model. Batches are padded on the **right**, after the Meta Tokens, and their positions travel
with the batch: a causal backbone then never sees padding, a bidirectional one masks it, and every
position counts from the start of its own row (RoPE, mrope, learned positions alike), so that a
batch gives what its rows give one by one.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from stat import S_IMODE
from typing import Any

import torch
from sentence_transformers.base.modules import InputModule
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from metaembed_rag.errors import CheckpointError, ModalityError
from metaembed_rag.model import readout
from metaembed_rag.model.inputs import Item, read_input
from metaembed_rag.model.meta_tokens import meta_token_ids
from metaembed_rag.model.passes import Passes, split_item
from metaembed_rag.model.settings import CAUSAL, SIDES, Settings
from metaembed_rag.model.template import break_tokens, token_pattern

_CAUSAL = CAUSAL | {readout.ReadoutModel.config_class.model_type}
"""Model types in which a Meta Token never sees a later one."""

_PREFIX = frozenset({"paligemma"})
"""Model types that read their input in both directions (token type 0) and go on causally (1),
which is where Meta Tokens stand. Token types are always given: without them transformers 5.23
masks a padded batch causally and a lone text not at all (vectors off by 0.98)."""


class Backbone(InputModule):
    """A text-only or vision-language model with its tokenizer or processor.

    Args:
        model: A headless transformers model whose output has ``last_hidden_state``.
        processor: Its processor (vision-language) or tokenizer (text).
        settings: Lengths, numbers of vectors and template.

    Raises:
        CheckpointError: Meta Tokens are missing from the vocabulary, or the longest input would
            not fit into the model's positions.
    """

    config_file_name = "metaembed.json"
    save_in_root = True

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin | PreTrainedTokenizerBase,
        settings: Settings,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model: Any = model
        self.processor: Any = processor
        self.settings = settings
        self.tokenizer: PreTrainedTokenizerBase = tokenizer_of(processor)
        self.tokenizer.padding_side = "right"
        self.meta_ids = {
            side: meta_token_ids(self.tokenizer, side, settings.vectors(side)) for side in SIDES
        }
        self._forward_names = set(inspect.signature(model.forward).parameters)
        self._harmless = functools.partial(break_tokens, token_pattern(control_tokens(processor)))
        self._check_room()
        if isinstance(model, readout.ReadoutModel):
            model.check_meta_tokens([one for side in SIDES for one in self.meta_ids[side]])

    @property
    def modalities(self) -> list[Any]:
        """What it reads, in sentence-transformers' words: ``("image", "text")`` is both fused."""
        return ["text", "image", ("image", "text")] if self.reads_images else ["text"]

    @property
    def reads_images(self) -> bool:
        """Whether it is a vision-language backbone."""
        return hasattr(self.processor, "image_processor")

    @property
    def reads(self) -> frozenset[str]:
        """``{"text"}``, or ``{"text", "image", "fused"}`` of a vision-language backbone."""
        return frozenset({"text", "image", "fused"} if self.reads_images else {"text"})

    @property
    def is_causal(self) -> bool:
        """Whether a Meta Token never sees a later one, so that r vectors cost r tokens only."""
        text = self.model.config.get_text_config()
        turned = getattr(text, "use_bidirectional_attention", None)
        causal = getattr(text, "is_causal", True) and not turned
        return self._is_prefix or (self.model.config.model_type in _CAUSAL and causal)

    @property
    def max_seq_length(self) -> int:
        """The longest text of a candidate in tokens, without what is added to it."""
        return self.settings.max_document_tokens

    def get_embedding_dimension(self) -> int:
        """D, the hidden size of the language model."""
        return int(self.model.config.get_text_config().hidden_size)

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        task: str | None = None,
        vectors: int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Features of a batch of one modality.

        Args:
            inputs: Items, or anything that :func:`~metaembed_rag.model.inputs.read_input` reads.
            prompt: Put before each text.
            task: ``"query"`` appends the query side's Meta Tokens; else the candidate side's.
            vectors: Append only the first ones (for causal backbones); None appends all.
            kwargs: ``max_length`` replaces the side's longest text.

        Returns:
            ``input_ids`` and ``attention_mask`` (batch, length), ``meta_positions`` (batch, r),
            and what the backbone needs for images.

        Raises:
            ModalityError: An input is empty or unreadable, or modalities are mixed.
        """
        side = "query" if task == "query" else "document"
        items = [
            read_input(value, modalities=self.reads, where=f"input {i}")
            for i, value in enumerate(inputs)
        ]
        kinds = sorted({item.modality for item in items})
        if len(kinds) != 1:
            raise ModalityError(
                f"one batch mixes {' and '.join(kinds)} inputs, which some backbones compute "
                f"wrongly; use MetaEmbedEncoder.encode_query or encode_document, which group them"
            )
        limit = kwargs.get("max_length") or self.settings.max_tokens(side)
        texts = [(prompt or "") + self._harmless(item.text) for item in items]
        images = [item.prepare_image(self.settings.max_pixels) for item in items if item.image]
        if self.settings.template is None:
            most = limit + self._special_tokens
            features = self._tokenize(texts, truncation=True, max_length=most)
        else:
            cut = cut_texts(self.tokenizer, texts, limit)
            prompts = [self.settings.template.render(kinds[0], text) for text in cut]
            features = self._process(prompts, images)
        return self._append_meta_tokens(features, self.meta_ids[side][:vectors])

    def passes(self, item: Item, most: int) -> Passes:
        """How a candidate is read in at most this many passes of ``max_document_tokens`` each."""
        window = self.settings.max_document_tokens
        return split_item(item, self.tokenizer, window, most, text=self._harmless(item.text))

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Run the model: adds ``token_embeddings``, the last hidden states (batch, length, D)."""
        inputs = {name: value for name, value in features.items() if name in self._forward_names}
        for name, value in inputs.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                inputs[name] = value.to(self.model.dtype)
        if "use_cache" in self._forward_names:
            inputs["use_cache"] = False
        features["token_embeddings"] = self.model(**inputs, return_dict=True).last_hidden_state
        return features

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write weights, vocabulary, processor and ``metaembed.json``."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:  # or the last call's longest text would be written down with it
            backend.no_truncation()
            backend.no_padding()
        self.model.save_pretrained(output_path)
        self.processor.save_pretrained(output_path)
        text = json.dumps(self.settings.to_dict(), indent=2, ensure_ascii=False)
        settings = Path(output_path, self.config_file_name)
        settings.write_text(text + "\n", encoding="utf-8")
        for weights in Path(output_path).glob("*.safetensors"):
            weights.chmod(
                S_IMODE(settings.stat().st_mode)
            )  # they are written for their owner alone

    @classmethod
    def load(  # type: ignore[override]
        cls, model_name_or_path: str, model_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Backbone:
        """Read what :meth:`save` wrote; sentence-transformers calls this for ``modules.json``.

        Args:
            model_name_or_path: A folder or a hub id.
            model_kwargs: For ``AutoModel.from_pretrained``, such as ``dtype``.
            kwargs: ``token``, ``cache_folder``, ``revision``, ``local_files_only``.

        Raises:
            CheckpointError: No ``metaembed.json``, or weights are missing from the files.
        """
        hub = {
            name: kwargs[name]
            for name in ("token", "cache_folder", "revision", "local_files_only")
            if kwargs.get(name) is not None
        }
        values = cls.load_config(model_name_or_path, **hub)
        if not values:
            raise CheckpointError(
                f"{model_name_or_path} has no metaembed.json, so it holds no MetaEmbed checkpoint; "
                f"to start from a plain backbone use MetaEmbedEncoder.from_backbone"
            )
        if "cache_folder" in hub:
            hub["cache_dir"] = hub.pop("cache_folder")
        options = {"dtype": "auto", **(model_kwargs or {})}
        model, processor = load_model(model_name_or_path, hub=hub, **options)
        return cls(model, processor, Settings.from_dict(values))

    @property
    def _is_prefix(self) -> bool:
        return self.model.config.model_type in _PREFIX

    @functools.cached_property
    def _special_tokens(self) -> int:
        return int(self.tokenizer.num_special_tokens_to_add(pair=False))

    def _tokenize(self, texts: list[str], **options: Any) -> dict[str, Any]:
        return dict(self.tokenizer(texts, padding=True, return_tensors="pt", **options))

    def _process(self, prompts: list[str], images: list[Any]) -> dict[str, Any]:
        bos = self.tokenizer.bos_token
        specials = not (bos and prompts[0].startswith(bos))
        if not images:  # PaliGemma's processor refuses text alone; tokens are the same
            features = self._tokenize(prompts, add_special_tokens=specials)
            if self._is_prefix:
                features["token_type_ids"] = torch.zeros_like(features["input_ids"])
            return features
        batch = self.processor(
            text=prompts,
            images=[[image] for image in images],
            padding=True,
            padding_side="right",
            add_special_tokens=specials,
            return_tensors="pt",
        )
        return dict(batch)

    def _append_meta_tokens(self, features: dict[str, Any], ids: list[int]) -> dict[str, Any]:
        mask: Tensor = features["attention_mask"]
        rows, width, lengths = len(mask), mask.shape[1], mask.sum(1)
        positions = lengths[:, None] + torch.arange(len(ids))  # (rows, r)
        row = torch.arange(rows)[:, None]
        values: dict[str, Any] = {"input_ids": torch.tensor(ids), "attention_mask": 1}
        zero = 0  # a literal beside "token" would be taken for a password (bandit, B105)
        values |= {"mm_token_type_ids": zero, "token_type_ids": int(self._is_prefix)}
        if "cross_attention_mask" in features:  # Mllama: look where the last token looks
            last = features["cross_attention_mask"][row, lengths[:, None] - 1]
            values["cross_attention_mask"] = last  # (rows, 1, images, tiles)
        for name in values.keys() & features.keys():
            old = features[name]  # (rows, width, ...)
            fill = self.tokenizer.pad_token_id if name == "input_ids" else 0
            grown = old.new_full((rows, width + len(ids), *old.shape[2:]), fill or 0)
            grown[:, :width] = old
            grown[row, positions] = torch.as_tensor(values[name], dtype=grown.dtype)
            features[name] = grown
        features["meta_positions"] = positions
        return features

    def _check_room(self) -> None:
        room = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        around = self._special_tokens
        if self.settings.template is not None:
            around += len(self.tokenizer(self.settings.template.text)["input_ids"])
        for side in SIDES:
            needed = self.settings.max_tokens(side) + self.settings.vectors(side) + around
            if room is not None and 0 < room < needed:
                raise CheckpointError(
                    f"the longest {side} needs {needed} positions (text, Meta Tokens and what "
                    f"stands around them), but the backbone has {room}; choose a smaller "
                    f"max_{side}_tokens"
                )


def tokenizer_of(processor: Any) -> PreTrainedTokenizerBase:
    """The tokenizer: the processor's own, or the thing itself."""
    tokenizer: PreTrainedTokenizerBase = getattr(processor, "tokenizer", processor)
    return tokenizer


def control_tokens(processor: Any) -> list[str]:
    """What must not be read as such in a text: special tokens, and the image placeholder.

    Other tokens that were added (Gemma's runs of newlines) are ordinary text.
    """
    added = getattr(tokenizer_of(processor), "added_tokens_decoder", {}).values()
    tokens = [token.content for token in added if token.special]
    return [*tokens, str(getattr(processor, "image_token", ""))]


def cut_texts(tokenizer: Any, texts: list[str], limit: int) -> list[str]:
    """Each text's first ``limit`` tokens as text, so that what stands around it stays whole."""
    # A token covers at least one byte: shorter texts need no look.
    long = [i for i, text in enumerate(texts) if len(text.encode()) > limit]
    if not long:
        return texts
    batch = tokenizer(
        [texts[i] for i in long],
        add_special_tokens=False,
        truncation=True,
        max_length=limit,
        return_offsets_mapping=True,
    )
    cut = list(texts)
    for i, offsets in zip(long, batch["offset_mapping"], strict=True):
        if len(offsets) == limit:
            cut[i] = cut[i][: offsets[-1][1]]
    return cut


def load_model(name_or_path: str, *, hub: dict[str, Any], **options: Any) -> tuple[Any, Any]:
    """A headless model with its processor (vision-language, without video) or tokenizer (text).

    ``hub`` holds what finds them (``token``, ``revision``, ``cache_dir``, ``local_files_only``);
    ``options``, such as ``dtype``, are for ``AutoModel.from_pretrained``.

    Raises:
        CheckpointError: The files lack some of the weights, which transformers would fill with
            random numbers. A pooler may be missing: it is not used.
    """
    hub = {**hub, "trust_remote_code": False}  # where it is not said, transformers asks on stdin
    config = AutoConfig.from_pretrained(name_or_path, **hub)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    model, report = AutoModel.from_pretrained(
        name_or_path, config=config, output_loading_info=True, **options, **hub
    )
    if missing := sorted(key for key in report["missing_keys"] if "pooler" not in key):
        raise CheckpointError(
            f"{name_or_path} lacks {len(missing)} of the model's weights, such as {missing[0]}; "
            f"copy or download it again"
        )
    reads_images = getattr(config, "vision_config", None) is not None
    kind = processor_class(config) if reads_images else AutoTokenizer
    return model.eval(), kind.from_pretrained(name_or_path, **hub)


def processor_class(config: PreTrainedConfig) -> Any:
    """What loads the processor of such a model: where that has a video part, without it."""
    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    has_video = kind is not None and "video_processor" in kind.get_attributes()
    return image_only(kind) if has_video else AutoProcessor


@functools.cache
def image_only(kind: Any) -> type[ProcessorMixin]:
    """The processor class without its video part, which needs torchvision.

    It keeps its name, so that what it saves is loaded elsewhere by the stock class.
    """
    wanted = [part for part in kind.get_attributes() if part != "video_processor"]
    members = {"get_attributes": classmethod(lambda cls: wanted), "__module__": kind.__module__}
    return type(kind.__name__, (kind,), members)
