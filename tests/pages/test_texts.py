"""Text and Markdown -> pages."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from metaembed_rag.errors import FileTooLargeError, UnreadableFileError
from metaembed_rag.pages import Limits, Page, load_pages
from metaembed_rag.pages.texts import CHUNK_CHARACTERS, chunk


def load(tmp_path: Path, data: bytes | str, name: str = "a.txt") -> list[Page]:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(load_pages(path))


def paragraph(word: str, characters: int) -> str:
    """``word`` again and again, about so many characters."""
    return " ".join([word] * (characters // (len(word) + 1)))


def test_a_short_text_is_one_page(tmp_path: Path) -> None:
    (page,) = load(tmp_path, "one\n\ntwo\n")
    assert (page.text, page.number, page.page_count, page.image) == ("one\n\ntwo", 1, 1, None)


def test_a_long_text_is_cut_between_paragraphs(tmp_path: Path) -> None:
    first, second, third = (paragraph(word, 800) for word in ("apple", "pear", "plum"))
    pages = load(tmp_path, f"{first}\n\n{second}\n\n{third}")
    assert [page.text for page in pages] == [f"{first}\n\n{second}", third]
    assert [(page.number, page.page_count) for page in pages] == [(1, 2), (2, 2)]


def test_no_word_is_lost_and_no_page_is_too_long() -> None:
    words = [f"word{n}." for n in range(3_000)]
    text = " ".join(words[:2_000]) + "\n\n" + "\n".join(words[2_000:])
    chunks = [body for _, body in chunk(text, markdown=False)]
    assert " ".join(chunks).split() == words
    assert max(map(len, chunks)) <= CHUNK_CHARACTERS


def test_a_word_longer_than_a_page_is_cut() -> None:
    chunks = [body for _, body in chunk("x" * 5_000, markdown=False)]
    assert [len(body) for body in chunks] == [1_800, 1_800, 1_400]


def test_markdown_is_cut_at_headings_and_names_the_section(tmp_path: Path) -> None:
    apples, pears = paragraph("apple", 700), paragraph("pear", 700)
    pages = load(tmp_path, f"# Apples\n\n{apples}\n\n## Pears ##\n\n{pears}\n", "a.md")
    assert [page.metadata for page in pages] == [{"section": "Apples"}, {"section": "Pears"}]
    assert [page.text for page in pages] == [f"# Apples\n\n{apples}", f"## Pears ##\n\n{pears}"]


def test_short_sections_share_a_page(tmp_path: Path) -> None:
    (page,) = load(tmp_path, "# A\n\nfirst\n\n# B\n\nsecond\n", "a.md")
    assert page.text == "# A\n\nfirst\n\n# B\n\nsecond"


def test_a_heading_goes_with_what_follows_it() -> None:
    filler, body = paragraph("apple", 500), paragraph("pear", 1_500)
    chunks = list(chunk(f"{filler}\n\n# Pears\n\n{body}", markdown=True))
    assert [text for _, text in chunks] == [filler, f"# Pears\n\n{body}"]


def test_underlined_headings_are_headings(tmp_path: Path) -> None:
    (page,) = load(tmp_path, "Apples\n======\n\nred ones\n", "a.md")
    assert page.metadata == {"section": "Apples"}


def test_a_comment_in_a_code_block_is_no_heading(tmp_path: Path) -> None:
    (page,) = load(tmp_path, "# Real\n\n```python\n# not one\n\nx = 1\n```\n", "a.md")
    assert page.metadata == {"section": "Real"}
    assert "# not one\n\nx = 1" in page.text


def test_a_plain_text_has_no_headings(tmp_path: Path) -> None:
    (page,) = load(tmp_path, "# a comment\n\ntext")
    assert page.metadata == {}


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"],
)
def test_the_encoding_is_found(tmp_path: Path, encoding: str) -> None:
    text = "a café on the Straße, naïve piñata"
    (page,) = load(tmp_path, text.encode(encoding))
    assert page.text == text


def test_line_ends_of_all_systems_are_the_same(tmp_path: Path) -> None:
    (page,) = load(tmp_path, b"one\r\ntwo\rthree\n")
    assert page.text == "one\ntwo\nthree"


@pytest.mark.parametrize("blank", [" \n\n\t ", "\ufeff", "\ufeff\n"])
def test_fault_19_a_blank_text_is_a_blank_page(tmp_path: Path, blank: str) -> None:
    (page,) = load(tmp_path, blank)
    assert (page.number, page.page_count, page.text, page.image) == (1, 1, "", None)


@pytest.mark.parametrize("data", [bytes(range(256)) * 4, b"\xff\xfe" + b"\x00\xd8" * 50])
def test_what_is_no_text_is_reported(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnreadableFileError, match="is not a text"):
        load(tmp_path, data)


def test_a_text_of_too_many_pages_is_refused_with_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 4_000)
    with pytest.raises(FileTooLargeError, match="makes 3 pages of 1,800 characters"):
        list(load_pages(tmp_path / "a.txt", limits=Limits(max_pages=2)))


@pytest.mark.parametrize("name", ["a.md", "a.txt"])
@pytest.mark.parametrize(
    "text",
    [
        "# a" + " " * 30_000 + "b",
        "# " + "#" * 100_000 + " x",
        "--" + " " * 100_000 + "x",
        "word " * 6_400_000,
    ],
    ids=["heading of spaces", "heading of signs", "underline", "no blank line"],
)
def test_fault_22_a_text_takes_time_in_proportion_to_its_length(name: str, text: str) -> None:
    start = time.process_time()
    chunks = list(chunk(text, markdown=name.endswith(".md")))
    assert time.process_time() - start < 10  # the headings took hours, the words a minute
    assert "".join("".join(body for _, body in chunks).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("line", "section"),
    [
        ("# Title", "Title"),
        ("  ## Title ##  ", "Title"),
        ("#\tTitle # with signs ###", "Title # with signs"),
        ("### ", ""),
        ("# #", ""),
    ],
)
def test_a_heading_names_its_section_without_the_signs_around_it(line: str, section: str) -> None:
    ((named, _),) = chunk(f"{line}\n\nwords", markdown=True)
    assert named == section
