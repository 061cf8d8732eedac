"""PDFs -> pages."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from metaembed_rag.errors import (
    EncryptedFileError,
    FileTooLargeError,
    PageError,
    UnreadableFileError,
)
from metaembed_rag.pages import Limits, Page, load_pages, page_texts
from metaembed_rag.pages.pdf import clean_text
from tests.support.files import (
    encrypt,
    make_pdf,
    pdf_bytes,
    with_broken_page,
    with_roman_labels,
    without_pages,
)


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
    ("password", "reason"), [(None, "it is encrypted: give"), ("barley", "the password given is")]
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
