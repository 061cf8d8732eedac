"""A training run from its configuration to a finished checkpoint."""

from __future__ import annotations

import json
import platform
import time
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from metaembed_rag.errors import TrainingError, require

for needed in ("accelerate", "datasets"):  # sentence-transformers' trainer fails without a hint
    require(needed)

import torch  # noqa: E402
from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from transformers import PrinterCallback  # noqa: E402

from metaembed_rag.model import MetaEmbedEncoder  # noqa: E402
from metaembed_rag.model.loading import quiet  # noqa: E402
from metaembed_rag.training import starting  # noqa: E402
from metaembed_rag.training.card import write_card  # noqa: E402
from metaembed_rag.training.collate import Batches, check_modalities, load_batches, unchanged  # noqa: E402
from metaembed_rag.training.config import RunConfig  # noqa: E402
from metaembed_rag.training.loss import MMRObjective  # noqa: E402
from metaembed_rag.training.reports import Judge, Reporter, Say  # noqa: E402
from metaembed_rag.training.run_folder import RunFolder, step_of  # noqa: E402
from metaembed_rag.training.sharing import devices, is_main, sum_gradients, wait  # noqa: E402
from metaembed_rag.training.weights import Adapters, AllWeights, Weights  # noqa: E402


def train(
    config: RunConfig, *, command: str = "", say: Say | None = None, show_progress: bool = False
) -> dict[str, Any]:
    """Train, or go on with an interrupted run in the same folder.

    A batch depends on the seed and the number of its step alone, so a resumed run sees the same
    batches as one that was never interrupted, and on a CPU ends in the same weights.

    Args:
        config: What to do; see :func:`~metaembed_rag.training.config.read_config`.
        command: For the model card.
        say: Gets a line at each report; None says nothing.
        show_progress: Draw a bar on standard error.

    Returns:
        What ``result.json`` holds: steps, loss, scores before and after. A run that is finished
        is not done again.

    Raises:
        TrainingError: The folder holds something else, or the configuration does not fit.
        DatasetError: A set is missing, empty or malformed, or holds what the model does not read.
        CheckpointError: There is no such model.
        MissingExtraError: The extra ``train`` is not installed (``eval`` with evaluation sets).
    """
    if config.evaluate:
        require("ir_measures")
    with quiet(), warnings.catch_warnings():
        # transformers 5.23 renames gradient checkpointing; peft and older versions do not yet.
        warnings.simplefilter("ignore", FutureWarning)
        return _Run(config, command, say, show_progress).go()


class _Run:
    """The parts of one run, each made from those before."""

    def __init__(
        self, config: RunConfig, command: str, say: Say | None, show_progress: bool
    ) -> None:
        self._config, self._command = config, command
        self._say, self._shown = say, show_progress
        self._folder = RunFolder(config.out)
        self._folder.check_place()
        self._sets = starting.read_sets(config)
        self._judged = starting.read_judged(config)
        device = starting.train_device(config.train.device)
        self._arguments = _arguments(config, self._folder, device)
        if config.loss.distill and devices() > 1:
            raise TrainingError(
                "loss.distill works on one device only: pages of others have no token states here; "
                "set it to 0, or train on one device with mini_batch"
            )
        self._encoder = starting.load_encoder(
            config.model, device=str(self._arguments.device), seed=config.train.seed
        )
        check_modalities(self._sets, self._encoder.modalities, config.model.backbone)
        self._settings = starting.mmr_settings(config.loss, self._encoder)
        starting.train_dimensions(config.loss, self._encoder)
        self._batches = Batches(
            self._encoder.backbone,
            self._sets,
            config.train,
            device=self._arguments.process_index,
            devices=devices(),
        )
        self._batches.check()

    def go(self) -> dict[str, Any]:
        asked = self._asked()
        self._folder.check(asked)
        wait()
        if (done := self._folder.result()) is not None:
            self._tell(f"{self._folder.path}: this run is finished already")
            return done
        if is_main():
            self._folder.begin(asked)
        wait()
        return self._train()

    def _train(self) -> dict[str, Any]:
        config, start = self._config, time.monotonic()
        checkpoint = self._folder.last_checkpoint()
        self._tell_beginning(checkpoint)
        if config.train.gradient_checkpointing:
            starting.save_memory(self._encoder)
        weights = _weights(config, self._encoder)
        objective = self._objective()
        reporter = self._reporter(objective, weights)
        self._arguments.learning_rate_mapping = weights.rates
        trainer = MetaEmbedTrainer(
            self._encoder, self._batches, self._arguments, objective, weights, self._folder
        )
        trainer.add_callback(reporter)
        try:
            trainer.go(checkpoint)
        except torch.OutOfMemoryError as error:
            reason = str(error).partition(". ")[0]
            raise TrainingError(
                f"out of memory on the device ({reason}); set train.mini_batch (the same gradients "
                f"in less memory) or train.gradient_checkpointing, or make batch_size smaller"
            ) from error
        finally:
            reporter.close()
        return self._finish(reporter, weights, time.monotonic() - start)

    def _tell_beginning(self, checkpoint: Path | None) -> None:
        config = self._config
        if checkpoint is not None:
            self._tell(f"going on from step {step_of(checkpoint)} of {config.train.steps}")
        if config.warm_up >= config.train.steps:
            self._tell(
                f"train.warm_up takes {config.warm_up} of {config.train.steps} steps: the learning "
                f"rate never reaches its peak"
            )

    def _objective(self) -> MMRObjective:
        loss = self._config.loss
        return MMRObjective(
            self._encoder.model,
            self._settings,
            cached=self._config.train.mini_batch > 0,
            dimensions=self._encoder.backbone.settings.dimensions,
            both_directions=loss.both_directions,
            evenness=loss.evenness,
            distill=loss.distill,
            autocast=self._autocast,
        )

    def _reporter(self, objective: MMRObjective, weights: Weights) -> Reporter:
        cache = self._folder.checkpoints / "ocr"
        judge = Judge(self._encoder, self._judged, self._settings.groups, cache=cache)
        return Reporter(
            self._config,
            self._folder,
            objective,
            judge if self._judged else None,
            weights,
            say=self._say,
            shown=self._shown,
        )

    def _finish(self, reporter: Reporter, weights: Weights, seconds: float) -> dict[str, Any]:
        """Write the best weights as the model."""
        steps, last = self._config.train.steps, reporter.last
        result: dict[str, Any] = {
            "out": self._config.out,
            "steps": steps,
            "seconds": round(seconds, 1),
            "loss": last.get("loss"),
            "groups": last.get("groups", {}),
            "collapse": last.get("collapse", {}),
            "best_step": steps,
            "before": reporter.evaluations.get(0, {}),
            "after": {},
        }
        if is_main():
            best = self._folder.best()
            if best is not None:
                weights.load(best)
                result["best_step"] = step_of(best)
            result["after"] = reporter.evaluations.get(result["best_step"], {})
            weights.finish()
            part = self._folder.unfinished()
            self._encoder.save_pretrained(part)
            write_card(part / "README.md", self._folder.stored(), result, self._encoder)
            self._folder.place_model(part)
            self._folder.finish(result)
        wait()
        return result

    def _asked(self) -> dict[str, Any]:
        asked = {
            "config": asdict(self._config),
            "data": starting.data_told(self._sets),
            "evaluated": starting.judged_told(self._judged),
            "devices": devices(),
            "start": self._encoder.fingerprint,
            "told": {"command": self._command, "versions": _versions()},
        }
        return dict(json.loads(json.dumps(asked)))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._config.train.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._encoder.device.type, torch.bfloat16)

    def _tell(self, line: str) -> None:
        if self._say is not None and is_main():
            self._say(line)


class MetaEmbedTrainer(MultiVectorEncoderTrainer):
    """sentence-transformers' trainer with batches by step, whole checkpoints and shared sums.

    Args:
        encoder: What is trained.
        batches: The batch of each step.
        arguments: Steps, rates, device.
        objective: The loss module.
        weights: What of the encoder is trained, saved and loaded.
        folder: Where checkpoints go.
    """

    def __init__(
        self,
        encoder: MetaEmbedEncoder,
        batches: Batches,
        arguments: MultiVectorEncoderTrainingArguments,
        objective: MMRObjective,
        weights: Weights,
        folder: RunFolder,
    ) -> None:
        self._batches, self._weights, self._folder = batches, weights, folder
        self._first = 0
        super().__init__(
            model=encoder.model,
            args=arguments,
            train_dataset=batches,
            loss=objective,
            data_collator=unchanged,  # type: ignore[arg-type]
        )
        self.remove_callback(PrinterCallback)

    def go(self, checkpoint: Path | None) -> None:
        """Train from a checkpoint, or from the start."""
        self._first = 0 if checkpoint is None else step_of(checkpoint)
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    def preprocess_dataset(self, dataset: Any = None, dataset_name: str | None = None) -> Any:
        """Nothing: batches come ready."""
        return dataset

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the card is written at the end, from the run's own numbers."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The steps that are left; each device takes its own part of a step."""
        return load_batches(self._batches, self._first, self.args.dataloader_num_workers)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As they are: chunks go to the device one by one."""
        if "error" in inputs:
            raise inputs["error"]
        return inputs

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of a batch, on the model itself and not on what distributes it."""
        assert isinstance(self.loss, MMRObjective)
        return self.loss(inputs["batch"])

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Forward and backward, then the gradients of all devices are summed."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        sum_gradients(self.model.parameters())
        return loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW with the Meta Tokens' own rate."""
        made = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if made:
            self._weights.watch(optimizer)
        return optimizer

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write beside the place, rename when all of it is there."""
        if self.args.should_save:
            self._folder.unfinished()
        wait()
        super()._save_checkpoint(model, trial)
        wait()
        if self.args.should_save:
            name = f"checkpoint-{self.state.global_step}"
            self._folder.keep(Path(str(self.args.output_dir)) / name, name)
        wait()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self._weights.save(Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._weights.load(Path(resume_from_checkpoint))


def _weights(config: RunConfig, encoder: MetaEmbedEncoder) -> Weights:
    rate, meta = config.train.learning_rate, config.train.meta_learning_rate
    if meta is None:
        trained = starting.is_checkpoint(config.model.backbone)
        meta = rate * (starting.TRAINED_SHARE if trained else 1.0)
    if config.lora is not None:
        return Adapters(encoder, config.lora, meta_rate=meta, seed=config.train.seed)
    if config.train.trained == "readout":
        starting.freeze_text(encoder)
        return AllWeights(encoder, meta_share=1.0)
    return AllWeights(encoder, meta_share=meta / rate)


def _arguments(
    config: RunConfig, folder: RunFolder, device: str
) -> MultiVectorEncoderTrainingArguments:
    """The trainer's settings; reports, evaluations and checkpoints are the reporter's business."""
    train = config.train
    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(folder.checkpoints / ".part"),
        max_steps=train.steps,
        per_device_train_batch_size=train.batch_size,
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.schedule,
        warmup_steps=config.warm_up,
        weight_decay=train.weight_decay,
        max_grad_norm=train.clip,
        seed=train.seed,
        use_cpu=device == "cpu",
        dataloader_num_workers=train.workers,
        dataloader_drop_last=True,  # unused, but without it several devices are warned about it
        ignore_data_skip=True,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        ddp_broadcast_buffers=False,
        ddp_timeout=6 * 3600,
    )
    _ = arguments.device  # sets devices up, and then counts them
    arguments._n_gpu = min(arguments._n_gpu, 1)  # several only by `accelerate launch`
    return arguments


def _versions() -> dict[str, str]:
    names = ("metaembed-rag", "torch", "transformers", "sentence-transformers", "accelerate")
    found = {"python": platform.python_version()}
    for name in (*names, "peft"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
