"""Tiny randomly initialised backbones, made from configurations: no weights, no network.

Each function writes a folder as the hub would serve it (configuration, weights, tokenizer,
processor, chat template), so the tests walk the same path as a user with a real backbone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    Idefics3Config,
    Idefics3Model,
    MllamaConfig,
    MllamaModel,
    ModernBertConfig,
    ModernBertModel,
    ModernVBertConfig,
    ModernVBertModel,
    PaliGemmaConfig,
    PaliGemmaModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLModel,
    Qwen3VLConfig,
    Qwen3VLModel,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
from transformers.models.mllama.processing_mllama import MllamaProcessor
from transformers.models.paligemma.processing_paligemma import PaliGemmaProcessor
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from metaembed_rag.model.backbones import image_only

WORDS = """revenue by region grew in the second quarter while costs fell
a page shows a chart with bars and a legend of years the fox jumps over the lazy dog"""

IM_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)
IDEFICS_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}:"
    "{% for c in m.content %}{% if c.type == 'image' %}<image>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
)
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{% for c in m.content %}{% if c.type == 'image' %}<|image|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<|eot_id|>{% endfor %}"
)


def tokenizer(special: list[str], *, frame: bool = False, **roles: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 400 tokens; ``frame`` puts [CLS] and [SEP] around a text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([WORDS], trainer)
    if frame:
        ids = {token: backend.token_to_id(token) for token in ("[CLS]", "[SEP]")}
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=list(ids.items())
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def _write(folder: Path, model: Any, processor: Any) -> Path:
    torch.manual_seed(0)
    with torch.no_grad():
        # At an initial scale of 0.02 two layers hardly mix tokens: 0.2 lets differences show.
        # Gates and projections that start at zero (Mllama) get values, or images had no effect.
        for parameter in model.parameters():
            if parameter.ndim > 1 or not parameter.any():
                parameter.normal_(0, 0.2)
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _text(vocabulary: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 1,
        **more,
    }


def modernbert(folder: Path) -> Path:
    """Text only; local attention over 8 tokens to each side, without a chat template."""
    tok = tokenizer(
        ["[PAD]", "[CLS]", "[SEP]", "[MASK]"],
        frame=True,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    config = ModernBertConfig(
        **_text(len(tok), num_hidden_layers=3), local_attention=16, cls_token_id=1, sep_token_id=2
    )
    return _write(folder, ModernBertModel(config), tok)


def _qwen_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"]
    special += ["<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    return tokenizer(special, pad_token="<|endoftext|>", eos_token="<|im_end|>")


def _qwen_ids(tok: PreTrainedTokenizerFast) -> dict[str, int]:
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    return {key: tok.convert_tokens_to_ids(name) for key, name in names.items()}


def qwen2_5_vl(folder: Path) -> Path:
    """Causal, mrope, images of any size."""
    tok = _qwen_tokenizer()
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    # 100 rows more than tokens, as Qwen pads its vocabulary: no resizing happens.
    text = _text(len(tok) + 100, rope_parameters=rope)
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
        "out_hidden_size": 32, "fullatt_block_indexes": [1], "window_size": 56,
    }  # fmt: skip
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **_qwen_ids(tok))
    images = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=28 * 28 * 16)
    processor = image_only(Qwen2_5_VLProcessor)(images, tok, chat_template=IM_TEMPLATE)
    return _write(folder, Qwen2_5_VLModel(config), processor)


def qwen3_vl(folder: Path) -> Path:
    """Causal, interleaved mrope, deepstack: image features enter several layers."""
    tok = _qwen_tokenizer()
    rope = {
        "rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True,
        "rope_theta": 10000.0,
    }  # fmt: skip
    text = _text(len(tok), rope_parameters=rope, head_dim=8)
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
        "out_hidden_size": 32, "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **_qwen_ids(tok))
    images = Qwen2VLImageProcessorPil(patch_size=16, min_pixels=32 * 32, max_pixels=32 * 32 * 16)
    processor = image_only(Qwen3VLProcessor)(images, tok, chat_template=IM_TEMPLATE)
    return _write(folder, Qwen3VLModel(config), processor)


def _idefics_processor(tok: PreTrainedTokenizerFast) -> Idefics3Processor:
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
    )
    return Idefics3Processor(images, tok, image_seq_len=4, chat_template=IDEFICS_TEMPLATE)


_IDEFICS_SPECIAL = [
    "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>",
    *(f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)),
]  # fmt: skip


def idefics3(folder: Path) -> Path:
    """Causal (Llama); an image is cut into tiles, so that their number differs in a batch."""
    special = ["<|end_of_text|>", "<|im_start|>", *_IDEFICS_SPECIAL]
    roles = {"pad_token": "<|end_of_text|>", "bos_token": "<|im_start|>"}
    tok = tokenizer(special, eos_token="<end_of_utterance>", **roles)
    config = Idefics3Config(
        text_config={"model_type": "llama", **_text(len(tok))},
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 7,
        },
        image_token_id=tok.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )  # fmt: skip
    return _write(folder, Idefics3Model(config), _idefics_processor(tok))


def modernvbert(folder: Path) -> Path:
    """Bidirectional; its tokenizer puts [CLS] and [SEP] around the chat template."""
    special = ["[PAD]", "[CLS]", "[SEP]", "<|im_start|>", *_IDEFICS_SPECIAL]
    roles = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tok = tokenizer(special, frame=True, **roles)
    config = ModernVBertConfig(
        text_config={
            "model_type": "modernbert", **_text(len(tok), num_hidden_layers=3),
            "local_attention": 16, "cls_token_id": 1, "sep_token_id": 2,
        },
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 7,
        },
        image_token_id=tok.convert_tokens_to_ids("<image>"),
        pixel_shuffle_factor=2,
    )  # fmt: skip
    return _write(folder, ModernVBertModel(config), _idefics_processor(tok))


def mllama(folder: Path) -> Path:
    """Causal; images enter by gated cross-attention and take one token."""
    special = ["<|finetune_right_pad_id|>", "<|begin_of_text|>", "<|eot_id|>", "<|image|>"]
    special += ["<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>"]
    roles = {"pad_token": special[0], "bos_token": special[1], "eos_token": special[2]}
    tok = tokenizer(special, **roles)
    config = MllamaConfig(
        text_config=_text(len(tok), num_hidden_layers=3, cross_attention_layers=[1]),
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_global_layers": 1, "attention_heads": 2, "image_size": 28, "patch_size": 7,
            "vision_output_dim": 32, "intermediate_layers_indices": [0],
        },
        image_token_index=tok.convert_tokens_to_ids("<|image|>"),
    )  # fmt: skip
    images = MllamaImageProcessorPil(size={"height": 28, "width": 28}, max_image_tiles=4)
    processor = MllamaProcessor(images, tok, chat_template=LLAMA_TEMPLATE)
    return _write(folder, MllamaModel(config), processor)


def paligemma(folder: Path) -> Path:
    """Reads its input in both directions; no chat template; a processor that refuses mere text."""
    tok = tokenizer(
        ["<pad>", "<bos>", "<eos>", "<image>"],
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
    )
    images = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, tok)  # adds 1,152 location tokens
    config = PaliGemmaConfig(
        text_config={"model_type": "gemma", **_text(len(tok)), "head_dim": 8},
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 7,
            "vision_use_head": False, "projection_dim": 32,
        },
        image_token_index=tok.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )  # fmt: skip
    return _write(folder, PaliGemmaModel(config), processor)


TEXT_ONLY: dict[str, Callable[[Path], Path]] = {"modernbert": modernbert}
VISION: dict[str, Callable[[Path], Path]] = {
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "idefics3": idefics3,
    "modernvbert": modernvbert,
    "mllama": mllama,
    "paligemma": paligemma,
}
ALL = TEXT_ONLY | VISION
CAUSAL = ("qwen2_5_vl", "qwen3_vl", "idefics3", "mllama", "paligemma")
