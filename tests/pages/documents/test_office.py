"""Office documents: by LibreOffice as they look, else their text, else said to be unread."""

from __future__ import annotations

import http.server
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import ClassVar

import pytest

from metaembed_rag.errors import (
    EncryptedFileError,
    FileTooLargeError,
    PageError,
    ResourceLimitError,
    UnreadableFileError,
)
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Limits, Page, file_digest, load_pages
from metaembed_rag.pages.documents import client, soffice
from metaembed_rag.pages.documents.archives import check_container
from metaembed_rag.pages.documents.formats import suffix_by_content
from metaembed_rag.testing import FakeEncoder
from tests.support.files import pdf_bytes

FILES = Path(__file__).parents[2] / "fixtures" / "documents"
KINDS = ("report.docx", "report.doc", "report.odt", "report.rtf", "slides.pptx", "slides.odp")
SHEETS = ("tides.xlsx", "tides.xls", "tides.ods")


def office() -> str | None:
    os.environ.pop(soffice.SOFFICE, None)
    return soffice.program()


with_office = pytest.mark.skipif(office() is None, reason="LibreOffice is not installed")
"""Seconds each: LibreOffice starts anew for every document."""


@pytest.fixture
def without_office(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(soffice.SOFFICE, "off")


@pytest.fixture
def text_library(without_office: None) -> None:
    pytest.importorskip("kreuzberg")


@pytest.fixture
def no_library(without_office: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kreuzberg", None)


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A LibreOffice that makes every document two pages; what it was given."""
    given: list[str] = []

    def to_pdf(data: bytes, suffix: str, source: str, bounds: soffice.Bounds) -> bytes:
        given.append(suffix)
        return pdf_bytes(["first drawn", "second drawn"])

    monkeypatch.setattr(soffice, "program", lambda: "/usr/bin/soffice")
    monkeypatch.setattr("metaembed_rag.pages.digests.program", lambda: soffice.program())
    monkeypatch.setattr(soffice, "to_pdf", to_pdf)
    return given


def no_office(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soffice, "program", lambda: None)


@cache
def drawn(name: str) -> list[Page]:
    return list(load_pages(FILES / name))


# What the bytes are.


@pytest.mark.parametrize("name", [*KINDS, *SHEETS, "book.epub", "mail.eml", "page.html"])
def test_a_format_is_told_by_the_bytes(name: str) -> None:
    assert suffix_by_content((FILES / name).read_bytes()) == Path(name).suffix


@pytest.mark.parametrize("data", [b"", b"words", b"PK\x03\x04", b"%PDF-1.4", b"Note: x\nTo: do\n"])
def test_what_is_no_document_has_no_format(data: bytes) -> None:
    assert suffix_by_content(data) == ""


# By LibreOffice.


@with_office
def test_a_report_is_its_printed_pages_with_pictures_and_sections() -> None:
    first, second = drawn("report.docx")
    assert "The spring tide reached 5.2 metres on Monday." in first.text
    assert second.text == "Outlook\nA third crane arrives in spring; Größe und Maß."
    assert second.metadata == {
        "title": "Harbour report",
        "author": "A. Pilot",
        "section": "Outlook",
    }
    assert first.image is not None and max(first.image.size) == 896
    assert (40, 90, 200) in {color for _, color in first.image.getcolors(1 << 24) or []}
    assert {page.settings for page in (first, second)} == {"office:896"}


@with_office
def test_slides_are_a_page_each_with_their_notes_and_without_hidden_ones() -> None:
    pages = drawn("slides.pptx")
    assert [page.text.split("\n")[0] for page in pages] == ["Lighthouses", "Lamps", "Ships seen"]
    assert pages[1].text.endswith("\n\nNotes: Say that 94 percent are saved")
    assert [page.metadata["section"] for page in pages] == ["Lighthouses", "Lamps", "Ships seen"]
    assert all(page.image is not None and page.image.size == (896, 672) for page in pages)
    assert (
        "515" not in pages[2].text and "600" in pages[2].text
    )  # bars have no labels, the axis has


@with_office
def test_a_sheet_is_a_page_with_its_picture_where_that_can_be_read_else_rows() -> None:
    pages = drawn("tides.xlsx")
    names = [page.metadata["section"] for page in pages]
    assert names == ["Tides", *["Berths"] * (len(pages) - 2), "Chart"]
    assert pages[0].text == "Day | High\nMonday | 5.2\nTuesday | 5\nWednesday | 4.7"
    assert [page.image is not None for page in pages] == [True, *[False] * (len(pages) - 2), True]
    assert all(page.text.startswith("Berth | Ship\n") for page in pages[1:-1])
    assert "High water" in pages[-1].text


@with_office
@pytest.mark.slow
@pytest.mark.parametrize("name", [*KINDS, *SHEETS])
def test_every_kind_is_pages_with_pictures(name: str) -> None:
    pages = drawn(name)
    assert pages and pages[0].image is not None and pages[0].text.strip()


@with_office
@pytest.mark.slow
def test_bytes_and_open_files_are_read_as_their_path_is() -> None:
    path = FILES / "report.rtf"
    with path.open("rb") as file:
        by_file = list(load_pages(file))
    by_bytes = list(load_pages(path.read_bytes(), source="x"))
    assert [page.text for page in by_bytes] == [page.text for page in by_file]
    assert [page.id for page in by_file] == [page.id for page in drawn("report.rtf")]


@with_office
def test_a_damaged_document_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(container({"[Content_Types].xml": b"<x", "word/document.xml": b"<broken"}))
    with pytest.raises(PageError, match="LibreOffice"):
        list(load_pages(path))
    assert not list(Path(tempfile.gettempdir()).glob(f"{soffice.PREFIX}*/said.txt"))


def running() -> list[str]:
    """Commands that LibreOffice runs for us."""
    every = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in every.stdout.splitlines() if soffice.PREFIX in line]


@with_office
@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps")
def test_libreoffice_is_ended_with_all_it_started_where_it_takes_too_long() -> None:
    data = (FILES / "slides.pptx").read_bytes()
    with pytest.raises(ResourceLimitError, match="took more than 0.2 seconds"):
        soffice.to_pdf(data, ".pptx", "slides.pptx", soffice.Bounds(0.2, 2**31))
    until = time.monotonic() + 20
    while running() and time.monotonic() < until:  # they end a moment later
        time.sleep(0.05)
    assert running() == []


@pytest.mark.skipif(sys.platform == "win32", reason="there it is a tree of processes")
def test_the_guard_ends_what_it_runs_when_its_caller_is_gone(tmp_path: Path) -> None:
    guard = str(Path(soffice.__file__).with_name("guard.py"))
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    command = [sys.executable, "-I", "-S", guard, str(2**33), str(2**30), *sleeping]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == -9


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses memory")
def test_the_guard_gives_no_more_memory_and_says_how_it_ended() -> None:
    guard = str(Path(soffice.__file__).with_name("guard.py"))
    greedy = [sys.executable, "-c", "x = bytearray(2**31)"]
    command = [sys.executable, "-I", "-S", guard, str(2**30), str(2**20), *greedy]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, start_new_session=True) as process:
        assert process.stderr is not None and b"MemoryError" in process.stderr.read()
        assert process.wait(30) == 1


class _Heard(http.server.BaseHTTPRequestHandler):
    heard: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.heard.append(self.path)
        self.send_response(200)
        self.end_headers()

    do_HEAD = do_OPTIONS = do_PROPFIND = do_GET

    def log_message(self, *said: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    _Heard.heard.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Heard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def linking(path: Path, links: str) -> Path:
    """An ODT that begins with these elements."""
    with zipfile.ZipFile(FILES / "report.odt") as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            body = old.read(entry)
            if entry.filename == "content.xml":
                before, start, rest = body.partition(b"<office:text")
                tag, end, rest = rest.partition(b">")
                body = before + start + tag + end + links.encode() + rest
            new.writestr(entry, body)
    return path


@with_office
def test_nothing_that_a_document_links_to_is_fetched_or_opened(tmp_path: Path, web: str) -> None:
    (tmp_path / "secret.txt").write_text("words of another file")
    image = (
        '<text:p><draw:frame draw:name="x" text:anchor-type="as-char" svg:width="3cm" '
        'svg:height="3cm"><draw:image xlink:href="{0}" xlink:type="simple" xlink:show="embed" '
        'xlink:actuate="onLoad"/></draw:frame></text:p>'
    )
    section = (
        '<text:section text:name="{1}"><text:section-source xlink:href="{0}" '
        'text:filter-name="Text"/><text:p>as it was</text:p></text:section>'
    )
    secret = (tmp_path / "secret.txt").as_uri()
    links = image.format(f"{web}/i.png") + section.format(f"{web}/s.txt", "a")
    path = linking(tmp_path / "a.odt", links + section.format(secret, "b"))
    text = "".join(page.text for page in load_pages(path))
    assert "as it was" in text and "words of another file" not in text
    assert _Heard.heard == []


def test_a_name_that_is_no_program_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(soffice.SOFFICE, "/no/such/soffice")
    with pytest.raises(UnreadableFileError, match="/no/such/soffice: is no program"):
        list(load_pages(FILES / "report.docx"))


def test_libreoffice_hears_nothing_of_the_environment_that_could_be_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    environment = soffice._environment(tmp_path)
    assert "secret" not in environment.values() and environment["HOME"] == str(tmp_path / "tmp")


# By the library.


@pytest.mark.parametrize("name", KINDS[:4])
def test_the_text_of_a_report_has_its_words_and_title(text_library: None, name: str) -> None:
    pages = list(load_pages(FILES / name))
    text = "\n".join(page.text for page in pages)
    assert "The spring tide reached 5.2 metres on Monday" in text and "Gr" in text
    assert pages[0].metadata["title"] == "Harbour report"
    assert pages[0].image is None and pages[0].settings == "office-text:1800"


def test_the_text_of_a_report_has_tables_and_sections(text_library: None) -> None:
    [page] = load_pages(FILES / "report.docx")
    assert "| North | 412 | 9,120 |" in page.text and "media/" not in page.text
    assert page.metadata["section"] == "Tides"


@pytest.mark.parametrize("name", ["slides.pptx", "slides.odp"])
def test_the_text_of_slides_is_a_page_each(text_library: None, name: str) -> None:
    pages = list(load_pages(FILES / name))
    titles = [page.metadata["section"] for page in pages]
    assert titles == ["Lighthouses", "Not shown", "Lamps", "Ships seen"]
    assert "Say that 94 percent are saved" in pages[2].text
    assert sum("94 percent" in page.text for page in pages) == 1


@pytest.mark.parametrize("name", SHEETS)
def test_the_text_of_a_workbook_is_rows_below_the_header_of_each_sheet(
    text_library: None, name: str
) -> None:
    pages = list(load_pages(FILES / name))
    assert pages[0].metadata["section"] == "Tides"
    assert pages[0].text == "Day | High\nMonday | 5.2\nTuesday | 5\nWednesday | 4.7"
    assert all(page.text.startswith("Berth | Ship\n") for page in pages[1:])
    assert len(pages) == 3


@pytest.mark.parametrize("name", ["report.docx", "slides.pptx", "tides.xlsx"])
def test_a_worker_gives_the_text_that_this_process_gives(text_library: None, name: str) -> None:
    here = list(load_pages(FILES / name, limits=Limits(separate_process=False)))
    assert list(load_pages(FILES / name)) == here


@pytest.mark.parametrize("name", ["report.docx", "report.odt", "slides.pptx", "tides.xlsx"])
def test_a_damaged_container_is_reported(text_library: None, tmp_path: Path, name: str) -> None:
    whole = (FILES / name).read_bytes()
    for end in (100, len(whole) // 2):
        path = tmp_path / name
        path.write_bytes(whole[:end])
        with pytest.raises(UnreadableFileError, match="is damaged"):
            list(load_pages(path))


def test_a_damaged_older_workbook_is_reported(text_library: None, tmp_path: Path) -> None:
    path = tmp_path / "a.xls"
    path.write_bytes((FILES / "tides.xls").read_bytes().replace(b"\xfe\xff\xff\xff", b"\x01\0\0\0"))
    for limits in (Limits(), Limits(separate_process=False)):
        errors: list[PageError] = []
        list(load_pages(path, on_skip=errors.append, limits=limits))
        assert [type(error) for error in errors] in ([], [UnreadableFileError])


def test_a_container_whose_content_is_damaged_is_reported(
    without_office: None, tmp_path: Path
) -> None:
    data = bytearray((FILES / "slides.odp").read_bytes())
    with zipfile.ZipFile(FILES / "slides.odp") as whole:
        start = whole.getinfo("content.xml").header_offset + 300
    data[start : start + 40] = bytes(range(200, 240))
    (tmp_path / "a.odp").write_bytes(data)
    with pytest.raises(UnreadableFileError, match="is damaged"):
        list(load_pages(tmp_path / "a.odp", limits=Limits(separate_process=False)))


def test_xml_that_unfolds_without_end_costs_itself(text_library: None, tmp_path: Path) -> None:
    lines = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "bomb">{lines}]>'
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(FILES / "report.docx") as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            body = old.read(entry)
            if entry.filename == "word/document.xml":
                body = body[body.index(b"?>") + 2 :].replace(b"Tides", b"&e11;")
                body = bomb.encode() + body
            new.writestr(entry, body)
    errors: list[PageError] = []
    pages = list(load_pages([path, FILES / "mail.eml"], on_skip=errors.append))
    assert sum(len(page.text) for page in pages) < 100_000
    assert any("40 tons" in page.text for page in pages)


# By neither.


@pytest.mark.parametrize("name", [*KINDS[:5], *SHEETS])
def test_without_both_a_document_is_listed_with_what_to_install(
    no_library: None, name: str
) -> None:
    with pytest.raises(UnreadableFileError, match="neither LibreOffice") as caught:
        list(load_pages(FILES / name))
    assert "pip install '.[office]'" in str(caught.value)


def test_without_both_slides_of_opendocument_are_read(no_library: None) -> None:
    assert len(list(load_pages(FILES / "slides.odp"))) == 4


# What is hostile, or not what it is called.


def container(entries: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name, body in entries.items():
            new.writestr(name, body)
    return made.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(drawing: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(container({"word/document.xml": bytes(100_000_000)}))
    with pytest.raises(FileTooLargeError, match="would unpack from"):
        list(load_pages(path))
    assert drawing == []


def test_a_container_of_too_many_files_is_refused() -> None:
    data = container({f"{n}": b"" for n in range(20_001)})
    with pytest.raises(FileTooLargeError, match="holds 20,001 files"):
        check_container(data, "a.docx", 2**31)


def test_a_document_with_a_password_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
    )
    manifest = {"mimetype": b"", "META-INF/manifest.xml": b"<manifest:encryption-data/>"}
    (tmp_path / "b.odt").write_bytes(container(manifest))
    errors: list[PageError] = []
    assert list(load_pages(tmp_path, on_skip=errors.append)) == []
    assert [type(error) for error in errors] == [EncryptedFileError] * 2


def test_a_table_of_the_web_that_is_called_xls_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.xls").write_text("<html><table><tr><td>ebb<td>flood</table></html>")
    [page] = load_pages(tmp_path / "a.xls")
    assert "ebb" in page.text and "flood" in page.text


def test_what_is_no_document_whatever_its_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"words only")
    with pytest.raises(UnreadableFileError, match="no document of an Office program"):
        list(load_pages(tmp_path / "a.docx"))


# What sync makes of it.


def test_a_document_read_by_libreoffice_and_its_text_have_different_digests(
    drawing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_office = file_digest(FILES / "report.docx")
    no_office(monkeypatch)
    assert file_digest(FILES / "report.docx") != by_office


def test_libreoffice_that_comes_later_reads_the_file_again_and_when_it_is_gone_nothing_is_lost(
    drawing: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kreuzberg")
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.docx").write_bytes((FILES / "report.docx").read_bytes())
    index = PageIndex.open(tmp_path / "index", FakeEncoder())

    with monkeypatch.context() as patch:
        no_office(patch)
        assert (index.sync(files).added, len(index)) == (1, 1)
        assert index.sync(files).unchanged == 1

    report = index.sync(files)
    assert (report.added, report.updated, len(index)) == (1, 1, 2)
    assert index.sync(files).unchanged == 2 and drawing == [".docx"]

    with monkeypatch.context() as patch:
        no_office(patch)
        assert index.sync(files).unchanged == 2

        patch.setitem(sys.modules, "kreuzberg", None)
        report = index.sync(files)
        assert (report.unchanged, report.skipped) == (2, [])


def test_what_was_drawn_stays_when_all_is_read_again_without_libreoffice(
    drawing: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kreuzberg")
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.docx").write_bytes((FILES / "report.docx").read_bytes())
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    index.sync(files)
    with monkeypatch.context() as patch:
        no_office(patch)
        files.rename(tmp_path / "moved")
        assert index.sync(tmp_path / "moved").moved == 2
        assert index.sync(tmp_path / "moved", reread=True).unchanged == 2
    assert {page.settings for page in index.get(index.ids())} == {"office:896"}


def test_a_folder_without_a_reader_for_documents_lists_each_and_keeps_the_rest(
    no_library: None, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.docx").write_bytes((FILES / "report.docx").read_bytes())
    (tmp_path / "files" / "b.txt").write_text("words")
    (tmp_path / "files" / "c.zip").write_bytes(b"?")
    report = PageIndex.open(tmp_path / "index", FakeEncoder()).sync(tmp_path / "files")
    assert report.added == 1
    assert [Path(error.source).name for error in report.skipped] == ["a.docx"]
    assert str(report).endswith("; 1 file is of kinds that are not read: c.zip")


def test_a_worker_is_of_the_pool_of_documents() -> None:
    assert client.READERS.can_start()
