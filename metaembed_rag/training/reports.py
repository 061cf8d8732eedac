"""What is seen of a run while it goes on: a bar, lines, evaluations, the best weights kept."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from metaembed_rag.errors import TrainingError
from metaembed_rag.evaluation import Dataset, evaluate
from metaembed_rag.model import MetaEmbedEncoder
from metaembed_rag.progress import tqdm
from metaembed_rag.training.config import RunConfig
from metaembed_rag.training.loss import MMRObjective
from metaembed_rag.training.run_folder import RunFolder
from metaembed_rag.training.sharing import is_main, sum_numbers, wait
from metaembed_rag.training.weights import Weights

METRIC = "ndcg@5"
"""What evaluations during training measure."""

Say = Callable[[str], None]
Scores = Mapping[str, Mapping[str, float]]
"""Set -> budget ("16,64") -> nDCG@5."""


@dataclass(frozen=True)
class Judge:
    """Measures the encoder on evaluation sets.

    Attributes:
        encoder: The encoder that is trained.
        sets: Name -> evaluation set, and what of a page is encoded.
        groups: The budgets.
        cache: Folder for OCR texts, which each evaluation would read anew without it.
    """

    encoder: MetaEmbedEncoder
    sets: Mapping[str, tuple[Dataset, Any]]
    groups: Sequence[tuple[int, int]]
    cache: Path | None = None

    def scores(self, tell: Say) -> dict[str, dict[str, float]]:
        """nDCG@5 of each set at each budget; ``tell`` hears of pages that were left out."""
        found = {}
        for name, (data, mode) in self.sets.items():
            report = evaluate(
                data, self.encoder, mode=mode, budgets=list(self.groups), cache_dir=self.cache
            )
            if report.skipped:
                tell(
                    f"{name}: {len(report.skipped)} of {report.pages} pages cannot be read, so "
                    f"that no query finds them; the first: {report.skipped[0]}"
                )
            found[name] = {str(one.budget): round(one.mean(METRIC), 4) for one in report.results}
        return found

    def value(self, scores: Scores) -> float:
        """What decides which weights are best: the mean over sets at the largest budget."""
        r_q, r_c = max(self.groups)
        return statistics.fmean(one[f"{r_q},{r_c}"] for one in scores.values())


class Reporter(TrainerCallback):
    """Tells, measures and asks for checkpoints at the steps that the configuration names.

    Args:
        config: The run.
        folder: Where the log goes.
        objective: The loss, which counts.
        judge: None where there are no evaluation sets.
        weights: Saved when an evaluation is the best so far.
        say: Gets each line; None says nothing.
        shown: Draw a progress bar.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        objective: MMRObjective,
        judge: Judge | None,
        weights: Weights,
        *,
        say: Say | None = None,
        shown: bool = False,
    ) -> None:
        self._config, self._folder, self._objective = config, folder, objective
        self._judge, self._weights, self._main = judge, weights, is_main()
        self._say = say if self._main and say is not None else _nothing
        self._bar: Any = None
        self._shown = shown and self._main
        self._since, self._active, self._rate = 0.0, 0.0, 0.0
        self.evaluations: dict[int, Scores] = {}
        """Step -> scores."""
        self.last: dict[str, Any] = {}
        """The last report."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up the log where the checkpoint stands; measure what training starts from."""
        step = state.global_step
        if self._main:
            for line in self._folder.rewind(step):
                if "scores" in line:
                    self.evaluations[line["step"]] = line["scores"]
                else:
                    self.last = line
        self._bar = tqdm(
            total=state.max_steps, initial=step, unit="step", disable=not self._shown, leave=False
        )
        if step == 0:
            self._evaluate(0)
        self._since = time.monotonic()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the rate of this step; the schedule goes on right after."""
        self._rate = kwargs["optimizer"].param_groups[0]["lr"]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Report, measure, ask for a checkpoint."""
        now, step, train = time.monotonic(), state.global_step, self._config.train
        self._active, self._since = self._active + now - self._since, now
        final = step == state.max_steps
        saves = final or step % train.save_every == 0
        shown, measures = (
            final or step % every == 0 for every in (train.log_every, train.evaluate_every)
        )
        self._bar.update(1)
        if shown or saves or (measures and self._judge is not None):
            self._report(step, args.device, shown=shown)
        if measures:
            self._evaluate(step)
        control.should_save = saves
        self._since = time.monotonic()
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count anew: the time that writing takes is not training's."""
        self._since = time.monotonic()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _report(self, step: int, device: torch.device, *, shown: bool) -> None:
        """Numbers since the last report; also before weights are kept, which must not be NaN."""
        found = sum_numbers(self._objective.take_numbers(), device).tolist()
        if not found[0]:
            return
        means = [value / found[0] for value in found[1:]]
        if not all(math.isfinite(value) for value in means):
            raise TrainingError(
                f"the loss is not a finite number at step {step}; lower train.learning_rate, or "
                f"use precision fp32. The last checkpoint is kept"
            )
        names = [f"{r_q},{r_c}" for r_q, r_c in self._objective.settings.groups]
        line = {
            "step": step,
            "loss": means[0],
            "groups": dict(zip(names, means[1:], strict=True)),
            "collapse": {name: asdict(one) for name, one in self._objective.collapse().items()},
            "learning_rate": self._rate,
            "pairs_per_second": round(found[0] / max(self._active, 1e-9), 2),
        }
        self._active, self.last = 0.0, line
        if self._main:
            self._folder.log(line)
            if shown:
                self._say(report_line(line, self._config.train.steps))

    def _evaluate(self, step: int) -> None:
        if self._judge is None:
            return
        if self._main and step not in self.evaluations:
            scores = self._judge.scores(_nothing if self.evaluations else self._say)
            value = self._judge.value(scores)
            earlier = [self._judge.value(old) for at, old in self.evaluations.items() if at]
            self.evaluations[step] = scores
            if step and value > max(earlier, default=-math.inf):
                part = self._folder.unfinished() / "best"
                self._weights.save(part)
                self._folder.keep(part, f"best-{step}")
            self._folder.log({"step": step, "scores": scores})
            self._say(scores_line(step, self._config.train.steps, scores))
        wait()


def report_line(line: Mapping[str, Any], steps: int) -> str:
    """One report as text."""
    groups = "  ".join(f"({name}) {value:.3f}" for name, value in line["groups"].items())
    parts = [f"step {line['step']}/{steps}", f"loss {line['loss']:.4f}", groups]
    if line["collapse"]:
        name = max(line["collapse"], key=lambda budget: [int(one) for one in budget.split(",")])
        widest = line["collapse"][name]
        parts.append(
            f"at ({name}) cosine {widest['centred_cosine']:.2f} rank "
            f"{widest['effective_rank']:.1f} evenness {widest['evenness']:.2f}"
        )
    parts.append(f"rate {line['learning_rate']:.1e}  {line['pairs_per_second']:.1f} pairs/s")
    return " | ".join(parts)


def scores_line(step: int, steps: int, scores: Scores) -> str:
    """One evaluation as text."""
    sets = [
        f"{name} " + "  ".join(f"({budget}) {100 * value:.1f}" for budget, value in found.items())
        for name, found in scores.items()
    ]
    return f"step {step}/{steps} | nDCG@5 | " + " | ".join(sets)


def _nothing(line: str) -> None:
    pass
