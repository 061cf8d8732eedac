"""Tiny randomly initialised late-interaction checkpoints in the layouts that the public ones have.

Each function writes a folder: transformers' own retrievers (ColPali, ColQwen2, ColModernVBert),
sentence-transformers' modules (ColQwen2.5, ColQwen3, a text ColBERT), PyLate, Stanford's ColBERT.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    ColModernVBertConfig,
    ColModernVBertForRetrieval,
    ColPaliConfig,
    ColPaliForRetrieval,
    ColQwen2Config,
    ColQwen2ForRetrieval,
    ModernVBertConfig,
    PaliGemmaConfig,
    Qwen2VLConfig,
)
from transformers.models.colmodernvbert.processing_colmodernvbert import ColModernVBertProcessor
from transformers.models.colpali.processing_colpali import ColPaliProcessor
from transformers.models.colqwen2.processing_colqwen2 import ColQwen2Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from metaembed_rag.model.token_encoder import without_video
from tests.support import tiny_backbones as tiny

DIMENSION = 16


def colpali(folder: Path) -> Path:
    """transformers' ColPali on PaliGemma: 16 image tokens, ten augmentation tokens a query."""
    source = tiny.paligemma(folder.with_name("paligemma"))
    images = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    images.image_seq_length = 16
    config = ColPaliConfig(
        vlm_config=PaliGemmaConfig.from_pretrained(source), embedding_dim=DIMENSION
    )
    processor = ColPaliProcessor(images, AutoTokenizer.from_pretrained(source))
    return tiny._write(folder, ColPaliForRetrieval(config), processor)


def colqwen2(folder: Path) -> Path:
    """transformers' ColQwen2: images of any size."""
    tok = tiny._qwen_tokenizer()
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 2}
    backbone = Qwen2VLConfig(
        text_config=tiny._text(len(tok), rope_parameters=rope),
        vision_config=vision,
        **tiny._qwen_ids(tok),
    )
    images = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=28 * 28 * 16)
    config = ColQwen2Config(vlm_config=backbone, embedding_dim=DIMENSION)
    return tiny._write(folder, ColQwen2ForRetrieval(config), ColQwen2Processor(images, tok))


def colmodernvbert(folder: Path) -> Path:
    """transformers' ColModernVBert: bidirectional, images in tiles."""
    source = tiny.modernvbert(folder.with_name("modernvbert"))
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
    )
    prompt = "User:<image>Describe the image.<end_of_utterance>\nAssistant:"
    processor = ColModernVBertProcessor(
        images, AutoTokenizer.from_pretrained(source), image_seq_len=4, visual_prompt_prefix=prompt
    )
    config = ColModernVBertConfig(
        vlm_config=ModernVBertConfig.from_pretrained(source), embedding_dim=DIMENSION
    )
    return tiny._write(folder, ColModernVBertForRetrieval(config), processor)


def colqwen2_5(folder: Path) -> Path:
    """sentence-transformers' layout on Qwen2.5-VL, with a chat template."""
    return _modules(folder, tiny.qwen2_5_vl(folder.with_name("qwen2_5_vl")))


def colqwen3(folder: Path) -> Path:
    """sentence-transformers' layout on Qwen3-VL, with a chat template."""
    return _modules(folder, tiny.qwen3_vl(folder.with_name("qwen3_vl")))


def colbert(folder: Path) -> Path:
    """A text ColBERT in sentence-transformers' layout: expansion to 12 tokens, a skip list."""
    return _modules(
        folder,
        tiny.modernbert(folder.with_name("modernbert")),
        MultiVectorMask(skiplist_words=[".", ","]),
        document_length=64,
        query_expansion={"strategy": "fixed", "length": 12, "attend": False},
    )


def pylate(folder: Path) -> Path:
    """A text ColBERT as PyLate 1 saved it: lengths, prefixes and no mask module."""
    colbert(folder)
    for name in ("2_MultiVectorMask", "3_Normalize"):
        for file in (folder / name).iterdir():
            file.unlink()
        (folder / name).rmdir()
    modules = json.loads((folder / "modules.json").read_text())[:2]
    modules[1]["type"] = "pylate.models.Dense.Dense"
    (folder / "modules.json").write_text(json.dumps(modules))
    values = {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] "}
    values |= {"query_length": 12, "document_length": 64, "attend_to_expansion_tokens": False}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(values))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 63}))
    return folder


def stanford(folder: Path) -> Path:
    """A BERT with its projection beside it, as Stanford's ColBERT v2."""
    roles = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
    tok = tiny.tokenizer(special, frame=True, mask_token="[MASK]", **roles)
    config = BertConfig(
        vocab_size=len(tok), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128,
    )  # fmt: skip
    tiny._write(folder, BertModel(config), tok)
    projected = load_file(folder / "model.safetensors")
    projected["linear.weight"] = torch.randn(DIMENSION, 32, generator=torch.manual_seed(0))
    save_file(projected, folder / "model.safetensors", metadata={"format": "pt"})
    described = json.loads((folder / "config.json").read_text())
    described["architectures"] = ["HF_ColBERT"]
    (folder / "config.json").write_text(json.dumps(described))
    metadata = {"query_maxlen": 12, "doc_maxlen": 64, "mask_punctuation": True}
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return folder


def _modules(folder: Path, backbone: Path, mask: Any = None, **lengths: Any) -> Path:
    with without_video():
        transformer = Transformer(str(backbone), **lengths)
    torch.manual_seed(0)
    projection = Dense(
        32, DIMENSION, False, torch.nn.Identity(), module_input_name="token_embeddings"
    )
    model = MultiVectorEncoder(
        modules=[transformer, projection, mask or MultiVectorMask(), Normalize("token_embeddings")],
        device="cpu",
        prompts={"query": "Query: ", "document": ""} if mask is None else None,
    )
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


TEXT: dict[str, Callable[[Path], Path]] = {
    "colbert": colbert,
    "pylate": pylate,
    "stanford": stanford,
}
VISION: dict[str, Callable[[Path], Path]] = {
    "colpali": colpali,
    "colqwen2": colqwen2,
    "colmodernvbert": colmodernvbert,
    "colqwen2_5": colqwen2_5,
    "colqwen3": colqwen3,
}
ALL = TEXT | VISION
PUNCTUATION = string.punctuation
