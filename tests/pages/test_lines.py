"""Lines of a page's text: packed, found again in a text, their parts."""

from __future__ import annotations

import base64

import pytest
from PIL import Image

from metaembed_rag.pages.lines import (
    Lettering,
    TextLine,
    boxes_of,
    located,
    moved,
    packed,
    turned_box,
    unpacked,
)

TOP, MIDDLE = (0.1, 0.1, 0.5, 0.2), (0.1, 0.3, 0.9, 0.4)


def texts(text: str, lines: list[TextLine]) -> list[str]:
    return [text[line.start : line.end] for line in lines]


def test_packed_lines_come_back_within_a_65535th() -> None:
    lines = [TextLine(0, 4, TOP), TextLine(5, 9, MIDDLE)]
    found = unpacked(packed(lines), 9)
    assert [(one.start, one.end) for one in found] == [(0, 4), (5, 9)]
    for one, was in zip(found, lines, strict=True):
        assert one.box == pytest.approx(was.box, abs=1 / 65_535)


def test_a_line_costs_16_characters() -> None:
    assert len(packed([TextLine(0, 4, TOP), TextLine(5, 9, MIDDLE)])) == 32


def test_a_gap_of_more_than_65535_characters_is_kept() -> None:
    found = unpacked(packed([TextLine(0, 1, TOP), TextLine(200_000, 200_005, MIDDLE)]), 300_000)
    assert [(one.start, one.end) for one in found] == [(0, 1), (200_000, 200_005)]


@pytest.mark.parametrize("damaged", ["no base64!", "AAAA", "ü", "=" * 16])
def test_damaged_lines_are_no_lines(damaged: str) -> None:
    assert unpacked(damaged, 100) == ()


def test_lines_beyond_the_text_and_boxes_that_are_none_are_no_lines() -> None:
    assert unpacked(packed([TextLine(5, 9, TOP)]), 8) == ()
    turned = base64.b64encode(b"\0\0\2\0" + b"\xff\xff" * 2 + b"\0\0" * 2).decode()
    assert unpacked(turned, 100) == ()


def test_lines_are_found_in_the_text_whatever_its_spaces() -> None:
    text = "Net  revenue\nby region"
    assert texts(text, located(text, [("Net revenue", TOP), ("by region", MIDDLE)])) == [
        "Net  revenue",
        "by region",
    ]


def test_a_word_that_was_divided_is_in_two_lines() -> None:
    text = "all coloured"
    found = located(text, [("all col", TOP), ("oured", MIDDLE)])
    assert texts(text, found) == ["all col", "oured"]


def test_a_line_that_the_text_does_not_have_costs_only_itself() -> None:
    text = "one two"
    found = located(text, [("one", TOP), ("of another page", TOP), ("two", MIDDLE)])
    assert texts(text, found) == ["one", "two"]


def test_the_same_line_twice_is_found_twice() -> None:
    text = "total\ntotal"
    found = located(text, [("total", TOP), ("total", MIDDLE)])
    assert [(one.start, one.box) for one in found] == [(0, TOP), (6, MIDDLE)]


def test_boxes_outside_of_the_picture_are_clipped_or_left_out() -> None:
    found = located("ab cd", [("ab", (-0.5, 0.1, 0.5, 0.2)), ("cd", (1.5, 0.1, 2.0, 0.2))])
    assert [one.box for one in found] == [(0.0, 0.1, 0.5, 0.2)]
    assert located("ab", [("ab", (float("nan"), 0, 1, 1))]) == []


def test_lines_move_with_their_text() -> None:
    lines = packed([TextLine(0, 3, TOP)])
    after = "A file name\none"
    assert texts(after, list(unpacked(moved(lines, "one", after), len(after)))) == ["one"]
    assert moved("", "one", after) == ""


def test_a_part_of_a_line_has_its_part_of_the_box() -> None:
    line = TextLine(10, 14, (0.0, 0.5, 0.8, 0.6))
    assert line.part(11, 13) == pytest.approx((0.2, 0.5, 0.6, 0.6))
    assert line.part(0, 99) == pytest.approx(line.box)


def test_a_part_of_a_line_that_runs_downwards_is_all_of_it() -> None:
    line = TextLine(0, 10, (0.9, 0.1, 0.95, 0.9))
    assert line.part(2, 3) == line.box


def test_a_stretch_of_text_has_a_box_in_each_of_its_lines() -> None:
    lines = [TextLine(0, 4, TOP), TextLine(5, 9, MIDDLE), TextLine(10, 12, TOP)]
    assert boxes_of(lines, 0, 9) == (pytest.approx(TOP), pytest.approx(MIDDLE))
    assert boxes_of(lines, 4, 5) == ()


def test_what_was_read_is_a_text_that_knows_its_lines() -> None:
    read = Lettering("a b", [("a", TOP)])
    assert (read, read.lines) == ("a b", (("a", TOP),))


def test_an_empty_line_is_refused() -> None:
    with pytest.raises(ValueError, match="no line"):
        TextLine(3, 3, TOP)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_box_turns_with_its_picture(degrees: int) -> None:
    box = (0.1, 0.2, 0.4, 0.3)
    image = Image.new("L", (100, 100))
    image.paste(255, (10, 20, 40, 30))
    turned = image.rotate(degrees).getbbox()
    assert turned is not None
    assert turned_box(box, degrees) == pytest.approx([side / 100 for side in turned])
    assert turned_box(turned_box(box, degrees), 360 - degrees) == pytest.approx(box)
