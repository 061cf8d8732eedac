"""Where a checkpoint's name leads: a shipped one, a folder, or the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from metaembed_rag.errors import CheckpointError

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"
"""The checkpoints that come with the package."""

CONFIG = "metaembed.json"


def shipped_checkpoints() -> list[str]:
    """Names for ``MetaEmbedEncoder.from_pretrained``: shipped, and in METAEMBED_CHECKPOINTS.

    The environment variable names one more folder whose sub-folders are checkpoints.
    """
    return sorted({path.parent.name for root in _roots() for path in root.glob(f"*/{CONFIG}")})


def find_checkpoint(name: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint, downloaded first when it is on the hub.

    Args:
        name: A shipped name (``"mini"``), a folder, or a hub id (``"owner/model"``).

    Raises:
        CheckpointError: Nothing is there; the message says what was tried.
    """
    if os.fspath(name) in shipped_checkpoints():  # before a folder of that name: write ./mini
        root = next(root for root in _roots() if (root / name / CONFIG).is_file())
        return _checked(root / name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder)
    if isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and name[0] != ".":
        return _checked(_download(name))
    raise CheckpointError(
        f"no checkpoint {os.fspath(name)!r}: it is not a folder, not a shipped name ({_names()}), "
        f"and not a hub id (owner/model)"
    )


def _roots() -> list[Path]:
    extra = os.environ.get("METAEMBED_CHECKPOINTS")
    return [SHIPPED, Path(extra).expanduser()] if extra else [SHIPPED]


def _names() -> str:
    return ", ".join(shipped_checkpoints()) or "none is installed"


def _checked(folder: Path) -> Path:
    """Name the first thing that is missing from a folder, before a library trips over it."""
    if not any(folder.iterdir()):
        raise CheckpointError(f"{folder} is empty: it holds no checkpoint")
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{folder} has no {CONFIG}, so it holds no MetaEmbed checkpoint; to put Meta Tokens "
            f"on a plain backbone use MetaEmbedEncoder.from_backbone, then train it"
        )
    check_backbone_folder(folder)
    return folder


def check_backbone_folder(folder: Path) -> None:
    """Refuse a folder without a configuration, weights or a tokenizer.

    Raises:
        CheckpointError: It names what is missing.
    """
    wanted = {
        "config.json": ["config.json"],
        "weights (*.safetensors)": ["*.safetensors", "pytorch_model*.bin"],
        "tokenizer (tokenizer.json)": ["tokenizer.json", "tokenizer.model", "vocab.*"],
    }
    for what, patterns in wanted.items():
        if not any(path.is_file() for pattern in patterns for path in folder.glob(pattern)):
            raise CheckpointError(f"{folder} has no {what}; copy or download the checkpoint again")


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"no checkpoint {name!r}: there is no such folder, and the Hugging Face hub gave none "
            f"({type(error).__name__}: {reason}); without a network use a shipped name "
            f"({_names()}) or a folder"
        ) from error
