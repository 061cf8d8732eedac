"""The benchmark of the processes that read pictures compares the two ways."""

from __future__ import annotations

from benchmarks.search import image_worker
from benchmarks.search.pdf_worker import side_by_side
from metaembed_rag.testing import FakeEncoder
from tests.support.files import picture_of_text


def test_both_ways_index_the_same_pictures(tmp_path):
    for name in ("red barn", "blue boat"):
        picture_of_text([name], (200, 100)).save(tmp_path / f"{name}.png")
    files = sorted(tmp_path.iterdir())
    encoder = FakeEncoder()
    found = side_by_side(lambda limits: image_worker.indexed(files, limits, 2, encoder), runs=1)
    assert found["pages"] == 2
    assert found["times_as_long"] > 0
