"""Text read from pictures. The engine itself runs on small pictures only."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from metaembed_rag.errors import MissingExtraError
from metaembed_rag.pages import load_pages, ocr
from metaembed_rag.pages.lines import Lettering, turn_of
from metaembed_rag.pages.ocr import Line, read_here, read_text, reading_order
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
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[ocr\]'"):
        read_text(picture())


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


ODD = Path(__file__).parents[1] / "fixtures" / "odd_files" / "img"
SENTENCES = [f"Sentence {word} of the page" for word in ("one", "two", "three", "four")]


def text_of(name: str) -> str:
    pytest.importorskip("rapidocr")
    (page,) = load_pages(ODD / name)
    assert page.image is not None
    return read_text(page.image)


@pytest.mark.integration
def test_fault_05_a_scan_upside_down_is_read() -> None:
    text = text_of("rot180.png")
    assert text.startswith("The boiler must be drained before the pressure valve is")
    assert "48,200 euro" in text


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_fault_05_a_picture_is_read_whichever_way_it_lies(angle: int) -> None:
    pytest.importorskip("rapidocr")
    image = picture_of_text(SENTENCES, (400, 200)).rotate(angle, expand=True)
    assert read_text(image).split("\n") == SENTENCES


@pytest.mark.integration
def test_fault_05_a_tall_screenshot_is_read_to_its_end() -> None:
    text = text_of("tall8000.png")
    assert text.startswith("The boiler must be drained before the\npressure valve is replaced.")
    assert "48,200 euro" in text


@pytest.mark.parametrize(
    "name", ["transparent_white_text.png", "la_white_text.png", "palette_trns.png"]
)
def test_fault_05_white_text_on_transparency_is_read(name: str) -> None:
    assert text_of(name).startswith("Replace the pressure valve\nof boiler")


def test_fault_05_letters_of_eight_pixels_are_found() -> None:
    assert text_of("tiny_text.png").startswith("Replace the pressure valve")


@pytest.mark.parametrize("is_wide", [False, True])
def test_fault_05_a_long_picture_is_cut_between_its_lines_and_no_row_is_in_two_pieces(
    is_wide: bool,
) -> None:
    image = Image.new("RGB", (500, 4_000), "white")
    bars = [(0, top, 500, top + 30) for top in range(20, 4_000, 50)]
    for bar in bars:
        image.paste(picture_of_text(["x" * 40], (500, 30)), bar)
        image.paste("black", (100, bar[1], 110, bar[3]))
    if is_wide:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    pieces = list(ocr._pieces(image))
    ends = [(box[0], box[2]) if is_wide else (box[1], box[3]) for box in pieces]
    assert [start for start, _ in ends[1:]] == [end for _, end in ends[:-1]]
    assert (ends[0][0], ends[-1][1]) == (0, 4_000)
    assert max(end - start for start, end in ends) < 1_000
    assert all((end - 20) % 50 > 30 for _, end in ends[:-1])


def test_a_picture_that_is_not_long_is_read_in_one_piece() -> None:
    assert list(ocr._pieces(picture(size=(634, 896)))) == [(0, 0, 634, 896)]


class Engine:
    """Reads what it is told to, and counts the pictures and the lines that it was given."""

    def __init__(self, lines: list[tuple[str, tuple[int, int, int, int], float]]) -> None:
        self.lines, self.pictures, self.single = lines, 0, 0

    def __call__(self, pixels: np.ndarray, use_det: bool) -> SimpleNamespace:
        if not use_det:
            self.single += 1
            return SimpleNamespace(txts=("?",), scores=(0.1,))
        self.pictures += 1
        corners = [[(a, b), (c, b), (c, d), (a, d)] for _, (a, b, c, d), _ in self.lines]
        return SimpleNamespace(
            txts=tuple(text for text, _, _ in self.lines),
            boxes=np.array(corners, dtype=np.float32),
            scores=tuple(score for _, _, score in self.lines),
        )


@pytest.mark.parametrize(("score", "single"), [(0.95, 0), (0.7, 1)])
def test_only_doubtful_pictures_are_read_the_other_way_round(
    monkeypatch: pytest.MonkeyPatch, score: float, single: int
) -> None:
    engine = Engine([("some words", (10, 10, 90, 20), score)])
    monkeypatch.setattr(ocr, "_engine", lambda: engine)
    assert read_here(picture(size=(200, 200))) == "some words"
    assert (engine.pictures, engine.single) == (1, single)


def test_what_is_read_with_little_confidence_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([("clear", (10, 10, 90, 20), 0.99), ("smudge", (10, 40, 90, 50), 0.4)])
    monkeypatch.setattr(ocr, "_engine", lambda: engine)
    assert read_here(picture(size=(200, 200))) == "clear"


def test_a_line_of_pixels_has_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([])
    monkeypatch.setattr(ocr, "_engine", lambda: engine)
    assert read_text(picture(size=(20_000, 2))) == ""
    assert engine.pictures == 0


def test_any_number_of_lines_has_an_order() -> None:
    steps = [Line(str(n), 0, n * (n + 30), 20, n * (n + 30) + 20) for n in range(200)]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        assert words(reading_order(steps)) == [str(n) for n in range(200)]
    finally:
        sys.setrecursionlimit(limit)


def lines_of_ink(image: Image.Image, read: str) -> list[tuple[str, bool]]:
    """What was read in each line, and whether its box holds ink and little else."""
    assert isinstance(read, Lettering)
    dark = np.asarray(image.convert("L")) < 128
    found = []
    for said, (left, top, right, bottom) in read.lines:
        rows = slice(int(top * image.height), int(bottom * image.height) + 1)
        columns = slice(int(left * image.width), int(right * image.width) + 1)
        found.append((said, bool(dark[rows, columns].mean() > 0.05)))
    return found


@pytest.mark.integration
@pytest.mark.parametrize("turn", [None, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90])
def test_what_was_read_knows_where_it_stands_on_the_picture_as_it_was_given(
    turn: Image.Transpose | None,
) -> None:
    pytest.importorskip("rapidocr")
    said = ["Revenue by region 2025", "Europe 42 percent", "boilers and gaskets", "flow meter"]
    image = picture_of_text(said, (560, 320))
    given = image if turn is None else image.transpose(turn)
    found = lines_of_ink(given, read_text(given))
    assert [found[0], found[-1]] == [("Revenue by region 2025", True), ("flow meter", True)]


@pytest.mark.integration
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_what_was_read_knows_how_the_picture_is_turned(turned: int) -> None:
    pytest.importorskip("rapidocr")
    image = picture_of_text(["Revenue by region 2025", "boilers and gaskets", "flow meter"])
    read = read_text(image.rotate(turned, expand=True))
    assert turn_of(read) == (360 - turned) % 360


def test_lines_of_a_worker_that_are_none_are_refused() -> None:
    header = {"text": "a", "lines": [["a", [0, 0, 1, 1]]]}
    assert ocr.lettering_of(header, b"").lines == (("a", (0.0, 0.0, 1.0, 1.0)),)
    assert ocr.lettering_of({**header, "turn": 90}, b"").turn == 90
    with pytest.raises(ValueError, match="turn"):
        ocr.lettering_of({**header, "turn": 45}, b"")
    for lines in ([["a"]], [["a", [0, 0, 1]]], [["a", ["x", 0, 1, 1]]], 7):
        with pytest.raises(ValueError, match="frame|unpack|convert"):
            ocr.lettering_of({"text": "a", "lines": lines}, b"")
