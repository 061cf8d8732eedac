"""What a run's folder holds after a process was killed at any point of it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from metaembed_rag.training.run_folder import RunFolder


class Killed(BaseException):
    """Stands for a process that ends here."""


def saved(folder: RunFolder, name: str, text: str) -> None:
    part = folder.unfinished()
    (part / "model").write_text(text)
    folder.keep(part, name)


@pytest.mark.parametrize("calls", range(6))
def test_a_checkpoint_saved_again_is_the_old_or_the_new_wherever_a_kill_comes(
    tmp_path, monkeypatch, calls
):
    folder = RunFolder(tmp_path / "run")
    folder.begin({})
    saved(folder, "best-100", "old")
    left = [calls]

    def counted(real):
        def call(*given, **options):
            if not left[0]:
                raise Killed
            left[0] -= 1
            return real(*given, **options)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", counted(Path.replace))
        patched.setattr("shutil.rmtree", counted(shutil.rmtree))
        with suppress(Killed):
            saved(folder, "best-100", "new")
    again = RunFolder(tmp_path / "run")
    again.begin({})
    best = again.best()
    assert best is not None
    assert (best / "model").read_text() in ("old", "new")
    assert [path.name for path in again.checkpoints.iterdir()] == ["best-100"]
