"""Text read from pictures. The engine itself runs twice, on small pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from metaembed_rag.errors import MissingExtraError
from metaembed_rag.pages import ocr
from metaembed_rag.pages.ocr import Line, read_text, reading_order
from tests.support.files import picture, picture_of_text


def words(rows: list[list[Line]]) -> list[str]:
    return [" ".join(line.text for line in row) for row in rows]


def test_pieces_beside_each_other_are_one_row_from_left_to_right() -> None:
    pieces = [Line("74%", 200, 12, 240, 32), Line("Attend", 10, 10, 90, 30)]
    assert words(reading_order(pieces)) == ["Attend 74%"]


def test_rows_go_from_top_to_bottom() -> None:
    pieces = [Line("low", 10, 80, 60, 100), Line("high", 10, 10, 60, 30)]
    assert words(reading_order(pieces)) == ["high", "low"]


def column(name: str, left: int) -> list[Line]:
    return [Line(f"{name}{n}", left, 100 + 30 * n, left + 300, 120 + 30 * n) for n in range(4)]


def test_columns_of_running_text_are_read_one_by_one_below_their_title() -> None:
    title = Line("title", 100, 10, 600, 40)
    rows = reading_order([*column("right", 400), *column("left", 20), title])
    assert words(rows) == [
        "title",
        *(f"left{n}" for n in range(4)),
        *(f"right{n}" for n in range(4)),
    ]


def test_cells_of_a_table_stay_in_their_rows() -> None:
    cells = [Line(f"a{n}", 20, 100 + 30 * n, 50, 120 + 30 * n) for n in range(5)]
    cells += [Line(f"b{n}", 400, 100 + 30 * n, 430, 120 + 30 * n) for n in range(5)]
    assert words(reading_order(cells)) == [f"a{n} b{n}" for n in range(5)]


def test_nothing_has_an_order_too() -> None:
    assert reading_order([]) == []


def test_without_the_extra_the_error_is_the_line_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    ocr._engine.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r"pip install 'metaembed-rag\[ocr\]'"):
            read_text(picture())
    finally:
        ocr._engine.cache_clear()


@pytest.mark.integration
def test_text_is_read_from_a_picture_and_a_vertical_label_too(
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("rapidocr")
    image = picture_of_text(["Revenue by region 2025", "Europe 42 percent"], (560, 320))
    label = picture_of_text(["million euros"], (260, 60)).rotate(90, expand=True)
    image.paste(label, (500, 40))
    text = read_text(image)
    assert "Revenue by region 2025" in text
    assert "Europe 42 percent" in text
    assert "million euros" in text
    assert capfd.readouterr() == ("", "")


def test_a_picture_without_text_gives_none() -> None:
    pytest.importorskip("rapidocr")
    assert read_text(picture(size=(1, 1))) == ""


@pytest.mark.slow
def test_most_words_of_real_pages_are_found(data: Path) -> None:
    pytest.importorskip("rapidocr")
    import json
    import re

    from PIL import Image

    def vocabulary(text: str) -> set[str]:
        return set(re.findall(r"[a-z]{4,}", text.lower()))

    folder = data / "texdoc_pages"
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    shares = []
    for row in [row for row in rows if len(row["text"]) > 1_200][:3]:
        expected = vocabulary(row["text"].replace("\x02", ""))
        found = vocabulary(read_text(Image.open(folder / row["image"])))
        shares.append(len(expected & found) / len(expected))
    assert min(shares) > 0.85
