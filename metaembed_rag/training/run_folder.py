"""The folder of a training run: what it was asked, how far it is, what it has seen.

::

    my-model/
    ├── run.json                 configuration, digests of the data, number of devices
    ├── log.jsonl                one line a report and an evaluation
    ├── checkpoints/
    │   ├── checkpoint-400/      to go on from: weights, optimizer, schedule, random numbers
    │   └── best-200/            the weights of the best evaluation
    ├── result.json              written last: the run is finished
    └── README.md, modules.json, model.safetensors, ...   the model

Whatever is written, is written beside its place and then renamed: a process that is killed leaves
the old or the new, never half of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaembed_rag.errors import TrainingError
from metaembed_rag.store.places import replace_file

FORMAT = 1
RUN, LOG, RESULT, CHECKPOINTS = "run.json", "log.jsonl", "result.json", "checkpoints"
_PART, _OLD, _REPLACED = ".part", ".old", ".replaced-"
_MODEL_LAST = ("modules.json", "metaembed.json")
"""Without these a folder is no model: they arrive when all else is there."""

FREE = {"out", "train.log_every", "train.save_every", "train.device", "train.workers"}
"""Keys that may change between interruption and resumption: they change no number."""


class RunFolder:
    """One run's folder.

    Args:
        path: It need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.checkpoints = self.path / CHECKPOINTS

    def check_place(self) -> None:
        """Refuse a folder that holds something else than a run.

        Raises:
            TrainingError: It is a file, or not empty.
        """
        if (self.path / RUN).is_file() or not os.path.lexists(self.path):
            return
        if not self.path.is_dir():
            raise TrainingError(f"{self.path} is a file; name a folder for the run")
        if any(not path.name.startswith(f".{RUN}.") for path in self.path.iterdir()):
            raise TrainingError(
                f"{self.path} is not empty and holds no training run; name another folder"
            )

    def check(self, asked: Mapping[str, Any]) -> None:
        """Refuse to go on with a run that was asked something else, once it has begun.

        Args:
            asked: What :meth:`begin` wrote, or would write.

        Raises:
            TrainingError: The message names the keys that differ.
        """
        if not self.has_begun():
            return
        stored = self.stored()
        # Runs of older versions were not asked all of this.
        differing = _differences(stored, {key: asked[key] for key in asked if key in stored})
        if differing:
            raise TrainingError(
                f"{self.path} holds a run with another configuration: {'; '.join(differing)}. "
                f"Go on with the old one, or name another folder"
            )

    def stored(self) -> dict[str, Any]:
        """What :meth:`begin` wrote.

        Raises:
            TrainingError: The file is damaged or of a newer version.
        """
        try:
            found = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{self.path / RUN} cannot be read ({error})") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise TrainingError(f"{self.path / RUN} is of another version; upgrade metaembed-rag")
        return found

    def has_begun(self) -> bool:
        """Whether a step of the run is reported, saved or finished."""
        if not (self.path / RUN).is_file():
            return False
        saved = self.last_checkpoint() or self.best() or (self.path / RESULT).is_file()
        return bool(saved) or any("loss" in line for line in self.lines())

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Make the folder and write what is asked; an interrupted run keeps what it has.

        One without a first report starts anew: it may have failed because of what was asked.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._put_back()
        if not self.has_begun():
            (self.path / LOG).unlink(missing_ok=True)
            replace_file(self.path / RUN, json.dumps({"format": FORMAT, **asked}, indent=2) + "\n")
        self.checkpoints.mkdir(exist_ok=True)
        for left in (_PART, _OLD):
            shutil.rmtree(self.checkpoints / left, ignore_errors=True)

    # -- checkpoints -----------------------------------------------------------------------

    def last_checkpoint(self) -> Path | None:
        """The one with most steps."""
        return max(self.checkpoints.glob("checkpoint-*"), key=step_of, default=None)

    def best(self) -> Path | None:
        """The weights of the best evaluation."""
        return max(self.checkpoints.glob("best-*"), key=step_of, default=None)

    def unfinished(self) -> Path:
        """An empty folder to write in, on the same disk; :meth:`keep` gives it its name."""
        part = self.checkpoints / _PART
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        return part

    def keep(self, part: Path, name: str) -> None:
        """Rename a finished folder, and only then remove what it follows.

        Args:
            part: Inside of :meth:`unfinished`.
            name: ``"checkpoint-200"`` or ``"best-200"``.
        """
        place = self.checkpoints / name
        old = self.checkpoints / _OLD
        aside = self.checkpoints / f"{_REPLACED}{name}"
        for left in (old, aside) if place.exists() else (old,):
            shutil.rmtree(left, ignore_errors=True)
        if place.exists():
            place.replace(aside)  # put back by begin() where the process is killed before the next
        part.replace(place)
        shutil.rmtree(aside, ignore_errors=True)
        kind = name.partition("-")[0]
        for older in self.checkpoints.glob(f"{kind}-*"):
            if older != place:
                older.replace(old)  # a process killed while it removes files leaves no half
                shutil.rmtree(old)

    def _put_back(self) -> None:
        """Give back its name to what was being replaced when a process was killed."""
        for aside in self.checkpoints.glob(f"{_REPLACED}*"):
            place = self.checkpoints / aside.name.removeprefix(_REPLACED)
            if place.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.replace(place)

    # -- log -------------------------------------------------------------------------------

    def lines(self) -> list[dict[str, Any]]:
        """The log; a last line that was cut off is left out."""
        path, found = self.path / LOG, list[dict[str, Any]]()
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    found.append(json.loads(line))
                except ValueError:
                    break
        return found

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Drop what was logged after a step; the lines that stay."""
        kept = [line for line in self.lines() if line["step"] <= step]
        replace_file(self.path / LOG, "".join(json.dumps(line) + "\n" for line in kept))
        return kept

    def log(self, line: Mapping[str, Any]) -> None:
        """Add a line."""
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    # -- the end ---------------------------------------------------------------------------

    def result(self) -> dict[str, Any] | None:
        """What a finished run reported; None while it is not finished."""
        path = self.path / RESULT
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def place_model(self, part: Path) -> None:
        """Move a model's files to the run's folder, those that make it a model last."""
        files = sorted(part.iterdir(), key=lambda path: path.name in _MODEL_LAST)
        for file in files:
            target = self.path / file.name
            if target.is_dir():
                shutil.rmtree(target)
            file.replace(target)
        part.rmdir()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, which marks the run as finished."""
        replace_file(self.path / RESULT, json.dumps(result, indent=2) + "\n")


def step_of(path: Path) -> int:
    """``checkpoint-200`` -> 200."""
    match = re.search(r"-(\d+)$", path.name)
    return int(match[1]) if match else -1


def _differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> Sequence[str]:
    """``"train.steps is 100 there and 200 here"`` for each key that matters."""
    old, new = _flat(stored), _flat(json.loads(json.dumps(asked)))
    differing = []
    for key in sorted(old.keys() | new.keys()):
        ours = key.removeprefix("config.")
        if ours == "format" or ours in FREE or re.fullmatch(r"data\.\d+\.path|told\..*", ours):
            continue
        if old.get(key) != new.get(key):
            differing.append(
                f"{ours} is {_shown(old.get(key))} there and {_shown(new.get(key))} here"
            )
    return differing


def _shown(value: Any) -> str:
    return "not given" if value is None else json.dumps(value)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested tables -> ``"train.steps"``; lists of tables are counted from 1, others are values."""
    if isinstance(value, Mapping):
        items = [(str(key), one) for key, one in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        items = [(str(number), one) for number, one in enumerate(value, 1)]
    else:
        return {} if value == [] else {name: value}
    flat: dict[str, Any] = {}
    for key, one in items:
        flat |= _flat(one, f"{name}.{key}" if name else key)
    return flat
