"""The benchmark of the worker that reads PDFs."""

from __future__ import annotations

from benchmarks.search import pdf_worker
from tests.support import bombs
from tests.support.files import make_pdf


def test_both_ways_read_the_same_pages(tmp_path):
    files = [make_pdf(tmp_path / "a.pdf", ["1", "2", "3"])]
    found = pdf_worker.side_by_side(
        lambda limits: sum(1 for _ in pdf_worker.pages_of(files, limits, 2)), runs=1
    )
    assert found["pages"] == 2
    assert found["times_as_long"] > 0


def test_what_a_bomb_took_and_what_was_said_of_it_is_told():
    found = pdf_worker.at_bomb(bombs.FOLDER / "nested_4g.pdf", bombs.SMALL)
    assert found["pages"] == 0
    assert "needs more than 128 MiB" in found["said"][0]
