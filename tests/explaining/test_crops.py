"""A picture cut into parts that overlap."""

from __future__ import annotations

import pytest
from PIL import Image

from metaembed_rag.explaining.crops import WHOLE, can_be_cut, crop, grid, overlap, text_in
from metaembed_rag.pages.lines import TextLine


def test_the_parts_of_a_grid_cover_the_whole_and_overlap() -> None:
    parts = grid(WHOLE, 2, 1)
    assert parts[0] == pytest.approx((0, 0, 0.575, 1))
    assert parts[1] == pytest.approx((0.425, 0, 1, 1))
    assert overlap(*parts) == pytest.approx(0.15 / 0.575)


def test_a_crop_has_at_least_a_pixel() -> None:
    assert crop(Image.new("RGB", (3, 3)), (0.5, 0.5, 0.51, 0.51)).size == (1, 1)
    assert crop(Image.new("RGB", (100, 50)), (0.5, 0, 1, 1)).size == (50, 50)


def test_a_small_part_is_not_cut_again() -> None:
    image = Image.new("RGB", (200, 100))
    assert can_be_cut(image, WHOLE)
    assert not can_be_cut(image, (0, 0, 0.2, 1))


def test_boxes_apart_do_not_overlap() -> None:
    assert overlap((0, 0, 0.1, 0.1), (0.5, 0.5, 1, 1)) == 0


def test_the_text_of_a_part_is_its_longest_stretch_of_lines() -> None:
    left, right = (0.0, 0.1, 0.4, 0.2), (0.6, 0.1, 0.9, 0.2)
    lines = [TextLine(0, 5, left), TextLine(6, 9, right), TextLine(10, 13, right)]
    assert text_in(lines, (0.5, 0, 1, 1)) == (6, 13)
    assert text_in(lines, (0.5, 0.5, 1, 1)) == (0, 0)
