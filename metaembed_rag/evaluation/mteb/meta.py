"""What mteb records of a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mteb.models.model_meta import ModelMeta

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages.reading import ocr_policy


def choose_budget(asked: BudgetLike | None, encoder: Encoder) -> RetrievalBudget:
    """The budget asked for, or the environment's, or everything.

    Raises:
        BudgetError: It asks for more vectors than the encoder makes.
    """
    most = RetrievalBudget(encoder.query_vectors, encoder.document_vectors)
    chosen = RetrievalBudget.default() if asked is None else RetrievalBudget.parse(asked)
    budget = chosen or most
    budget.check(query_vectors=most.r_q, page_vectors=most.r_c)
    return budget


def model_meta(
    encoder: Encoder, choices: Mapping[str, Any], about: Mapping[str, Any] | None
) -> ModelMeta:
    """What is known of a model; what is not known stays None.

    Args:
        encoder: The model. Its fingerprint is the revision.
        choices: What else results depend on; part of the identity under which mteb keeps them.
        about: Fields that replace ours.
    """
    reads_images = "image" in encoder.modalities or ocr_policy(choices["ocr"]) != "never"
    known = {
        "name": _public_name(encoder.name),
        "revision": encoder.fingerprint,
        "embed_dim": encoder.dimension,
        "modalities": ["text", "image"] if reads_images else ["text"],
        "framework": ["Sentence Transformers", "PyTorch"],
        "similarity_fn_name": "MaxSim",
        "model_type": ["late-interaction"],
        "use_instructions": False,
        "experiment_kwargs": dict(choices),
    }
    unknown = {name: None for name, field in ModelMeta.model_fields.items() if field.is_required()}
    return ModelMeta.model_validate({**unknown, **known, **_sizes(encoder), **(about or {})})


def _sizes(encoder: Encoder) -> dict[str, Any]:
    """Parameters, memory and longest text of an encoder that has a transformers model inside."""
    backbone = getattr(encoder, "backbone", None)
    if backbone is None:
        return {}
    weights = list(backbone.model.parameters())
    used = sum(weight.numel() * weight.element_size() for weight in weights)
    return {
        "n_parameters": sum(weight.numel() for weight in weights),
        "n_embedding_parameters": backbone.model.get_input_embeddings().weight.numel(),
        "memory_usage_mb": round(used / 2**20, 1),
        "max_tokens": backbone.settings.max_document_tokens * getattr(encoder, "max_passes", 1),
    }


def _public_name(name: str) -> str:
    """mteb wants ``owner/model``; a folder on this machine is named by its last part."""
    is_hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists()
    return name if is_hub_id else f"metaembed_rag/{Path(name).name}"
