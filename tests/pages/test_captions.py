"""What is written beside the pixels of a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from metaembed_rag.pages import Page, load_pages
from tests.support.photos import add_iptc, exif, photo, save_photo, xmp

EIFFEL = {1: "N", 2: (48.0, 51.0, 30.24), 3: "E", 4: (2.0, 17.0, 40.2)}


def only(path: Path) -> Page:
    (page,) = load_pages(path)
    return page


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_exif_gives_caption_author_day_place_and_camera(tmp_path, suffix):
    tags = {0x010E: "Grandmother bakes a pie", 0x013B: "Ann Lee", 0x010F: "Canon"}
    tags |= {0x0110: "Canon EOS 5D", 0x9C9B: "Sunday\0".encode("utf-16-le")}
    data = exif(tags, {0x9003: "2021:07:12 14:30:15"}, EIFFEL)
    page = only(save_photo(tmp_path / f"IMG_1.{suffix}", exif=data))
    assert page.text.split("\n") == [
        "Sunday",
        "Grandmother bakes a pie",
        "by Ann Lee",
        "taken on 12 July 2021",
        "place 48.8584° N, 2.2945° E",
        "camera Canon EOS 5D",
    ]
    assert (page.text_from, page.unread) == ("exif", "scan")


def test_iptc_gives_headline_caption_keywords_and_place(tmp_path):
    path = save_photo(tmp_path / "IMG_1.jpg")
    fields = {105: ["Storm over Brest"], 120: ["Waves at the pier"], 25: ["sea", "wind"]}
    add_iptc(path, fields | {90: ["Brest"], 101: ["France"], 80: ["Ann Lee"]})
    page = only(path)
    expected = "Storm over Brest\nWaves at the pier\nsea, wind\nBrest\nFrance\nby Ann Lee"
    assert (page.text, page.text_from) == (expected, "iptc")


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_xmp_gives_description_subjects_and_city(tmp_path, suffix):
    packet = xmp("Waves at the pier", "Brest", ("sea", "wind"))
    page = only(save_photo(tmp_path / f"IMG_1.{suffix}", xmp=packet))
    assert (page.text, page.text_from) == ("Waves at the pier\nsea, wind\nBrest", "xmp")


def test_comments_and_texts_of_png_are_read_but_not_those_of_programs(tmp_path):
    texts = PngInfo()
    texts.add_text("Title", "Night train")
    texts.add_itxt("Description", "Der Zug nach Köln", zip=True)
    texts.add_text("Software", "Painter 3")
    texts.add_text("Comment", "Created with GIMP")
    png = only(save_photo(tmp_path / "IMG_1.png", pnginfo=texts))
    assert (png.text, png.text_from) == ("Night train\nDer Zug nach Köln", "comment")
    jpeg = only(save_photo(tmp_path / "IMG_2.jpg", comment=b"Ann on the ferry"))
    assert (jpeg.text, jpeg.text_from) == ("Ann on the ferry", "comment")


def test_what_stands_in_several_places_is_taken_once(tmp_path):
    data = exif({0x010E: "waves at the pier", 0x013B: "Ann"}, {}, {})
    path = save_photo(tmp_path / "IMG_1.jpg", exif=data, xmp=xmp("Waves at the pier"))
    assert only(path).text == "Waves at the pier\nby Ann"


def test_what_cameras_write_where_a_caption_belongs_is_left_out(tmp_path):
    data = exif(
        {0x010E: "OLYMPUS DIGITAL CAMERA         "},
        {0x9003: "0000:00:00 00:00:00", 0x9286: b"ASCII\0\0\0\0\0\0"},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
    )
    page = only(save_photo(tmp_path / "IMG_1.jpg", exif=data))
    assert (page.text, page.parts, page.unread) == ("", (), "")


BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'


@pytest.mark.parametrize(
    "beside",
    [
        {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"},
        {"exif": b"Exif\0\0nonsense"},
        {"xmp": b"<x:xmpmeta"},
        {"xmp": BOMB},
        {"xmp": "<a>é</a>".encode("utf-16")},
        {"comment": b"\0\x01\x02"},
    ],
)
def test_damaged_metadata_never_fail_a_picture(tmp_path, beside):
    path = save_photo(tmp_path / "red kite.jpg", **beside)
    assert only(path).text == "red kite"


def test_damaged_iptc_never_fails_a_picture(tmp_path):
    path = save_photo(tmp_path / "red kite.jpg")
    add_iptc(path, {120: ["Waves"]})
    path.write_bytes(path.read_bytes().replace(b"\x1c\x02x\0\x05", b"\x1c\x02x\xf0\x05"))
    assert only(path).text == "red kite"


def test_a_long_caption_is_cut(tmp_path):
    data = exif({0x010E: "a" * 60_000}, {}, {})
    assert len(only(save_photo(tmp_path / "IMG_1.jpg", exif=data)).text) == 2_000


def test_folders_below_the_given_one_are_words_and_uploads_have_only_a_name(tmp_path):
    path = save_photo(tmp_path / "Corsica" / "red kite.jpg")
    (page,) = load_pages(tmp_path)
    assert (page.text, page.text_from) == ("red kite\nCorsica", "file name, folder")
    assert str(tmp_path) not in page.text
    (upload,) = load_pages(path.read_bytes(), source="red kite.jpg")
    assert (upload.text, upload.text_from) == ("red kite", "file name")


def test_a_picture_of_one_colour_has_no_words_of_its_name(tmp_path):
    Image.new("RGB", (60, 40), "white").save(tmp_path / "red kite.jpg")
    assert only(tmp_path / "red kite.jpg").text == ""


def test_the_name_of_a_tiff_belongs_to_its_first_frame(tmp_path):
    path = tmp_path / "minutes.tif"
    photo(0).save(path, save_all=True, append_images=[photo(1)], description="board meeting")
    assert [page.text for page in load_pages(path)] == ["minutes\nboard meeting", ""]
