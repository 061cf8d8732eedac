"""What a run starts from: the encoder, its training sets, the groups of its loss; all checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import ModelError, TrainingError
from metaembed_rag.evaluation import Dataset, read_dataset
from metaembed_rag.evaluation.datasets import Query
from metaembed_rag.model import MetaEmbedEncoder, Template
from metaembed_rag.model.checkpoints import CONFIG, shipped_checkpoints
from metaembed_rag.model.loading import placement
from metaembed_rag.pages import Page
from metaembed_rag.training.config import LossConfig, ModelConfig, RunConfig
from metaembed_rag.training.data import TrainingSet, read_training_set
from metaembed_rag.training.mmr import MMRSettings

TRAINED_SHARE = 0.005
"""Of the learning rate for Meta Tokens that are trained already: at the full rate nDCG@5 at (1,1)
of the small checkpoint fell from 54 to 3 within six steps."""


def read_sets(config: RunConfig) -> list[TrainingSet]:
    """The training sets.

    Raises:
        DatasetError: One is missing, empty or malformed.
    """
    return [read_training_set(**asdict(one)) for one in config.data]


def read_judged(config: RunConfig) -> dict[str, tuple[Dataset, Any]]:
    """The evaluation sets by their names, each with what of a page is encoded.

    Sets of the same name are told apart by the mode, or by path and mode.

    Raises:
        DatasetError: One is missing or malformed.
        TrainingError: One is named twice.
    """
    sets = [(read_dataset(one.path).first(one.limit or 10**9), one.mode) for one in config.evaluate]
    ways = (
        [data.name for data, _ in sets],
        [f"{data.name}, {mode}" for data, mode in sets],
        [f"{one.path}, {one.mode}" for one in config.evaluate],
    )
    names = next((names for names in ways if len(set(names)) == len(names)), None)
    if names is None:
        raise TrainingError(
            "an evaluation set is given twice with the same mode; take one of them out"
        )
    return dict(zip(names, sets, strict=True))


def load_encoder(config: ModelConfig, *, device: str, seed: int) -> MetaEmbedEncoder:
    """The encoder that is trained: a checkpoint, or a plain backbone with new Meta Tokens.

    Raises:
        CheckpointError: There is no such model.
        TrainingError: The checkpoint has other numbers of vectors than asked for, or none of its
            own.
    """
    given = {"max_query_tokens", "max_document_tokens", "max_pixels"}
    sizes = {name: getattr(config, name) for name in given if getattr(config, name) is not None}
    if is_checkpoint(config.backbone):
        encoder = _load_checkpoint(config, device, sizes)
    else:
        encoder = MetaEmbedEncoder.from_backbone(
            config.backbone,
            config.r_q or 16,
            config.r_c or 64,
            device=device,
            dtype=config.dtype,
            template=config.template,
            seed=seed,
            **sizes,
        )
    if config.attention is not None:
        try:
            encoder.backbone.model.set_attn_implementation(config.attention)
        except (ImportError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise TrainingError(
                f"model.attention {config.attention!r} cannot be used: {reason}"
            ) from None
    return encoder


def is_checkpoint(name: str) -> bool:
    """Whether a shipped name, a folder or a hub id is a MetaEmbed checkpoint."""
    folder = Path(name).expanduser()
    if name in shipped_checkpoints() or (folder / CONFIG).is_file():
        return True
    if folder.exists() or name.count("/") != 1:
        return False
    from transformers.utils.hub import cached_file

    quiet = ("gated_repo", "missing_entries", "connection_errors")
    options = {f"_raise_exceptions_for_{what}": False for what in quiet}
    return cached_file(name, CONFIG, **options) is not None


def _load_checkpoint(config: ModelConfig, device: str, sizes: dict[str, int]) -> MetaEmbedEncoder:
    encoder = MetaEmbedEncoder.from_pretrained(config.backbone, device=device, dtype=config.dtype)
    if not isinstance(encoder, MetaEmbedEncoder):
        raise TrainingError(
            f"{config.backbone} has no Meta Tokens that could be trained; start from a MetaEmbed "
            f"checkpoint or from a plain backbone"
        )
    for name, has in (("r_q", encoder.query_vectors), ("r_c", encoder.document_vectors)):
        asked = getattr(config, name)
        if asked not in (None, has):
            raise TrainingError(
                f"model.{name} is {asked}, but the checkpoint {config.backbone} has {has}; leave "
                f"it out, or start from a plain backbone"
            )
    changes: dict[str, Any] = dict(sizes)
    if config.template is not None:
        changes["template"] = Template.from_dict(config.template)
    encoder.backbone.settings = replace(encoder.backbone.settings, **changes)
    return encoder


def mmr_settings(config: LossConfig, encoder: MetaEmbedEncoder) -> MMRSettings:
    """Groups, weights and temperatures for this encoder.

    Raises:
        TrainingError: A group asks for more vectors than the encoder makes, or lists do not match.
    """

    def fits(group: tuple[int, int]) -> bool:
        return group[0] <= encoder.query_vectors and group[1] <= encoder.document_vectors

    groups = config.groups or tuple(filter(fits, RetrievalBudget.PAPER))
    for group in groups:
        if not fits(group):
            raise TrainingError(
                f"loss.groups has ({group[0]},{group[1]}), but the model makes "
                f"{encoder.query_vectors} query vectors and {encoder.document_vectors} page "
                f"vectors; make the group smaller, or r_q and r_c of a plain backbone larger"
            )
    heat = config.temperatures
    temperatures = heat if isinstance(heat, tuple) else (heat,) * len(groups)
    weights = config.weights or (1.0,) * len(groups)
    if not len(groups) == len(temperatures) == len(weights):
        raise TrainingError(
            f"there are {len(groups)} groups, {len(weights)} weights and {len(temperatures)} "
            f"temperatures; give one of each for every group"
        )
    shares = tuple(0.0 if r_c == 1 else 0.5 if r_c < 8 else 1.0 for _, r_c in groups)
    return MMRSettings(groups, weights, temperatures, config.score, shares)


def train_dimensions(config: LossConfig, encoder: MetaEmbedEncoder) -> None:
    """Note in the encoder's settings which prefixes of a vector the run trains to work alone.

    Raises:
        TrainingError: A prefix is longer than the vectors.
    """
    settings = encoder.backbone.settings
    wanted = config.dimensions or settings.dimensions
    if wanted and wanted[-1] > encoder.dimension:
        raise TrainingError(
            f"loss.dimensions asks for {wanted[-1]} values a vector, but the model's have "
            f"{encoder.dimension}; take that out"
        )
    every = tuple(sorted({*wanted, encoder.dimension})) if wanted else ()
    encoder.backbone.settings = replace(settings, dimensions=every)


def save_memory(encoder: MetaEmbedEncoder) -> None:
    """Gradient checkpointing: compute activations twice instead of keeping them.

    Raises:
        ModelError: The backbone cannot.
    """
    model = encoder.backbone.model
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise ModelError(
            f"{encoder.name} ({model.config.model_type}) has no gradient checkpointing; set "
            f"train.gradient_checkpointing to false, and use mini_batch to save memory"
        )
    model.gradient_checkpointing_enable({"use_reentrant": False})


def freeze_text(encoder: MetaEmbedEncoder) -> None:
    """Train a readout alone.

    Raises:
        TrainingError: The model has none.
    """
    freeze = getattr(encoder.backbone.model, "freeze_text", None)
    if freeze is None:
        raise TrainingError(
            f'train.trained is "readout", but {encoder.name} has none: its Meta Tokens go through '
            f'the whole backbone; set it to "all"'
        )
    freeze()


def train_device(name: str | None) -> str:
    """``cpu``, ``cuda`` or ``mps``; None takes the best there is.

    Raises:
        TrainingError: There is no such device.
    """
    best = placement(None, None)[0].type
    if name in (None, best, "cpu"):
        return name or best
    if name in ("cuda", "mps"):
        raise TrainingError(f"train.device is {name}, but this machine has none; use {best}")
    raise TrainingError(
        f"train.device must be cpu, cuda or mps, not {name!r}; choose one of several GPUs by the "
        f"environment variable CUDA_VISIBLE_DEVICES"
    )


def judged_told(judged: Mapping[str, tuple[Dataset, Any]]) -> list[dict[str, Any]]:
    """What identifies the evaluation sets of a run: their texts and judgements."""
    told = []
    for name, (data, _) in judged.items():
        digest = hashlib.blake2b(digest_size=16)
        items: list[Page | Query] = [*data.pages, *data.queries]
        rows = [[one.id, one.text, one.image_path is not None] for one in items]
        for row in [*rows, {query: dict(found) for query, found in data.qrels.items()}]:
            digest.update(json.dumps(row).encode())
        told.append({"name": name, "digest": digest.hexdigest()})
    return told


def data_told(sets: Sequence[TrainingSet]) -> list[dict[str, Any]]:
    """What identifies the data of a run."""
    return [
        {"name": one.name, "weight": one.weight, "examples": len(one), "digest": one.digest}
        for one in sets
    ]
