"""Web pages, tables, e-mails and books -> pages; no other program is asked."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from metaembed_rag.errors import FileTooLargeError, PageError, UnreadableFileError
from metaembed_rag.pages import Limits, Page, file_digest, load_pages
from metaembed_rag.pages.documents.pages import of_csv
from metaembed_rag.pages.load import count_pages
from metaembed_rag.pages.texts import CHUNK_CHARACTERS

FILES = Path(__file__).parents[2] / "fixtures" / "documents"


def one(path: Path) -> Page:
    [page] = load_pages(path)
    return page


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_html_is_its_words_with_headings_lists_and_tables_and_no_script() -> None:
    page = one(FILES / "page.html")
    assert page.text == (
        "# Tides\n\nThe spring tide reached 5.2 metres.\n\n- ebb\n- flood\n\nDay | High\n"
        "Monday | 5.2\n\n## Cranes\n\nGröße\n\na red crane"
    )
    assert page.metadata == {"title": "Tide & time", "author": "P. Ilot", "section": "Tides"}


def test_a_long_html_page_is_chunks_that_know_their_section(tmp_path: Path) -> None:
    parts = "".join(f"<h2>Part {n}</h2><p>{f'word{n} ' * 200}</p>" for n in range(3))
    pages = list(load_pages(write(tmp_path / "a.htm", f"<html><body>{parts}")))
    assert [page.metadata["section"] for page in pages] == ["Part 0", "Part 1", "Part 2"]
    assert [page.page_count for page in pages] == [3, 3, 3]


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("<meta charset='utf-8'><p>Größe", "utf-8", "Größe"),
        ("<meta charset='windows-1251'><p>Привет всем", "cp1251", "Привет всем"),
        ("<meta charset='no-such'><p>plain", "utf-8", "plain"),
        ("<meta charset='utf-8'><p>Gr\xf6\xdfe und Ma\xdf der H\xe4user", "latin-1", "Größe"),
        ("<p>Größe", "utf-16", "Größe"),
        ('<?xml version="1.0" encoding="Shift_JIS"?><html><p>日本語', "shift_jis", "日本語"),
    ],
)
def test_html_is_read_in_the_encoding_that_it_is_in(
    tmp_path: Path, text: str, encoding: str, said: str
) -> None:
    assert said in one(write(tmp_path / "a.html", text, encoding)).text


@pytest.mark.parametrize(
    "text",
    [
        "<script>",
        "<p",
        "</p></p></table>",
        "<style><p>x",
        "<!--",
        "<title>t",
        "&#xFFFFFFFF;",
        "<" * 99,
    ],
)
def test_broken_html_is_a_page_or_a_blank_one(tmp_path: Path, text: str) -> None:
    assert isinstance(one(write(tmp_path / "a.html", text)), Page)


def test_xml_is_the_words_between_its_marks_and_its_entities_are_not_unfolded(
    tmp_path: Path,
) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bomb"><!ENTITY c "&b;&b;&b;">]>'
    path = write(
        tmp_path / "a.xml", f"{bomb}<book><title>Tides</title><p>ebb &amp; flood &c;</p></book>"
    )
    text = one(path).text
    assert "Tides\n" in text and "ebb & flood" in text and "bombbomb" not in text


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_a_table_is_rows_below_its_header_whatever_parts_its_cells(
    tmp_path: Path, mark: str
) -> None:
    rows = [["Street", "Size"], ["Main", "5.2"], ["Harbour", "7"]]
    path = write(tmp_path / "a.csv", "\n".join(mark.join(row) for row in rows))
    assert one(path).text == "Street | Size\nMain | 5.2\nHarbour | 7"


def test_a_cell_in_quotes_keeps_its_commas_and_loses_its_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'name,said\nann,"yes, and\nmore"\nbob,no\n')
    assert one(path).text == "name | said\nann | yes, and more\nbob | no"


def test_a_table_in_an_older_encoding_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "Straße;Größe\nHauptstraße;5,2\n", "cp1252")
    assert one(path).text == "Straße | Größe\nHauptstraße | 5,2"


def test_a_long_table_is_chunks_that_repeat_the_header_and_lose_no_row(tmp_path: Path) -> None:
    rows = [f"B{n},Ship number {n}" for n in range(500)]
    pages = list(load_pages(write(tmp_path / "a.csv", "\n".join(["Berth,Ship", *rows]))))
    assert len(pages) > 3
    assert {page.text.split("\n")[0] for page in pages} == {"Berth | Ship"}
    assert max(len(page.text) for page in pages) <= CHUNK_CHARACTERS
    read = [line for page in pages for line in page.text.split("\n")[1:]]
    assert read == [row.replace(",", " | ") for row in rows]


def test_a_header_longer_than_a_third_of_a_page_is_said_once() -> None:
    header = ",".join(f"a long name of column {n}" for n in range(60))
    chunks = of_csv(f"{header}\n{'1,' * 59}1\n".encode(), "a.csv").chunks
    assert sum("a long name of column 0 " in text for _, text in chunks) == 1


def test_what_makes_no_table_is_read_as_a_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f'a,"{"long words " * 20_000}')
    pages = list(load_pages(path))
    assert len(pages) > 100 and pages[-1].text.endswith("long words")


def test_an_empty_table_is_a_blank_page_and_one_of_a_header_only_is_a_page(tmp_path: Path) -> None:
    assert one(write(tmp_path / "a.csv", "\n \n")).text == ""
    assert one(write(tmp_path / "b.csv", "Berth,Ship\n")).text == "Berth | Ship"


def test_a_table_of_too_many_pages_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a\n" + "x" * 300 + "\n" + "word\n" * 2_000)
    with pytest.raises(FileTooLargeError, match="over the limit of 2"):
        list(load_pages(path, limits=Limits(max_pages=2)))


def test_an_email_is_who_wrote_what_when_and_what_is_attached() -> None:
    first, table, before = load_pages(FILES / "mail.eml")
    assert first.text == (
        'Subject: Größe of the crane\nFrom: "A. Pilot" <pilot@example.org>\nTo: crew@example.org\n'
        "Date: Fri, 03 May 2024 10:00:00 +0200\n\nThe crane lifts 40 tons, says André.\n\n"
        "Attachment: lifts.csv\nAttachment: plan.pdf\nAttachment: The order before"
    )
    said = {
        "subject": "Größe of the crane",
        "title": "Größe of the crane",
        "from": '"A. Pilot" <pilot@example.org>',
        "to": "crew@example.org",
        "date": "2024-05-03T10:00:00+02:00",
    }
    assert first.metadata == {**said, "section": "Größe of the crane"}
    assert (table.text, table.metadata["section"]) == ("day | lifts\nMonday | 12", "lifts.csv")
    assert before.text.endswith("Order words.") and before.metadata["section"] == "The order before"


def test_an_email_in_html_only_is_its_words(tmp_path: Path) -> None:
    text = "Subject: x\nFrom: a@b.c\nContent-Type: text/html\n\n<p>Some <b>words</b></p>"
    assert one(write(tmp_path / "a.eml", text)).text == "Subject: x\nFrom: a@b.c\n\nSome words"


def test_emails_inside_each_other_without_end_end(tmp_path: Path) -> None:
    text = "Subject: {0}\nFrom: a@b.c\nContent-Type: message/rfc822\n\n"
    path = write(
        tmp_path / "a.eml", "".join(text.format(n) for n in range(30)) + "Subject: x\n\nend"
    )
    pages = list(load_pages(path))
    assert 2 <= len(pages) <= 5 and "Subject: 0" in pages[0].text


def test_what_has_no_fields_is_no_email(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="is no e-mail"):
        list(load_pages(write(tmp_path / "a.eml", "words only")))


def test_a_book_is_its_chapters_in_order_and_nothing_outside_of_it() -> None:
    pages = list(load_pages(FILES / "book.epub"))
    assert [page.text for page in pages] == [
        "# Ebb\n\nThe water falls.",
        "# Flood\n\nThe water rises; Größe.",
    ]
    assert pages[1].metadata == {
        "title": "The tides",
        "author": "A. Pilot",
        "language": "en",
        "section": "Flood",
    }


@pytest.mark.parametrize("name", ["book.epub", "mail.eml", "page.html"])
def test_a_worker_gives_the_pages_that_this_process_gives(name: str) -> None:
    here = list(load_pages(FILES / name, limits=Limits(separate_process=False)))
    assert list(load_pages(FILES / name)) == here


def test_a_damaged_book_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.epub"
    path.write_bytes((FILES / "book.epub").read_bytes()[:900])
    with pytest.raises(UnreadableFileError, match="is damaged"):
        list(load_pages(path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("page.html", "spring tide"),
        ("mail.eml", "40 tons"),
        ("book.epub", "water falls"),
        ("bars.avif", ""),
    ],
)
def test_bytes_are_told_by_their_content(name: str, words: str) -> None:
    data = (FILES / name).read_bytes()
    page = next(load_pages(data))
    assert words in page.text and page.source.endswith(Path(name).suffix)


def test_a_note_that_begins_as_an_email_does_is_what_its_name_says() -> None:
    data = b"Subject: tides\nDate: today\n\nwords"
    upload = SimpleNamespace(filename="note.txt", read=lambda size=-1: data)
    assert next(load_pages(upload)).settings.startswith("text:")


def test_files_of_these_kinds_in_a_store_are_read() -> None:
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    for name in ("page.html", "mail.eml", "book.epub"):
        files.pipe_file(f"/documents/{name}", (FILES / name).read_bytes())
    pages = list(load_pages("memory://documents"))
    assert {page.source.rpartition("/")[2] for page in pages} == {
        "page.html",
        "mail.eml",
        "book.epub",
    }


def test_frameworks_and_uploads_take_these_kinds() -> None:
    from metaembed_rag.serving.uploads import safe_name

    assert [safe_name(name) for name in ("a.docx", "b.HTML", "c.eml")] == [
        "a.docx",
        "b.HTML",
        "c.eml",
    ]


def test_langchain_and_llama_index_give_a_document_for_each_page(tmp_path: Path) -> None:
    loader = pytest.importorskip("metaembed_rag.langchain").MetaEmbedLoader
    reader = pytest.importorskip("metaembed_rag.llama_index").MetaEmbedReader
    found = loader(FILES / "mail.eml", pictures=tmp_path).load()
    assert [document.metadata["section"] for document in found][1] == "lifts.csv"
    nodes = list(reader(pictures=tmp_path).lazy_load_data(FILES / "page.html"))
    assert nodes[0].metadata["title"] == "Tide & time"


@pytest.mark.parametrize(
    ("name", "data", "digest"),
    [
        ("a.txt", b"plain words", "2b170e8e684ab63d7724895c823973d0"),
        ("a.md", b"# T\n", "fc82f4a105db0e841c8c110e5e72d94d"),
        ("a.pdf", b"%PDF-1.4 x", "b61df8656e855f5d2f14832f454337e4"),
        ("red_kite.png", b"PNGx", "23e645747521d2386143cf4beddb712a"),
    ],
)
def test_digests_of_the_first_kinds_are_as_they_always_were(
    tmp_path: Path, name: str, data: bytes, digest: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert file_digest(tmp_path / name, folder=tmp_path) == digest


def test_what_is_not_read_is_a_warning_where_nobody_asks_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.txt", "words")
    for number in range(7):
        write(tmp_path / f"{number}.xyz", "?")
    with caplog.at_level(logging.WARNING):
        list(load_pages(tmp_path))
    assert caplog.messages == [
        "7 files are of kinds that are not read: 0.xyz, 1.xyz, 2.xyz, 3.xyz, 4.xyz and 2 more"
    ]
    caplog.clear()
    list(load_pages(tmp_path, on_ignore=lambda path: None))
    assert caplog.messages == []


def test_the_number_of_pages_is_estimated(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "word,word\n" * 1_800)
    assert count_pages([table]) == 10
    assert count_pages([FILES / "slides.pptx"]) == 4
    assert count_pages([FILES / "tides.xlsx"]) == 4
    assert count_pages([FILES / "report.docx"]) == 1
    assert count_pages([FILES / "book.epub"]) == 1
    assert count_pages([write(tmp_path / "a.docx", "PK broken"), tmp_path / "gone.epub"]) == 2


@pytest.mark.parametrize("kind", ["gif", "bmp", "avif"])
def test_more_picture_formats_are_read(tmp_path: Path, kind: str) -> None:
    from tests.support.files import two_colors

    two_colors().save(tmp_path / f"a.{kind}")
    page = one(tmp_path / f"a.{kind}")
    assert page.image is not None and page.image.size == two_colors().size
    assert next(load_pages((tmp_path / f"a.{kind}").read_bytes())).source.endswith(kind)


def test_of_an_animated_gif_the_first_frame_is_read(tmp_path: Path) -> None:
    from PIL import Image

    red, blue = (Image.new("RGB", (9, 9), color) for color in ("red", "blue"))
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue])
    page = one(tmp_path / "a.gif")
    assert page.image is not None and page.image.getpixel((4, 4)) == (255, 0, 0)


def test_heic_is_read_by_the_extra_and_said_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif")
    page = one(FILES / "bars.heic")
    assert page.image is not None and page.image.size == (160, 80)


def test_heic_without_the_extra_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PageError, match=r"pip install '\.\[heic\]'"):
        list(load_pages(FILES / "bars.heic", limits=Limits(separate_process=False)))
