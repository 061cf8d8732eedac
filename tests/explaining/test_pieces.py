"""A text cut into lines and sentences, and windows of these."""

from __future__ import annotations

from metaembed_rag.explaining.pieces import around, runs, span_of, units, windows


def said(text: str) -> list[str]:
    return [text[start:end] for start, end in units(text)]


def test_lines_are_units_and_those_without_a_letter_are_none() -> None:
    assert said("Title\n  first line \n---\n\nlast") == ["Title", "first line", "last"]


def test_a_long_line_is_cut_into_sentences() -> None:
    first, second = "The pump " + "runs " * 20 + "well.", "It " + "stops " * 20 + "at night."
    assert said(f"{first} {second}") == [first, second]


def test_a_sentence_without_an_end_is_cut_at_spaces() -> None:
    text = "word " * 200
    assert all(len(one) <= 400 for one in said(text))
    assert "".join(said(text)).count("word") == 200


def test_a_text_without_any_space_is_cut_all_the_same() -> None:
    assert "".join(said("x" * 1000)) == "x" * 1000


def test_nothing_has_no_units() -> None:
    assert units("") == []
    assert units(" \n . \n") == []


def test_windows_cover_their_scope_and_are_about_twelve() -> None:
    for count in (65, 100, 1000):
        found = windows(range(count))
        assert {unit for window in found for unit in window} == set(range(count))
        assert len(found) <= 13


def test_no_window_bridges_a_gap() -> None:
    for window in windows([*range(40), *range(60, 100)]):
        assert not set(window) & set(range(40, 60))


def test_runs_are_the_numbers_in_a_row() -> None:
    assert list(runs([1, 2, 5, 6, 7])) == [range(1, 3), range(5, 8)]


def test_windows_around_a_seed_hold_it() -> None:
    assert around([2], range(4), (2,)) == [range(1, 3), range(2, 4)]
    assert around([0, 1], range(2), (2, 3)) == [range(2)]


def test_a_window_begins_and_ends_with_its_units() -> None:
    assert span_of([(0, 3), (5, 9), (12, 20)], range(1, 3)) == (5, 20)
