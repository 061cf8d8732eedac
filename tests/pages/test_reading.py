"""What a page says beyond its text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from metaembed_rag.errors import ModelError
from metaembed_rag.pages import Page, load_pages
from metaembed_rag.pages.lines import Lettering, TextLine, packed, unpacked
from metaembed_rag.pages.parts import PicturePart
from metaembed_rag.pages.reading import completed, merged, ocr_policy, ocr_text_of, with_part
from tests.pages.test_legibility import ENGLISH, shifted
from tests.support.files import picture

ODD = Path(__file__).parents[1] / "fixtures" / "odd_files" / "pdf"
SCAN = Page("scan.pdf", text="ACME fax 12 May", image=picture(), unread="scan")


@pytest.mark.parametrize(
    ("given", "policy"),
    [(True, "auto"), (False, "never"), ("always", "always"), ("auto", "auto"), ("never", "never")],
)
def test_an_option_names_a_policy(given: object, policy: str) -> None:
    assert ocr_policy(given) == policy  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["sometimes", 1.5, None])
def test_another_policy_is_refused_with_the_three(given: object) -> None:
    with pytest.raises(ModelError, match="not one of always, auto, never"):
        ocr_policy(given)  # type: ignore[arg-type]


def test_fault_03_both_texts_are_kept_and_the_line_is_not_doubled() -> None:
    page = completed(SCAN, "ACME fax l2 May\nthe body of the letter\n12")
    assert page.text == "ACME fax 12 May\nthe body of the letter"
    assert (page.text_from_ocr, page.unread) == (True, "")


def test_fault_03_what_ocr_read_does_not_change_the_content_hash_and_the_line_does() -> None:
    read = completed(SCAN, "the body of the letter")
    assert read.content_hash() == SCAN.content_hash()
    other = Page("scan.pdf", text="ACME fax 13 May", image=picture(), unread="scan")
    assert completed(other, "the body of the letter").content_hash() != read.content_hash()
    assert completed(read, "and more").content_hash() == SCAN.content_hash()


def test_fault_03_a_scan_on_which_nothing_is_read_keeps_its_line() -> None:
    page = completed(SCAN, "ACME fax 12 May")
    assert (page.text, page.text_from_ocr, page.unread) == (SCAN.text, False, "")


def test_fault_04_a_cipher_is_replaced_and_what_stands_beside_it_kept() -> None:
    rubbish = shifted(ENGLISH, 4)
    page = Page(
        "a.pdf", text=f"{rubbish}\nnote", image=picture(), unread="cipher", doubtful=len(rubbish)
    )
    read = completed(page, ENGLISH)
    assert read.text == f"note\n{ENGLISH}"
    assert read.content_hash() == page.content_hash()


def test_fault_04_a_text_in_doubt_that_ocr_confirms_stays_as_it_is() -> None:
    page = Page("a.pdf", text=ENGLISH, image=picture(), unread="cipher")
    read = completed(page, ENGLISH.replace("e", "c", 9))
    assert (read.text, read.text_from_ocr, read.unread) == (ENGLISH, False, "")


def test_lines_that_are_said_already_are_not_said_again() -> None:
    assert merged("", "read") == "read"
    assert merged("Sales by region, 2024", "Sales by region,2024\nNorth 12\nSouth 7") == (
        "Sales by region, 2024\nNorth 12\nSouth 7"
    )
    assert merged("Sales 7", "7") == "Sales 7"
    assert merged("Sales", " \n") == "Sales"


@pytest.mark.parametrize(
    "name", ["cipher_no_map.pdf", "cipher_shifted.pdf", "scan_under_digital_header.pdf"]
)
def test_fault_03_and_04_what_such_a_page_shows_is_read(name: str) -> None:
    pytest.importorskip("rapidocr")
    from metaembed_rag.pages.ocr import read_text

    (page,) = load_pages(ODD / name)
    assert page.image is not None
    text = completed(page, read_text(page.image)).text
    for words in ("boiler must be drained", "Ottokar Zwiebel", "error nineteen"):
        assert words in " ".join(text.split())
    assert "fsmpiv" not in text


HIGH, LOW = (0.1, 0.1, 0.9, 0.2), (0.1, 0.5, 0.9, 0.6)


def lines_of(page: Page) -> list[tuple[str, float]]:
    """Each line's text, and how far down it stands."""
    found = unpacked(page.lines, len(page.text))
    return [(page.text[line.start : line.end], round(line.box[1], 2)) for line in found]


def test_lines_of_the_text_layer_stay_and_those_that_ocr_read_join_them() -> None:
    layer = replace(SCAN, lines=packed([TextLine(0, len(SCAN.text), HIGH)]))
    read = Lettering("ACME fax 12 May\nDear sir", [("ACME fax 12 May", LOW), ("Dear sir", LOW)])
    assert lines_of(completed(layer, read)) == [("ACME fax 12 May", 0.1), ("Dear sir", 0.5)]


def test_lines_move_when_a_part_is_put_before_them() -> None:
    parts = (PicturePart("file name", "harbour"),)
    page = Page("a.png", text="harbour", image=picture(), parts=parts, unread="scan")
    read = completed(page, Lettering("ships", [("ships", LOW)]))
    assert lines_of(read) == [("ships", 0.5)]
    described = with_part(read, "description", "A harbour with cranes.")
    assert lines_of(described) == [("ships", 0.5)]
    assert described.text.index("ships") > read.text.index("ships")


def test_what_ocr_read_before_still_knows_its_lines() -> None:
    page = completed(Page("a.png", image=picture()), Lettering("ships", [("ships", LOW)]))
    again = ocr_text_of(page)
    assert isinstance(again, Lettering)
    assert lines_of(completed(Page("b.png", image=picture()), again)) == [("ships", 0.5)]


def test_a_plain_text_has_no_lines() -> None:
    assert completed(Page("a.png", image=picture()), "ships").lines == ""


# -- a picture that was read turned -------------------------------------------------------------

LETTER = "the body of a long letter about pumps, gaskets and hoses in the cellar of the house " * 2
SIDEWAYS = Lettering(LETTER.strip(), [(LETTER.strip(), (0.1, 0.2, 0.3, 0.9))], turn=90)


def test_a_scan_that_was_read_turned_is_turned_upright_with_its_lines() -> None:
    scan = Page("scan.png", image=Image.new("RGB", (40, 20)))
    page = completed(scan, SIDEWAYS)
    assert page.image is not None
    assert (page.image.size, page.turned) == ((20, 40), 90)
    (line,) = unpacked(page.lines, len(page.text))
    assert line.box == pytest.approx((0.2, 0.7, 0.9, 0.9), abs=0.001)


def test_its_content_hash_is_that_of_the_picture_as_it_was() -> None:
    scan = Page("scan.png", image=Image.new("RGB", (40, 20)))
    page = completed(scan, SIDEWAYS)
    assert page.content_hash() == scan.content_hash()
    assert page.picture_hash() == scan.picture_hash()


def test_the_lines_that_it_had_turn_too() -> None:
    had = packed([TextLine(0, 3, (0.0, 0.0, 0.5, 0.1))])
    scan = Page("scan.pdf", text="fax", image=Image.new("RGB", (40, 20)), unread="scan", lines=had)
    first, *_ = unpacked(completed(scan, SIDEWAYS).lines, 999)
    assert first.box == pytest.approx((0.0, 0.5, 0.1, 1.0), abs=0.001)


def test_what_was_read_of_it_serves_for_the_same_picture_in_another_place() -> None:
    scan = Page("scan.png", image=Image.new("RGB", (40, 20)))
    page = completed(scan, SIDEWAYS)
    read = ocr_text_of(page)
    assert isinstance(read, Lettering)
    assert (read, read.turn) == (SIDEWAYS, 90)
    assert read.lines[0][1] == pytest.approx((0.1, 0.2, 0.3, 0.9), abs=0.001)
    again = completed(scan, read)
    assert (again.turned, again.lines) == (90, page.lines)


def test_it_is_turned_once() -> None:
    page = completed(Page("scan.png", image=Image.new("RGB", (40, 20))), SIDEWAYS)
    again = completed(replace(page, text="", text_from_ocr=False, lines=""), SIDEWAYS)
    assert again.image is not None
    assert (again.image.size, again.lines) == ((20, 40), page.lines)


def test_a_sign_that_hangs_sideways_does_not_turn_a_photo() -> None:
    photo = Page("photo.jpg", image=Image.new("RGB", (40, 20)))
    page = completed(photo, Lettering("HOTEL", [("HOTEL", (0.1, 0.2, 0.3, 0.9))], turn=90))
    assert page.image is not None
    assert (page.image.size, page.turned, page.text) == ((40, 20), 0, "HOTEL")
