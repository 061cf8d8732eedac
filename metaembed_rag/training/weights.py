"""What is trained of a model: all weights, or adapters and Meta Tokens; at which rates.

Meta Tokens are rows of the embedding matrix, and their rate is their own: at the rate of the other
weights the small budgets of a trained checkpoint are destroyed within a few steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from metaembed_rag.errors import CheckpointError, TrainingError, require
from metaembed_rag.model import MetaEmbedEncoder
from metaembed_rag.model.backbones import Backbone
from metaembed_rag.training.config import LoraConfig

_ADAPTERS = "adapters.safetensors"


class AllWeights:
    """Everything is trained.

    Args:
        encoder: The encoder.
        meta_share: The Meta Tokens' learning rate, divided by that of the others.
    """

    def __init__(self, encoder: MetaEmbedEncoder, *, meta_share: float) -> None:
        self._encoder, self._share = encoder, meta_share
        self.rates: dict[str, float] = {}
        """Regular expression of parameters' names -> their learning rate, for the trainer."""

    def save(self, folder: Path) -> None:
        """A whole checkpoint that ``MetaEmbedEncoder.from_pretrained`` loads."""
        self._encoder.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Put a checkpoint's weights into the encoder."""
        stored = Backbone.load(str(folder), local_files_only=True)
        self._encoder.backbone.model.load_state_dict(stored.model.state_dict())

    def watch(self, optimizer: torch.optim.Optimizer) -> None:
        """Scale each update of the Meta Tokens' rows.

        AdamW's update is proportional to the learning rate, so this is exactly a rate of their
        own. The rows are taken back after the step, because their moments must grow as usual.
        """
        if self._share == 1:
            return
        weight = self._encoder.backbone.model.get_input_embeddings().weight
        rows = torch.tensor(meta_rows(self._encoder), device=weight.device)
        before: list[Tensor] = []

        def keep(*_: Any) -> None:
            before[:] = [weight.detach()[rows].clone()]

        @torch.no_grad()
        def scale(*_: Any) -> None:
            weight[rows] = before[0].lerp(weight[rows], self._share)

        optimizer.register_step_pre_hook(keep)
        optimizer.register_step_post_hook(scale)

    def finish(self) -> None:
        """Nothing is to be done: the encoder is whole and can be saved."""


class Adapters:
    """Low-rank adapters (LoRA, Hu et al., ICLR 2022) and the Meta Tokens' rows are trained.

    Args:
        encoder: The encoder; its model gets the adapters at once.
        config: Rank and scale.
        meta_rate: The Meta Tokens' learning rate.
        seed: Of the adapters' first values.

    Raises:
        TrainingError: The model has no such modules.
        MissingExtraError: The extra ``train`` is not installed.
    """

    def __init__(
        self, encoder: MetaEmbedEncoder, config: LoraConfig, *, meta_rate: float, seed: int = 0
    ) -> None:
        peft = require("peft")
        self._encoder = encoder
        targets = config.targets if isinstance(config.targets, str) else list(config.targets)
        model = encoder.backbone.model
        embeddings = model.get_input_embeddings()
        place = next(name for name, module in model.named_modules() if module is embeddings)
        wanted = peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=targets,
            trainable_token_indices={place: meta_rows(encoder)},
        )
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self._peft = peft.get_peft_model(model, wanted)
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise TrainingError(
                f"lora.targets {config.targets!r} cannot be used: {reason}"
            ) from None
        self.rates = {"trainable_tokens_delta": meta_rate}

    def save(self, folder: Path) -> None:
        """The trained tensors by their names; the base weights stay where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in self._trained().items()},
            folder / _ADAPTERS,
        )

    def load(self, folder: Path) -> None:
        """Put what :meth:`save` wrote into the encoder.

        Raises:
            CheckpointError: It belongs to other adapters.
        """
        stored, trained = load_file(folder / _ADAPTERS), self._trained()
        if stored.keys() != trained.keys():
            raise CheckpointError(f"{folder / _ADAPTERS} holds other adapters than this run's")
        with torch.no_grad():
            for name, tensor in trained.items():
                tensor.copy_(stored[name])

    def watch(self, optimizer: torch.optim.Optimizer) -> None:
        """Nothing is to be done: the rows are parameters of their own."""

    def finish(self) -> None:
        """Add the adapters to the weights that they change, and the rows to their matrix."""
        self._encoder.backbone.model = self._peft.merge_and_unload()
        for parameter in self._encoder.backbone.model.parameters():
            parameter.requires_grad_(True)

    def _trained(self) -> dict[str, Tensor]:
        named = self._peft.named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad}


Weights = AllWeights | Adapters
"""What a training run changes of an encoder, saves and loads."""


def meta_rows(encoder: MetaEmbedEncoder) -> list[int]:
    """Rows of the embedding matrix that are Meta Tokens."""
    return [row for rows in encoder.backbone.meta_ids.values() for row in rows]
