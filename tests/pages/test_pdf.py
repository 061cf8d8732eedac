"""PDFs -> pages."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pypdfium2 as pdfium
import pytest
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from metaembed_rag.errors import (
    EncryptedFileError,
    FileTooLargeError,
    PageError,
    UnreadableFileError,
)
from metaembed_rag.pages import Limits, Page, load_pages, page_texts
from metaembed_rag.pages.pdf import clean_text
from metaembed_rag.pages.pdf_pictures import picture_share
from tests.support.files import (
    encrypt,
    make_pdf,
    pdf_bytes,
    picture,
    tiled_scan,
    with_annotations,
    with_broken_page,
    with_roman_labels,
    without_pages,
)

ODD = Path(__file__).parents[1] / "fixtures" / "odd_files" / "pdf"


def load(tmp_path: Path, data: bytes, **options: object) -> list[Page]:
    path = tmp_path / "file.pdf"
    path.write_bytes(data)
    return list(load_pages(path, **options))  # type: ignore[arg-type]


def test_each_page_has_its_text_number_and_the_count(tmp_path: Path) -> None:
    pages = load(tmp_path, pdf_bytes(["apples", "pears"]))
    assert [(p.number, p.text, p.page_count) for p in pages] == [(1, "apples", 2), (2, "pears", 2)]


def test_the_picture_is_rgb_with_the_longest_side_asked_for(tmp_path: Path) -> None:
    (page,) = load(tmp_path, pdf_bytes(["x"], size=(300, 400)), max_side=200)
    assert page.image is not None
    assert (page.image.mode, page.image.size) == ("RGB", (150, 200))


def test_the_picture_shows_the_page(tmp_path: Path) -> None:
    (page,) = load(tmp_path, pdf_bytes(["some black words"]))
    assert page.image is not None
    assert page.image.convert("L").getextrema() == (0, 255)


def test_a_small_page_is_not_blown_up(tmp_path: Path) -> None:
    (page,) = load(tmp_path, pdf_bytes(["x"], size=(30, 40)))
    assert page.image is not None
    assert page.image.size == (120, 160)  # 4 pixels a point, 288 dpi


def test_the_picture_size_takes_part_in_the_hash(tmp_path: Path) -> None:
    data = pdf_bytes(["x"])
    assert [page.settings for page in load(tmp_path, data, max_side=64)] == ["pdf:64"]


def test_a_blank_page_is_yielded_with_its_picture(tmp_path: Path) -> None:
    (page,) = load(tmp_path, pdf_bytes([""]))
    assert page.text == ""
    assert page.image is not None


def test_title_and_author_are_metadata_and_empty_fields_are_left_out(tmp_path: Path) -> None:
    (page,) = load(tmp_path, pdf_bytes(["x"], title="Fruit", author="A. Pple"))
    assert (page.metadata["title"], page.metadata["author"]) == ("Fruit", "A. Pple")
    assert "keywords" not in page.metadata


def test_page_labels_are_metadata(tmp_path: Path) -> None:
    pages = load(tmp_path, with_roman_labels(pdf_bytes(["x", "y", "z"])))
    assert [page.metadata["label"] for page in pages] == ["i", "ii", "iii"]


def test_the_section_is_the_innermost_outline_title_that_covers_the_page(tmp_path: Path) -> None:
    outline = [("Fruit", 0, 2), ("Apples", 1, 2), ("Pears", 1, 2), ("Roots", 0, 4)]
    pages = load(tmp_path, pdf_bytes(["cover", "2", "3", "4"], outline=outline))
    assert [page.metadata.get("section") for page in pages] == [None, "Apples", "Pears", "Roots"]


def test_a_pdf_that_everybody_may_read_is_read_although_it_is_encrypted(tmp_path: Path) -> None:
    (page,) = load(tmp_path, encrypt(pdf_bytes(["open"]), user_password=""))
    assert page.text == "open"


def test_the_password_opens_an_encrypted_pdf(tmp_path: Path) -> None:
    (page,) = load(tmp_path, encrypt(pdf_bytes(["secret"]), "sesame"), password="sesame")
    assert page.text == "secret"


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        (None, "it is encrypted: give its password .--password, or password= in Python"),
        ("barley", "the password given is wrong"),
    ],
)
def test_an_encrypted_pdf_without_the_password_is_reported(
    tmp_path: Path, password: str | None, reason: str
) -> None:
    with pytest.raises(EncryptedFileError, match=reason):
        load(tmp_path, encrypt(pdf_bytes(["secret"]), "sesame"), password=password)


@pytest.mark.parametrize(
    "data",
    [b"%PDF-1.7 and no more", b"<html>not a PDF</html>", pdf_bytes(["x"])[:400]],
    ids=["header only", "html", "cut off"],
)
def test_a_damaged_pdf_is_reported(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnreadableFileError, match=r"file\.pdf: (is damaged|this page)"):
        load(tmp_path, data)


def test_a_pdf_without_pages_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="has no pages"):
        load(tmp_path, without_pages(pdf_bytes(["x"])))


def test_a_broken_page_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    errors: list[PageError] = []
    data = with_broken_page(pdf_bytes(["one", "two", "three"]), 2)
    pages = load(tmp_path, data, on_skip=errors.append)
    assert [page.text for page in pages] == ["one", "three"]
    assert [Path(error.source).name for error in errors] == ["file.pdf#2"]


def test_a_pdf_over_the_limit_of_pages_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(FileTooLargeError, match="has 3 pages, over the limit of 2"):
        load(tmp_path, pdf_bytes(["x"] * 3), limits=Limits(max_pages=2))


def test_a_page_like_a_ribbon_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    errors: list[PageError] = []
    pages = load(tmp_path, pdf_bytes(["x"], size=(14_000, 10)), on_skip=errors.append)
    assert pages == []
    assert "14000 x 10 points" in errors[0].reason


def test_a_page_of_five_metres_is_bounded_like_any_other(tmp_path: Path) -> None:
    (page,) = load(tmp_path, pdf_bytes(["wall"], size=(14_400, 7_200)), max_side=100)
    assert page.image is not None
    assert page.image.size == (100, 50)


def test_a_reader_that_stops_early_closes_the_file(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", ["one", "two"])
    pages = load_pages(path)
    next(pages)
    pages.close()  # type: ignore[attr-defined]
    assert [page.text for page in load_pages(path)] == ["one", "two"]


def test_threads_may_read_at_the_same_time(tmp_path: Path) -> None:
    paths = [
        make_pdf(tmp_path / f"{n}.pdf", [f"file {n} page {i}" for i in range(5)]) for n in "ab"
    ]
    found: dict[str, list[str]] = {}

    def read(path: Path) -> None:
        found[path.stem] = [page.text for page in load_pages(path, max_side=100)]

    threads = [threading.Thread(target=read, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [f"file {n} page {i}" for i in range(5)] for n in "ab"}


def test_texts_alone_are_read_of_the_pages_chosen() -> None:
    data = pdf_bytes(["one", "two", "three"])
    assert list(page_texts(data, lambda count: [1, count])) == [(1, "one"), (3, "three")]
    assert [number for number, _ in page_texts(data)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("responsi\x02bilities", "responsibilities"),
        ("responsi\ufffe\r\nbilities", "responsibilities"),
        ("soft\xadware", "software"),
        ("non\x02English", "non-English"),
        ("a\r\nb", "a\nb"),
        ("  two   spaces \t here ", "two spaces here"),
        ("one\r\n\r\n\r\n\r\ntwo", "one\n\ntwo"),
        ("eﬃcient ﬁle", "efficient file"),
        ("e\u0301", "\xe9"),
        ("nul\x00 and \x07bell", "nul and bell"),
        ("half \ud835 pair", "half pair"),
    ],
)
def test_text_is_cleaned(given: str, cleaned: str) -> None:
    assert clean_text(given) == cleaned


@pytest.mark.parametrize("name", ["owneronly_AES-256.pdf", "owneronly_RC4-128.pdf"])
def test_fault_18_a_password_for_a_folder_does_not_refuse_files_that_need_none(name: str) -> None:
    (page,) = load_pages(ODD / name, password="another")
    assert page.text.startswith("Lorem ipsum")


def test_fault_18_one_password_opens_the_files_that_need_it(tmp_path: Path) -> None:
    (tmp_path / "locked.pdf").write_bytes(encrypt(pdf_bytes(["secret"]), "sesame"))
    (tmp_path / "open.pdf").write_bytes(encrypt(pdf_bytes(["for all"]), ""))
    (tmp_path / "plain.pdf").write_bytes(pdf_bytes(["plain"]))
    texts = [page.text for page in load_pages(tmp_path, password="sesame")]
    assert texts == ["secret", "for all", "plain"]


def test_fault_18_a_password_may_have_letters_beyond_ascii(tmp_path: Path) -> None:
    (page,) = load(tmp_path, encrypt(pdf_bytes(["secret"]), "Schlüssel"), password="Schlüssel")
    assert page.text == "secret"


def test_fault_03_a_scan_below_a_line_of_text_is_marked_as_unread() -> None:
    (page,) = load_pages(ODD / "scan_under_digital_header.pdf")
    assert (page.text, page.unread) == ("ACME Ltd Case 2024-117 Page 1", "scan")


@pytest.mark.parametrize(
    ("data", "unread"),
    [
        (tiled_scan("fax line", across=1, down=1), "scan"),
        (tiled_scan("fax line", across=1, down=40), "scan"),
        (tiled_scan("fax line", across=4, down=4, share=0.6), "scan"),
        (tiled_scan("a figure", share=0.4), ""),
        (tiled_scan("four words a line\n" * 20), ""),
        (tiled_scan(""), ""),  # a page without any text is read by OCR anyway
        (pdf_bytes(["a short last page"]), ""),
    ],
    ids=["one picture", "strips", "tiles", "figure", "picture of a long text", "no text", "short"],
)
def test_fault_03_pictures_that_cover_a_page_below_a_short_text(
    tmp_path: Path, data: bytes, unread: str
) -> None:
    assert load(tmp_path, data)[0].unread == unread


def test_fault_03_letters_that_became_outlines_below_a_short_text_are_unread(
    tmp_path: Path,
) -> None:
    for shapes, unread in ((150, "scan"), (20, "")):
        buffer = io.BytesIO()
        pdf = canvas.Canvas(buffer, pagesize=(300, 400), invariant=True)
        for number in range(shapes):
            letter = pdf.beginPath()
            letter.circle(20 + 10 * (number % 25), 200 + 12 * (number // 25), 4)
            letter.circle(20 + 10 * (number % 25), 200 + 12 * (number // 25), 3)
            pdf.drawPath(letter, fill=1)
        pdf.drawString(30, 380, "page 7")
        pdf.save()
        (page,) = load(tmp_path, buffer.getvalue())
        assert (page.text, page.unread) == ("page 7", unread)


def test_fault_03_pictures_inside_of_a_form_object_count_where_they_are_drawn() -> None:
    small, whole = (turned_form(scale) for scale in (0.5, 1.0))
    assert share_of(small) == pytest.approx(0.25, abs=0.02)
    assert share_of(whole) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("name", "unread", "text"),
    [("cipher_no_map.pdf", "undecodable", ""), ("cipher_shifted.pdf", "cipher", "Xli fsmpiv")],
)
def test_fault_04_text_layers_that_cannot_be_read_are_marked(
    name: str, unread: str, text: str
) -> None:
    (page,) = load_pages(ODD / name)
    assert page.unread == unread
    assert page.text.startswith(text) if text else page.text == ""


def test_fault_04_notes_beside_an_unreadable_text_layer_are_kept(tmp_path: Path) -> None:
    note = {"/Subtype": "/Text", "/Contents": "urgent"}
    for name in ("cipher_no_map.pdf", "cipher_shifted.pdf"):
        (page,) = load(tmp_path, with_annotations((ODD / name).read_bytes(), note))
        assert page.text.split("\n")[-1] == "urgent"
        assert page.text[page.doubtful :].strip() == "urgent"


def turned_form(scale: float) -> bytes:
    """A page with a form object, moved and scaled, that holds one picture."""
    buffer = io.BytesIO()
    pdf = canvas.Canvas(buffer, pagesize=(300, 400), invariant=True)
    pdf.beginForm("whole", 0, 0, 300, 400)
    pdf.drawImage(ImageReader(picture("grey")), 0, 0, 300, 400)
    pdf.endForm()
    pdf.translate(300, 400)
    pdf.rotate(180)
    pdf.scale(scale, scale)
    pdf.doForm("whole")
    pdf.save()
    return buffer.getvalue()


def share_of(data: bytes) -> float:
    with pdfium.PdfDocument(data) as document:
        return picture_share(document[0])
