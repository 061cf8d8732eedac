"""Names of files and folders as words."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaembed_rag.pages.file_names import name_parts, words
from metaembed_rag.pages.parts import PicturePart


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red_kite-over.hill", "red kite over hill"),
        ("RedKite", "Red Kite"),
        ("apollo11-launch", "apollo 11 launch"),
        ("HTMLParser", "HTML Parser"),
        ("Straße_Köln", "Straße Köln"),
        ("cafe\u0301", "caf\u00e9"),
        ("हिन्दी", "हिन्दी"),
        ("東京タワー", "東京タワー"),
        ("O'Neill Bridge", "O'Neill Bridge"),
        ("Sam_and_Ann", "Sam and Ann"),
        ("IMG_2041 beach sunset", "beach sunset"),
        ("RedKite_2021-07-12", "Red Kite 12 July 2021"),
        ("IMG_20210712_143015", "12 July 2021"),
        ("PXL_20210712_143015123.MP", "12 July 2021"),
        ("Screenshot 2021-07-12 at 14.30.15", "12 July 2021"),
        ("WhatsApp Image 2021-07-12 at 10.11.12", "12 July 2021"),
    ],
)
def test_a_name_that_says_something_becomes_words(name, expected):
    assert words(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("IMG_2041", "DSC0001", "DSC_0001-Edit", "P1010012", "SAM_0041", "100CANON", "DCIM"),
        *("untitled 3", "image (2)", "page-17", "scan0003", "photo", "a", "x1", "0012", ""),
        *("d41d8cd98f00b204e9800998ecf8427e", "550e8400-e29b-41d4-a716-446655440000"),
        *("FzX3kQpWcAEa8t", "1626100215123", "20190230"),
    ],
)
def test_names_by_cameras_and_programs_say_nothing(name):
    assert words(name) == ""


def test_folders_count_below_the_one_that_was_given_and_the_nearest_three():
    home = Path("/home/ann/Pictures")
    assert name_parts("/home/ann/Pictures/Corsica 2021/100CANON/IMG_1.jpg", home) == [
        PicturePart("folder", "Corsica 2021")
    ]
    deep = name_parts("/home/ann/Pictures/aa/bb/cc/dd/red kite.jpg", home)
    assert deep == [PicturePart("file name", "red kite"), PicturePart("folder", "bb, cc, dd")]


@pytest.mark.parametrize("folder", [None, Path("/elsewhere")])
def test_without_a_given_folder_no_folder_counts(folder):
    assert name_parts("/home/ann/secret/red kite.jpg", folder) == [
        PicturePart("file name", "red kite")
    ]
