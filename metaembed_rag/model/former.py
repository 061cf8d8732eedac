"""Former versions of a checkpoint, so that an index which one of them made still opens.

A checkpoint's folder may hold ``former/<fingerprint>.safetensors``: the weights in which that
version differs from the present files, and in the file's metadata under ``config`` the values of
``config.json`` in which it does, as JSON. All else is taken from the present files. The option
``version`` of a name asks for one: ``"small?version=1b3f3a73"``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors import safe_open

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.backbones import Backbone
from metaembed_rag.model.checkpoints import FORMER, VERSION, versions_in
from metaembed_rag.model.fingerprint import fingerprint

_DIGITS = re.compile(r"[0-9a-f]{8,32}")


def load_version(folder: Path, wanted: str) -> tuple[Backbone, str]:
    """A version of a checkpoint, former or present, and its whole fingerprint.

    Args:
        folder: Of the checkpoint.
        wanted: The version's fingerprint, or at least its first 8 digits.

    Raises:
        CheckpointError: There is no such version, or its files do not make it.
    """
    if not _DIGITS.fullmatch(wanted):
        raise CheckpointError(
            f"{VERSION}={wanted} is no version of a checkpoint; write the first 8 or more digits "
            f"of its fingerprint, which `metaembed info` shows"
        )
    backbone = Backbone.load(str(folder), local_files_only=True)
    known = [version for version in versions_in(folder) if version.startswith(wanted)]
    if known:
        backbone = _former(backbone, folder / FORMER / f"{known[0]}.safetensors")
    found = fingerprint(backbone)
    if known and found != known[0]:
        raise CheckpointError(
            f"the files in {folder} do not make its former version {known[0]}: they are not those "
            f"of this release; install metaembed-rag again"
        )
    if not found.startswith(wanted):
        others = ", ".join(version[:12] for version in versions_in(folder)) or "none"
        raise CheckpointError(
            f"{folder.name} has no version {wanted}; the present one is {found[:12]}, former ones "
            f"are: {others}"
        )
    return backbone, found


def _former(backbone: Backbone, path: Path) -> Backbone:
    """The present model with the configuration and weights in which the former one differs."""
    with safe_open(path, "pt") as file:
        changed: dict[str, Any] = json.loads((file.metadata() or {})["config"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    present: Any = backbone.model
    config = type(present.config).from_dict({**present.config.to_dict(), **changed})
    model = type(present).from_pretrained(
        None, config=config, state_dict={**present.state_dict(), **weights}, dtype=present.dtype
    )
    return Backbone(model.eval(), backbone.processor, backbone.settings)
