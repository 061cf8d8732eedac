"""The recipe of `small` from downloads to an exported checkpoint, at its small setting."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from metaembed_rag.model import MetaEmbedEncoder

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("METAEMBED_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the evaluation sets, to be kept out, are not here")
def test_one_command_makes_a_checkpoint_and_goes_on_where_it_stopped(tmp_path):
    few = ["--few", "--limit", "40", "--steps", "12", "--batch-size", "8", "--word-steps", "40"]
    command = [sys.executable, "-m", "recipes.minilm", "all", "--work", str(tmp_path / "work")]
    for _ in range(2):  # the second time nothing is left to do
        done = subprocess.run(
            [*command, "--data", str(DATA), *few],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        if re.search(r"pip cannot download|apt-get download .* failed", done.stderr):
            pytest.skip(f"encoder and manuals cannot be downloaded: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr[-2000:]
    encoder = MetaEmbedEncoder.from_pretrained(tmp_path / "work" / "small", device="cpu")
    assert (encoder.query_vectors, encoder.document_vectors, encoder.dimension) == (16, 64, 384)
