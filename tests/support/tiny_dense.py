"""Tiny randomly initialised models of one vector an input, as sentence-transformers writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    Qwen3Config,
    Qwen3Model,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.clip.processing_clip import CLIPProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip.processing_siglip import SiglipProcessor

from metaembed_rag.model.token_encoder import without_video
from tests.support import tiny_backbones as tiny

WIDTH, PROJECTED = 32, 16
PROMPTS = {"query": "Find: ", "passage": "Page: "}


def bert(folder: Path) -> Path:
    """Mean pooling and normalisation, as MiniLM and e5; 64 tokens, no prompts."""
    return _modules(folder, _bert(folder.with_name("bert_backbone")), "mean")


def cls_bert(folder: Path) -> Path:
    """Pooling by the first token, a projection that is not linear, prompts; as bge and LaBSE."""
    torch.manual_seed(0)
    backbone = _bert(folder.with_name("cls_backbone"))
    return _modules(folder, backbone, "cls", Dense(WIDTH, PROJECTED), prompts=PROMPTS)


def decoder(folder: Path) -> Path:
    """Causal, pooling by the last token, an instruction before queries; as Qwen3-Embedding."""
    special = ["<|endoftext|>", "<|im_end|>"]
    tok = tiny.tokenizer(special, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    tok.padding_side, tok.model_max_length = "left", 64
    config = Qwen3Config(**tiny._text(len(tok)), head_dim=8)
    backbone = tiny._write(folder.with_name("decoder_backbone"), Qwen3Model(config), tok)
    return _modules(folder, backbone, "lasttoken", prompts={"query": "Find the page: "})


def clip(folder: Path) -> Path:
    """Two towers in sentence-transformers' layout: one module, no pooling after it."""
    model = SentenceTransformer(
        modules=[Transformer(str(plain_clip(folder.with_name("plain_clip"))))], device="cpu"
    )
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def plain_clip(folder: Path) -> Path:
    """transformers' CLIP, without ``modules.json``."""
    roles = {"pad_token": "[PAD]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    tok = tiny.tokenizer(["[PAD]", "[CLS]", "[SEP]"], frame=True, **roles)
    tok.model_max_length = 32
    config = CLIPConfig(
        text_config=_tower(vocab_size=len(tok), max_position_embeddings=32, eos_token_id=2),
        vision_config=_tower(image_size=28, patch_size=7),
        projection_dim=PROJECTED,
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    return tiny._write(folder, CLIPModel(config), CLIPProcessor(images, tok))


def siglip(folder: Path) -> Path:
    """transformers' SigLIP, without ``modules.json``: texts are padded to 32 tokens."""
    tok = tiny.tokenizer(["<pad>", "</s>"], pad_token="<pad>", eos_token="</s>")
    tok.model_max_length, tok.model_input_names = 32, ["input_ids"]
    config = SiglipConfig(
        text_config=_tower(vocab_size=len(tok), max_position_embeddings=32, projection_size=WIDTH),
        vision_config=_tower(image_size=28, patch_size=7),
    )
    images = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    return tiny._write(folder, SiglipModel(config), SiglipProcessor(images, tok))


def vision_language(folder: Path) -> Path:
    """A vision-language backbone with pooling by the last token, as Qwen3-VL-Embedding."""
    return _modules(folder, tiny.qwen2_5_vl(folder.with_name("vl_backbone")), "lasttoken")


def _tower(**more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2}
    return {**sizes, "num_attention_heads": 2, **more}


def _bert(folder: Path) -> Path:
    roles = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tok = tiny.tokenizer(["[PAD]", "[CLS]", "[SEP]"], frame=True, **roles)
    tok.model_max_length = 64
    config = BertConfig(vocab_size=len(tok), max_position_embeddings=64, **_sizes())
    return tiny._write(folder, BertModel(config), tok)


def _sizes() -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }


def _modules(
    folder: Path, backbone: Path, mode: Any, *projections: Dense, prompts: Any = None
) -> Path:
    with without_video():
        transformer = Transformer(str(backbone))
    modules = [transformer, Pooling(WIDTH, mode), *projections, Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu", prompts=prompts)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


TEXT: dict[str, Callable[[Path], Path]] = {"bert": bert, "cls_bert": cls_bert, "decoder": decoder}
TWO_TOWERS: dict[str, Callable[[Path], Path]] = {
    "clip": clip,
    "plain_clip": plain_clip,
    "siglip": siglip,
}
ALL = TEXT | TWO_TOWERS | {"vision_language": vision_language}
