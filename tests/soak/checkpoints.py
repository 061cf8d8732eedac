"""Saves checkpoints as a training run does, and looks at them after a kill."""

from __future__ import annotations

from pathlib import Path

from metaembed_rag.training.run_folder import RunFolder
from tests.soak.children import Notes

_SAVED = 6


def save_checkpoints(folder: Path, notes: Notes) -> int:
    """Save checkpoints as a training run does, going on after the last."""
    run_folder = RunFolder(folder / "run")
    run_folder.begin({})
    last = run_folder.last_checkpoint()
    begin = 0 if last is None else int((last / "step").read_text())
    for step in range(begin + 1, _SAVED + 1):
        part = run_folder.unfinished()
        for name in ("model.safetensors", "optimizer.bin"):
            (part / name).write_bytes(_weights(step))
        (part / "step").write_text(str(step))
        run_folder.log({"step": step, "loss": 1.0})
        run_folder.keep(part, f"checkpoint-{step}")
        notes.add(str(step))
        best = run_folder.unfinished()
        (best / "model.safetensors").write_bytes(_weights(step))
        run_folder.keep(best, "best-1")  # over the one before, as a run that went back does
    return 0


def _weights(step: int) -> bytes:
    return bytes([step]) * 300_000


def look_at_checkpoints(name: str, folder: Path) -> list[tuple[str, str]]:
    acknowledged = [int(line) for line in Notes(folder / "notes").read()]
    found = _whole_checkpoint(folder, max(acknowledged, default=0))
    save_checkpoints(folder, Notes(folder / "notes"))
    return found + _whole_checkpoint(folder, _SAVED)


def _whole_checkpoint(folder: Path, least: int) -> list[tuple[str, str]]:
    run_folder = RunFolder(folder / "run")
    run_folder.begin({})
    last = run_folder.last_checkpoint()
    if last is None:
        return [("lost", f"no checkpoint is left of {least}")] if least else []
    step = int(last.name.rpartition("-")[2])
    if step < least:
        return [("lost", f"the last checkpoint is {step}, and {least} was saved")]
    best = run_folder.best()
    if best is None and step > 1:
        return [("lost", f"no best weights are left of step {step}")]
    if best is not None and len(set((best / "model.safetensors").read_bytes())) != 1:
        return [("wrong", f"{best} is not whole")]
    names = ("model.safetensors", "optimizer.bin")
    if any((last / one).read_bytes() != _weights(step) for one in names):
        return [("wrong", f"{last} is not whole")]
    return []
