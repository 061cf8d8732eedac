"""Which pictures inside of a PDF's page are figures that OCR is to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from metaembed_rag.pages import Limits, Page, load_pages
from metaembed_rag.pages.figures import MAX_SIDE, MOST
from tests.support.files import Placed, illustrated, picture_of_text

TEXT = "\n".join(["The exports of the northern countries"] * 4)
CHART = picture_of_text(["Norway 12"])
BOX = (30.0, 100.0, 200.0, 80.0)


def load(tmp_path: Path, *pictures: Placed, text: str = TEXT, **limits: object) -> Page:
    path = tmp_path / "file.pdf"
    path.write_bytes(illustrated([(text, pictures)]))
    (page,) = load_pages(path, limits=Limits(**{"figures": True, **limits}))  # type: ignore[arg-type]
    return page


def test_a_chart_on_a_page_with_text_is_found_where_it_stands(tmp_path: Path) -> None:
    (figure,) = load(tmp_path, (CHART, BOX)).figures
    assert figure.box == pytest.approx((0.1, 0.55, 230 / 300, 0.75), abs=0.001)


def test_it_is_drawn_larger_than_on_the_page(tmp_path: Path) -> None:
    page = load(tmp_path, (CHART, BOX))
    (figure,) = page.figures
    assert page.image is not None
    on_page = (figure.box[2] - figure.box[0]) * page.image.width
    assert on_page < figure.size[0] <= MAX_SIDE
    assert figure.image.size == figure.size
    assert figure.image.convert("L").getextrema() == (0, 255)


def test_in_this_process_or_in_another_it_is_the_same(tmp_path: Path) -> None:
    here = load(tmp_path, (CHART, BOX), separate_process=False)
    assert here.figures == load(tmp_path, (CHART, BOX)).figures


def test_tiles_of_one_picture_are_one_figure(tmp_path: Path) -> None:
    left, bottom, width, height = BOX
    tiles = [(CHART, (left + n * width / 4, bottom, width / 4, height)) for n in range(4)]
    (figure,) = load(tmp_path, *tiles).figures
    assert figure.box == pytest.approx((0.1, 0.55, 230 / 300, 0.75), abs=0.001)


def test_two_charts_are_two_figures_the_larger_first(tmp_path: Path) -> None:
    small, large = (20.0, 20.0, 100.0, 70.0), (20.0, 120.0, 250.0, 150.0)
    first, second = load(tmp_path, (CHART, small), (CHART, large)).figures
    assert (first.box[1], second.box[1]) == pytest.approx((0.325, 0.775), abs=0.001)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((30.0, 100.0, 50.0, 50.0), id="an icon"),
        pytest.param((0.0, 100.0, 300.0, 30.0), id="a rule across the page"),
        pytest.param((0.0, 0.0, 300.0, 400.0), id="a background"),
    ],
)
def test_what_is_no_figure_is_left_alone(
    tmp_path: Path, box: tuple[float, float, float, float]
) -> None:
    assert load(tmp_path, (CHART, box), text="\n".join([TEXT] * 3)).figures == ()


def test_a_chart_on_a_background_is_a_figure(tmp_path: Path) -> None:
    background = (Image.new("RGB", (9, 9), "ivory"), (0.0, 0.0, 300.0, 400.0))
    text = "\n".join([TEXT] * 3)
    assert len(load(tmp_path, background, (CHART, BOX), text=text).figures) == 1


@pytest.mark.parametrize("size", [(200, 80), (3, 3)])
def test_a_shade_is_no_figure(tmp_path: Path, size: tuple[int, int]) -> None:
    assert load(tmp_path, (Image.new("RGB", size, "grey"), BOX)).figures == ()


def test_a_picture_whose_text_is_in_the_text_layer_is_not_read_again(tmp_path: Path) -> None:
    over_it = (CHART, (0.0, 300.0, 300.0, 100.0))
    assert load(tmp_path, over_it, text="\n".join([TEXT] * 2)).figures == ()


def test_a_page_has_a_bounded_number_of_figures(tmp_path: Path) -> None:
    many = [(CHART, (10.0 + 70 * (n % 4), 10.0 + 70 * (n // 4), 62.0, 62.0)) for n in range(8)]
    text = "\n".join([TEXT] * 3)
    assert len(load(tmp_path, *many, text=text).figures) == MOST


def test_a_page_without_text_has_none_since_it_is_read_as_a_whole(tmp_path: Path) -> None:
    assert load(tmp_path, (CHART, BOX), text="").figures == ()


def test_where_nobody_reads_them_they_are_not_drawn(tmp_path: Path) -> None:
    (figure,) = load(tmp_path, (CHART, BOX), figures=False).figures
    assert (figure.size, figure.data, figure.hash) == ((0, 0), b"", "")
