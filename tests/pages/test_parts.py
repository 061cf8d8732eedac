"""What the text of a picture's page is made from."""

from __future__ import annotations

import pytest
from PIL import Image

from metaembed_rag.errors import PageError
from metaembed_rag.pages import Page
from metaembed_rag.pages.parts import ORIGINS, PicturePart, in_order, joined, origins
from metaembed_rag.pages.reading import completed, parts_of, with_part

PHOTO = Page(source="a.jpg", image=Image.new("RGB", (8, 8), "navy"))


def test_parts_stand_in_the_order_of_their_origins_whatever_the_order_of_their_coming():
    parts = [PicturePart(origin, origin.upper()) for origin in (*reversed(ORIGINS), "mine")]
    ordered = in_order(parts)
    assert [part.origin for part in ordered] == [*ORIGINS, "mine"]
    assert joined(ordered).startswith("TEXT\nFILE NAME\nFOLDER\n")
    assert origins(ordered[:2]) == "text, file name"


@pytest.mark.parametrize(("origin", "text"), [("", "a"), (" ", "a"), ("a, b", "a"), ("ocr", " ")])
def test_a_part_has_an_origin_without_a_comma_and_a_text(origin, text):
    with pytest.raises(PageError, match="a part of a page"):
        PicturePart(origin, text)


def test_what_is_read_from_the_pixels_leaves_the_content_hash_and_what_is_beside_them_does_not():
    named = with_part(PHOTO, "file name", "red kite")
    told = with_part(with_part(named, "ocr", "EXIT"), "description", "a bird above a hill")
    assert told.text == "red kite\na bird above a hill\nEXIT"
    assert told.text_from == "file name, description, ocr"
    assert (told.text_from_ocr, told.text_layer) == (True, "red kite")
    assert named.content_hash() == told.content_hash() != PHOTO.content_hash()


def test_a_part_takes_the_place_of_the_one_of_its_origin_and_no_text_takes_it_out():
    page = with_part(with_part(PHOTO, "description", "a dog"), "description", "a cat")
    assert page.text == "a cat"
    assert with_part(page, "description", "") == PHOTO


def test_a_text_that_says_nothing_of_its_parts_is_a_part_and_so_is_what_ocr_added():
    layer = Page(source="a.pdf", text="Total 12", image=PHOTO.image)
    page = with_part(completed(layer, "Signed in Rome"), "description", "a letter")
    assert page.text_from == "text, description, ocr"
    assert page.text == "Total 12\na letter\nSigned in Rome"
    assert page.content_hash() == layer.content_hash()
    assert parts_of(PHOTO) == ()


def test_pages_without_parts_say_what_ocr_gave():
    layer = Page(source="a.pdf", text="Total 12", image=PHOTO.image)
    assert layer.text_from == ""
    assert completed(layer, "Signed in Rome").text_from == "text, ocr"
    assert completed(PHOTO, "EXIT").text_from == "ocr"
