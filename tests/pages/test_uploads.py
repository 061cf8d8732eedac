"""Bytes, open files and uploads as sources of pages."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from metaembed_rag.errors import FileTooLargeError, PageError, UnreadableFileError
from metaembed_rag.pages import Limits, Page, load_pages
from metaembed_rag.pages.pictures import picture_of
from tests.support.files import make_pdf, pdf_bytes, picture, two_colors


def named(data: bytes, name: str | None) -> io.BytesIO:
    """What Streamlit gives: bytes in memory with a name."""
    file = io.BytesIO(data)
    file.name = name  # type: ignore[attr-defined]
    return file


class StarletteUpload:
    """What FastAPI gives: its own methods are coroutines."""

    def __init__(self, data: bytes, name: str) -> None:
        self.file, self.filename = io.BytesIO(data), name

    async def read(self, size: int = -1) -> bytes:
        return self.file.read(size)


class WerkzeugUpload:
    """What Flask gives: ``name`` is that of the field of the form."""

    def __init__(self, data: bytes, name: str) -> None:
        self.filename, self.name = name, "attachment"
        self.read, self.seek = (stream := io.BytesIO(data)).read, stream.seek


def png() -> bytes:
    buffer = io.BytesIO()
    two_colors().save(buffer, "PNG")
    return buffer.getvalue()


PDF = pdf_bytes(["first page", "second page"])


def sources(pages: list[Page]) -> set[str]:
    return {page.source for page in pages}


@pytest.mark.parametrize(
    ("data", "suffix", "text"),
    [(PDF, ".pdf", "first page"), (b"plain words", ".txt", "plain words"), (png(), ".png", "")],
)
def test_fault_17_bytes_are_read_and_called_by_their_content(
    data: bytes, suffix: str, text: str
) -> None:
    pages = list(load_pages(data))
    assert (pages[0].text, pages[0].number) == (text, 1)
    (source,) = sources(pages)
    assert source.startswith("upload-")
    assert source.endswith(suffix)
    again = list(load_pages([bytearray(data), memoryview(data)]))
    assert {page.id for page in again} == {page.id for page in pages}


@pytest.mark.parametrize("make", [named, StarletteUpload, WerkzeugUpload])
def test_fault_17_uploads_of_web_frameworks_are_read_and_called_by_their_name(make) -> None:  # type: ignore[no-untyped-def]
    pages = list(load_pages(make(PDF, "report.pdf")))
    assert [(page.id, page.page_count) for page in pages] == [
        ("report.pdf#1", 2),
        ("report.pdf#2", 2),
    ]


def test_fault_17_an_open_file_of_the_disk_gives_the_pages_of_its_path(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", ["words"])
    (by_path,) = load_pages(path)
    with path.open("rb") as file:
        file.read()  # to its end
        (by_file,) = load_pages(file)
    assert by_file == by_path
    with tempfile.SpooledTemporaryFile() as file:
        file.write(b"spooled words")
        assert next(iter(load_pages(file))).text == "spooled words"


def test_fault_17_a_name_can_be_given() -> None:
    assert sources(list(load_pages(PDF, source="minutes"))) == {"minutes"}
    assert sources(list(load_pages(named(PDF, "a.pdf"), source="minutes"))) == {"minutes"}
    for several in ([PDF, PDF], "a.pdf"):
        with pytest.raises(PageError, match="source= names the bytes"):
            list(load_pages(several, source="minutes"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["/etc/passwd", "..\\..\\secret\\passwd", "../passwd"])
def test_fault_17_the_name_of_an_upload_leads_nowhere(name: str) -> None:
    assert sources(list(load_pages(named(b"words", name)))) == {"passwd"}


def test_paths_and_uploads_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    pages = load_pages([named(b"a", "a.txt"), tmp_path / "b.txt", tmp_path, named(b"c", "c.txt")])
    assert [page.text for page in pages] == ["a", "b", "c"]


def test_the_content_tells_a_picture_whatever_its_name_and_a_name_tells_markdown() -> None:
    (page,) = load_pages(named(png(), "scan.pdf"))
    assert page.image is not None
    (page,) = load_pages(named(b"# Title\n\nwords", "notes.md"))
    assert page.metadata == {"section": "Title"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", "is empty"),
        (named(b"", "a.pdf"), "is empty"),
        (io.StringIO("words"), 'open it as bytes, with "rb"'),
        (named(b"PK\x03\x04\x00", "a.xyz"), ".xyz is not a kind of file"),
        (b"\x00\x01\x02", "not a kind that is read"),
        (b"%PDF-1.7 broken", "is damaged"),
        (SimpleNamespace(read=lambda size: 3), "is open as text"),
        (7, "give a path, bytes or a file open"),
    ],
)
def test_fault_17_what_cannot_be_read_is_reported_with_the_reason(
    given: object, reason: str
) -> None:
    found: list[PageError] = []
    assert list(load_pages([given], on_skip=found.append)) == []  # type: ignore[list-item]
    (error,) = found
    assert reason in error.reason


def test_a_closed_file_is_reported() -> None:
    file = named(b"words", "a.txt")
    file.close()
    with pytest.raises(UnreadableFileError, match="closed file"):
        list(load_pages(file))


def test_bytes_over_the_limit_are_refused() -> None:
    with pytest.raises(FileTooLargeError, match="over 10 bytes"):
        list(load_pages(b"x" * 11, limits=Limits(max_file_bytes=10)))


@pytest.mark.parametrize("make", [bytes, io.BytesIO, bytearray])
def test_fault_17_a_picture_may_be_bytes_or_an_open_file(make) -> None:  # type: ignore[no-untyped-def]
    assert picture_of(make(png())).getpixel((0, 0)) == (255, 0, 0)
    assert picture_of(StarletteUpload(png(), "a.png")).size == (60, 40)
    assert picture_of(picture()).size == (60, 40)
