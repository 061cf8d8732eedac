"""Image files -> pages."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaembed_rag.errors import FileTooLargeError, PageError, UnreadableFileError
from metaembed_rag.pages import Limits, Page, bounded, load_pages
from metaembed_rag.pages.pictures import to_rgb
from tests.support.files import picture, two_colors

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def load(path: Path, **options: object) -> Image.Image:
    """The picture of a file that is one page."""
    (page,) = load_pages(path, **options)  # type: ignore[arg-type]
    assert page.image is not None
    return page.image


def near(pixel: object, expected: tuple[int, int, int]) -> bool:
    return bool(np.abs(np.subtract(pixel, expected)).max() <= 3)  # JPEG and WebP lose a little


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "tif", "tiff"])
def test_every_kind_of_image_is_read(tmp_path: Path, suffix: str) -> None:
    two_colors().save(tmp_path / f"a.{suffix}")
    image = load(tmp_path / f"a.{suffix}")
    assert (image.mode, image.size) == ("RGB", (60, 40))
    assert near(image.getpixel((2, 20)), RED)
    assert near(image.getpixel((57, 20)), BLUE)


def test_the_format_counts_and_not_the_suffix(tmp_path: Path) -> None:
    two_colors().save(tmp_path / "a.jpg", format="PNG")
    assert load(tmp_path / "a.jpg").getpixel((0, 0)) == RED


def test_a_large_picture_is_made_smaller_with_its_proportions(tmp_path: Path) -> None:
    two_colors((600, 400)).save(tmp_path / "a.png")
    assert load(tmp_path / "a.png", max_side=300).size == (300, 200)


def test_a_large_photograph_is_made_smaller_and_stays_right(tmp_path: Path) -> None:
    two_colors((3000, 2000)).save(tmp_path / "a.jpg")
    image = load(tmp_path / "a.jpg", max_side=300)
    assert image.size == (300, 200)
    assert near(image.getpixel((5, 100)), RED)


def test_a_small_picture_keeps_its_size() -> None:
    image = two_colors((60, 40))
    assert bounded(image, 60) is image


def test_a_line_of_pixels_keeps_a_pixel_of_width() -> None:
    assert bounded(picture(size=(2000, 1)), 100).size == (100, 1)


@pytest.mark.parametrize(
    ("orientation", "size", "left"),
    [(1, (60, 40), RED), (2, (60, 40), BLUE), (3, (60, 40), BLUE), (6, (40, 60), None)],
)
def test_the_exif_orientation_is_applied(
    tmp_path: Path, orientation: int, size: tuple[int, int], left: tuple[int, int, int] | None
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    two_colors().save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = load(tmp_path / "a.jpg")
    assert image.size == size
    if left is None:  # turned clockwise: what was left is on top
        assert near(image.getpixel((20, 2)), RED)
    else:
        assert near(image.getpixel((2, 20)), left)


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    image = picture((255, 0, 0, 255), mode="RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 30, 40))
    image.save(tmp_path / "a.png")
    read = load(tmp_path / "a.png")
    assert (read.getpixel((5, 5)), read.getpixel((55, 5))) == (WHITE, RED)


def test_a_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    image = two_colors().quantize(2)
    red = image.getpixel((0, 0))
    image.save(tmp_path / "a.png", transparency=red)
    read = load(tmp_path / "a.png")
    assert (read.getpixel((5, 5)), read.getpixel((55, 5))) == (WHITE, BLUE)


def strokes(color: str, background: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Image.Image:
    """Thin lines on transparency, as letters are."""
    image = Image.new("RGBA", (200, 100), background)
    for left in range(20, 180, 20):
        image.paste(color, (left, 20, left + 3, 80))
    return image


@pytest.mark.parametrize(
    ("color", "paper"), [("black", WHITE), ("navy", WHITE), ("white", (0, 0, 0))]
)
def test_fault_05_transparent_parts_are_of_the_colour_that_shows_what_is_there(
    color: str, paper: tuple[int, int, int]
) -> None:
    rgb = to_rgb(strokes(color))
    assert rgb.getpixel((0, 0)) == paper
    assert rgb.getpixel((21, 50)) == Image.new("RGB", (1, 1), color).getpixel((0, 0))


def test_fault_05_letters_cut_out_of_white_are_dark() -> None:
    image = picture((255, 255, 255, 255), (200, 100), "RGBA")
    for left in range(20, 180, 20):
        image.paste((0, 0, 0, 0), (left, 20, left + 3, 80))
    assert to_rgb(image).getpixel((21, 50)) == (0, 0, 0)


def test_a_white_card_with_dark_letters_and_transparent_margins_stays_on_white() -> None:
    card = strokes("black", (255, 255, 255, 255))
    image = Image.new("RGBA", (260, 160), (0, 0, 0, 0))
    image.paste(card, (30, 30))
    assert to_rgb(image).getpixel((0, 0)) == WHITE


def test_a_picture_that_is_transparent_all_over_is_white() -> None:
    assert to_rgb(picture((9, 9, 9, 0), mode="RGBA")).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1080, 8000), (634, 4693)),
        ((8000, 1080), (4693, 634)),
        ((3000, 40), (3000, 40)),
        ((1080, 2400), (403, 896)),  # the screen of a telephone is a page
        ((40_000, 20), (28_672, 14)),
    ],
)
def test_fault_05_a_long_picture_stays_wide_enough_to_be_read(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    picture(size=size, mode="L").save(tmp_path / "a.png")
    found = load(tmp_path / "a.png").size
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 1


def test_a_picture_that_is_rgb_already_is_not_copied() -> None:
    image = two_colors()
    assert to_rgb(image) is image
    assert to_rgb(image.convert("RGBA")).mode == "RGB"


def test_sixteen_bit_grey_keeps_its_tones(tmp_path: Path) -> None:
    tones = np.array([[0, 257 * 100, 65_535]], dtype=np.uint16)
    Image.fromarray(tones).save(tmp_path / "a.png")
    image = load(tmp_path / "a.png")
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]  # type: ignore[index]


def test_float_grey_is_stretched_over_all_tones(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-1.0, 0.0, 1.0]], dtype=np.float32)).save(tmp_path / "a.tif")
    image = load(tmp_path / "a.tif")
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]  # type: ignore[index]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_white_is_white_in_every_mode(tmp_path: Path, mode: str) -> None:
    picture().convert(mode).save(tmp_path / "a.tif")
    assert load(tmp_path / "a.tif").getpixel((5, 5)) == WHITE


def test_cmyk_photographs_keep_their_colours(tmp_path: Path) -> None:
    two_colors().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    image = load(tmp_path / "a.jpg")
    assert near(image.getpixel((2, 20)), RED)
    assert near(image.getpixel((57, 20)), BLUE)


def frames(path: Path, *colors: str) -> Path:
    first, *rest = [picture(color) for color in colors]
    first.save(path, save_all=True, append_images=rest)
    return path


def test_the_frames_of_a_tiff_are_pages(tmp_path: Path) -> None:
    pages = list(load_pages(frames(tmp_path / "fax.tif", "red", "blue")))
    assert [(p.number, p.page_count, p.image and p.image.getpixel((0, 0))) for p in pages] == [
        (1, 2, RED),
        (2, 2, BLUE),
    ]


def test_too_many_frames_are_refused_with_the_numbers(tmp_path: Path) -> None:
    path = frames(tmp_path / "fax.tif", "red", "blue", "white")
    with pytest.raises(FileTooLargeError, match="has 3 frames, over the limit of 2"):
        list(load_pages(path, limits=Limits(max_pages=2)))


def test_an_animated_webp_is_its_first_frame(tmp_path: Path) -> None:
    assert near(load(frames(tmp_path / "a.webp", "red", "blue")).getpixel((0, 0)), RED)


def bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that says it has ``width`` x ``height`` pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(100))) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [9_000, 10_000, 60_000])
def test_a_decompression_bomb_is_refused_with_the_numbers_and_no_warning(
    tmp_path: Path, side: int, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "a.png").write_bytes(bomb(side, side))
    with pytest.raises(FileTooLargeError, match=r"80,000,000"):
        list(load_pages(tmp_path / "a.png"))
    assert len(recwarn) == 0


def test_a_picture_over_the_limit_of_pixels_is_refused_with_the_numbers(tmp_path: Path) -> None:
    two_colors((60, 40)).save(tmp_path / "a.png")
    with pytest.raises(FileTooLargeError, match=r"60 x 40 = 2,400 pixels, over the limit of 2,399"):
        list(load_pages(tmp_path / "a.png", limits=Limits(max_pixels=2_399)))


def noise(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_a_truncated_image_is_reported(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"a.{kind}").write_bytes(noise(kind)[:1_500])
    with pytest.raises(UnreadableFileError, match="is damaged"):
        list(load_pages(tmp_path / f"a.{kind}"))


def test_a_text_with_the_suffix_of_a_picture_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("this is no picture")
    with pytest.raises(UnreadableFileError, match="no PNG, JPEG, WebP, TIFF, GIF, BMP or AVIF"):
        list(load_pages(tmp_path / "a.png"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on corrupt tags
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_flipped_bytes_make_a_page_or_a_report_but_never_another_error(
    tmp_path: Path, kind: str
) -> None:
    data, random = noise(kind), np.random.default_rng(1)
    path = tmp_path / f"a.{kind}"
    found: list[Page | PageError] = []
    for _ in range(60):
        bad = bytearray(data)
        for place in random.integers(0, min(len(bad), 400), 4):
            bad[place] = random.integers(0, 256)
        path.write_bytes(bad)
        found.extend(load_pages(path, on_skip=found.append))
    assert len(found) >= 60
