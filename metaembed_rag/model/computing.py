"""What :class:`~metaembed_rag.model.encoder.MetaEmbedEncoder` does with torch.

It stands apart so that an encoder behind an address is had where torch is not installed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize
from sentence_transformers.util import batch_to_device

from metaembed_rag.model.backbones import Backbone, load_model, tokenizer_of
from metaembed_rag.model.checkpoints import check_backbone_folder
from metaembed_rag.model.fingerprint import fingerprint, weights_state
from metaembed_rag.model.former import load_version
from metaembed_rag.model.inputs import Item
from metaembed_rag.model.loading import (
    DType,
    as_dtype,
    cast,
    check_threads,
    explained,
    placement,
    quiet,
    weights,
)
from metaembed_rag.model.meta_tokens import MetaTokens, add_meta_tokens
from metaembed_rag.model.pooling import Vectors
from metaembed_rag.model.settings import Settings
from metaembed_rag.model.template import Template, template_of
from metaembed_rag.pages.folders import expanded


def assembled(
    backbone: Backbone, name: str, device: str | None, dtype: DType
) -> tuple[MultiVectorEncoder, str, str]:
    """Backbone, Meta Tokens and normalisation as one model on a device.

    Returns:
        The model; and where its weights are rounded the fingerprint of those that are stored with
        the state of the weights it belongs to, which name the encoder, else empty texts.
    """
    check_threads(name)
    target, wanted = placement(device, dtype)
    rounds = wanted not in (torch.float32, backbone.model.dtype)
    stored = fingerprint(backbone) if rounds else ""
    cast(backbone.model, wanted)
    meta_tokens = MetaTokens()  # type: ignore[no-untyped-call]
    modules: list[torch.nn.Module] = [backbone, meta_tokens, Normalize("token_embeddings")]
    with quiet():
        model = MultiVectorEncoder(modules=modules, device=str(target))
    model.eval()
    return model, stored, weights_state(backbone) if rounds else ""


def loaded(folder: Path, version: str | None) -> tuple[Backbone, str]:
    """The backbone that a folder holds, or its version of this fingerprint; and the whole one.

    Raises:
        CheckpointError: It cannot be loaded.
    """
    with quiet(), explained(folder):
        if version is None:
            return Backbone.load(str(folder), local_files_only=True), ""
        return load_version(folder, version)


def with_meta_tokens(
    name_or_path: str | os.PathLike[str], settings: Settings, seed: int, template: Template | None
) -> Backbone:
    """A plain backbone with Meta Tokens, as ``MetaEmbedEncoder.from_backbone`` explains it.

    Raises:
        CheckpointError: The backbone cannot be loaded, or has no room for such inputs.
    """
    name = os.fspath(name_or_path)
    folder = expanded(name)
    if folder.is_dir():
        check_backbone_folder(folder)
        name_or_path = str(folder)
    with quiet(), explained(name):
        hub = {"local_files_only": folder.is_dir()}
        with torch.random.fork_rng(devices=[]):  # a pooler that files lack is drawn alike
            torch.manual_seed(seed)
            model, processor = load_model(str(name_or_path), hub=hub, dtype="auto")
        tokenizer = tokenizer_of(processor)
        sides = (settings.query_vectors, settings.document_vectors)
        add_meta_tokens(model, tokenizer, *sides, seed=seed)
        if template is None:
            template = template_of(processor, tokenizer, model.config.model_type)
        return Backbone(model, processor, replace(settings, template=template))


def save(model: MultiVectorEncoder, backbone: Backbone, folder: Path, dtype: DType) -> None:
    """Write a checkpoint, its weights as ``dtype`` where one is named; they stay what they are."""
    own = backbone.model
    with quiet():
        kept = {name: tensor.data for name, tensor in weights(own).items()}
        try:
            cast(own, as_dtype(dtype) or own.dtype)
            model.save_pretrained(str(folder), create_model_card=False)
        finally:
            for name, tensor in weights(own).items():
                tensor.data = kept[name]


def encode(
    model: MultiVectorEncoder, backbone: Backbone, items: Sequence[Item], side: str, count: int
) -> Vectors:
    """The first ``count`` unit vectors of inputs of one modality: float32 (n, count, D)."""
    appended = count if backbone.is_causal else None
    with torch.inference_mode():
        model.eval()  # a trainer leaves dropout switched on
        features = backbone.preprocess(items, task=side, vectors=appended)
        found = model(batch_to_device(features, model.device), task=side)
        unit: Vectors = found["token_embeddings"][:, :count].cpu().numpy()  # (n, r, D)
    return unit
