"""The benchmark of text layers in doubt, at a toy size."""

from __future__ import annotations

from pathlib import Path

from benchmarks.quality.text_layers import measure, pages_of
from tests.pages.test_legibility import ENGLISH
from tests.support.files import make_pdf

ODD = Path(__file__).parents[1] / "fixtures" / "odd_files" / "pdf"


def test_pages_and_ciphers_are_counted(tmp_path):
    make_pdf(tmp_path / "a.pdf", [ENGLISH, ENGLISH], size=(900, 400))
    counts = measure(pages_of([tmp_path, ODD / "cipher_shifted.pdf"], each=1))
    assert (counts["pages"], counts["enciphered"], counts["cipher"]) == (2, 2, 1)
    assert counts["in_doubt"] == ["cipher: cipher_shifted.pdf#1"]
