"""Pages, and files and folders that become pages."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaembed_rag.errors import FileTooLargeError, PageError, UnreadableFileError
from metaembed_rag.pages import Limits, Page, file_digest, list_files, load_pages
from metaembed_rag.pages import digests as hashing
from tests.support.files import make_pdf, picture, two_colors
from tests.support.photos import save_photo


def names(pages: list[Page]) -> list[str]:
    return [f"{Path(page.source).name}#{page.number}" for page in pages]


# ---------------------------------------------------------------------------------------- Page


def test_a_page_is_identified_by_its_source_and_number() -> None:
    assert Page("notes.txt", 3).id == "notes.txt#3"


def test_a_page_keeps_an_id_of_its_own() -> None:
    assert Page("notes.txt", id="a7").id == "a7"


@pytest.mark.parametrize(("source", "number"), [("", 1), ("notes.txt", 0)])
def test_a_page_without_source_or_with_a_number_below_one_is_refused(
    source: str, number: int
) -> None:
    with pytest.raises(PageError, match=r"no source|count from 1"):
        Page(source, number)


def test_a_picture_given_with_transparency_becomes_rgb_on_white() -> None:
    page = Page("icon", image=picture((255, 0, 0, 0), mode="RGBA"))
    assert page.image is not None
    assert (page.image.mode, page.image.getpixel((0, 0))) == ("RGB", (255, 255, 255))


def test_the_hash_covers_text_pixels_and_settings() -> None:
    page = Page("a", text="one", image=picture("red"), settings="pdf:896")
    others = [
        Page("a", text="two", image=picture("red"), settings="pdf:896"),
        Page("a", text="one", image=picture("blue"), settings="pdf:896"),
        Page("a", text="one", image=picture("red", size=(40, 60)), settings="pdf:896"),
        Page("a", text="one", image=picture("red"), settings="pdf:448"),
        Page("a", text="one", settings="pdf:896"),
    ]
    hashes = {other.content_hash() for other in [page, *others]}
    assert len(hashes) == 6


def test_the_hash_tells_text_from_settings() -> None:
    assert Page("a", text="b", settings="").content_hash() != Page("a", settings="b").content_hash()


def test_the_hash_does_not_depend_on_where_the_page_is_from() -> None:
    page = Page("a", 1, text="same", metadata={"title": "A"})
    assert page.content_hash() == Page("b", 2, text="same").content_hash()


def test_the_hash_is_the_same_before_and_after_ocr() -> None:
    before = Page("chart.png", image=two_colors())
    after = Page("chart.png", image=two_colors(), text="sales", text_from_ocr=True)
    assert before.content_hash() == after.content_hash()


def test_a_page_goes_to_another_process_and_is_hashable() -> None:
    page = Page("a", text="b", image=two_colors(), metadata={"year": 2001})
    assert pickle.loads(pickle.dumps(page)) == page
    assert len({page, page}) == 1


def test_a_kept_picture_is_opened_when_it_is_asked_for(tmp_path: Path) -> None:
    two_colors().save(tmp_path / "kept.png")
    image = Page("a", image_path=str(tmp_path / "kept.png")).load_image()
    assert image is not None
    assert image.getpixel((0, 0)) == (255, 0, 0)


def test_a_kept_picture_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="index its page again"):
        Page("a", image_path=str(tmp_path / "gone.png")).load_image()


@pytest.mark.integration
def test_importing_pages_loads_neither_pdfium_nor_torch() -> None:
    code = "import sys, metaembed_rag.pages; print({'pypdfium2', 'torch'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


# -------------------------------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Readable files at two depths beside what must be left alone."""
    for name in ("b.txt", "a.md", "sub/c.txt", ".hidden.txt", ".git/d.txt", "sub/old.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    return tmp_path


def test_a_folder_is_read_with_all_below_it_in_order_but_not_its_hidden_files(folder: Path) -> None:
    assert names(list(load_pages(folder))) == ["a.md#1", "b.txt#1", "c.txt#1"]


def test_files_of_other_kinds_in_a_folder_are_told_and_are_no_errors(folder: Path) -> None:
    ignored: list[Path] = []
    list(load_pages(folder, on_ignore=ignored.append))
    assert [path.name for path in ignored] == ["old.xyz"]


def test_a_named_file_of_another_kind_is_an_error(folder: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"\.xyz is not a kind of file that is read"):
        list(load_pages(folder / "sub" / "old.xyz"))


def test_a_named_hidden_file_is_read(folder: Path) -> None:
    assert names(list(load_pages(folder / ".hidden.txt"))) == [".hidden.txt#1"]


def test_list_files_names_what_load_pages_reads(folder: Path) -> None:
    listed = [path.as_posix() for path in list_files(folder)]
    assert listed == [page.source for page in load_pages(folder)]


def test_paths_keep_their_order_and_a_file_named_twice_is_read_once(folder: Path) -> None:
    given = [folder / "b.txt", str(folder / "a.md"), folder / "sub" / ".." / "b.txt"]
    assert names(list(load_pages(given))) == ["b.txt#1", "a.md#1"]


def test_links_that_lead_in_circles_end(folder: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "self.txt").symlink_to(folder / "self.txt")
    errors: list[PageError] = []
    pages = list(load_pages(folder, on_skip=errors.append))
    assert names(pages) == ["a.md#1", "b.txt#1", "c.txt#1"]
    assert [Path(error.source).name for error in errors] == ["self.txt"]


@pytest.mark.parametrize("inside", ["", "sub"])
@pytest.mark.parametrize("to", ["secret.txt", "."])
def test_a_link_out_of_the_named_folder_is_not_followed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, inside: str, to: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text("secret")
    link = folder / inside / "link.txt"
    link.symlink_to(outside / to)
    errors: list[PageError] = []
    pages = list(load_pages(folder, on_skip=errors.append))
    assert names(pages) == ["a.md#1", "b.txt#1", "c.txt#1"]
    assert [(error.source, "leads out of the folder" in error.reason) for error in errors] == [
        (link.as_posix(), True)
    ]
    assert [path.name for path in list_files(folder)] == ["a.md", "b.txt", "c.txt"]
    followed = list(load_pages(folder, limits=Limits(follow_links=True)))
    assert "secret" in [page.text for page in followed]
    assert outside / "secret.txt" in list_files(folder, follow_links=True)


def test_links_inside_the_named_folder_and_named_links_are_followed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "again.txt").symlink_to(folder / "b.txt")
    named = tmp_path_factory.mktemp("elsewhere") / "named"
    named.symlink_to(folder)
    assert names(list(load_pages(named))) == ["a.md#1", "b.txt#1", "c.txt#1"]


def test_a_link_to_a_missing_file_is_reported(folder: Path) -> None:
    (folder / "gone.pdf").symlink_to(folder / "nowhere.pdf")
    with pytest.raises(UnreadableFileError, match="a link to a file that is gone"):
        list(load_pages(folder))


def test_the_pictures_kept_in_an_index_are_not_read_as_pages(folder: Path) -> None:
    (folder / "my_index" / "pictures").mkdir(parents=True)
    (folder / "my_index" / "chroma.sqlite3").touch()
    two_colors().save(folder / "my_index" / "pictures" / "kept.png")
    assert names(list(load_pages(folder))) == ["a.md#1", "b.txt#1", "c.txt#1"]


def test_a_folder_without_anything_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="holds no file of a kind that is read"):
        list(load_pages(tmp_path))


def test_a_suffix_in_capitals_is_the_same_kind(tmp_path: Path) -> None:
    make_pdf(tmp_path / "REPORT.PDF", ["one"])
    assert names(list(load_pages(tmp_path))) == ["REPORT.PDF#1"]


# ------------------------------------------------------------------------------------ bad inputs


def test_a_missing_path_is_reported_and_the_rest_goes_on(folder: Path) -> None:
    errors: list[PageError] = []
    pages = list(load_pages([folder / "no.pdf", folder / "b.txt"], on_skip=errors.append))
    assert names(pages) == ["b.txt#1"]
    assert [error.reason for error in errors] == ["there is no such file; check the path"]


def test_an_error_is_raised_when_nobody_listens(folder: Path) -> None:
    with pytest.raises(UnreadableFileError, match="there is no such file"):
        list(load_pages(folder / "no.pdf"))


@pytest.mark.parametrize("name", ["empty.pdf", "empty.png", "empty.txt"])
def test_an_empty_file_is_reported_whatever_its_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UnreadableFileError, match="is empty"):
        list(load_pages(tmp_path / name))


def test_a_file_over_the_limit_of_bytes_is_refused_with_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x" * 2_000)
    with pytest.raises(FileTooLargeError, match=r"2,000 bytes, over the limit of 1,999"):
        list(load_pages(tmp_path / "long.txt", limits=Limits(max_file_bytes=1_999)))


@pytest.mark.skipif(os.geteuid() == 0, reason="the root user may read every file")
def test_a_file_that_may_not_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path / "secret.txt").chmod(0)
    with pytest.raises(UnreadableFileError, match="check its permissions"):
        list(load_pages(tmp_path))


def test_a_refusal_of_the_file_system_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("x")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UnreadableFileError, match="may not be read: check its permissions"):
        list(load_pages(tmp_path))


def test_a_folder_that_may_not_be_entered_is_reported_and_the_rest_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def refuse(path: object, **options: bool) -> os.stat_result:
        if Path(str(path)).parent.name == "sub":
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "stat", refuse)
    errors: list[PageError] = []
    assert names(list(load_pages(folder, on_skip=errors.append))) == ["a.md#1", "b.txt#1"]
    assert all("check its permissions" in error.reason for error in errors)
    assert errors


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        list(load_pages(tmp_path / "pipe.txt"))


def test_a_file_that_vanishes_on_the_way_is_reported(folder: Path) -> None:
    errors: list[PageError] = []
    pages = load_pages(folder, on_skip=errors.append)
    first = next(pages)
    (folder / "b.txt").unlink()
    assert names([first, *pages]) == ["a.md#1", "c.txt#1"]
    assert [Path(error.source).name for error in errors] == ["b.txt"]


def test_a_file_that_changes_while_it_is_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.txt"
    path.write_text("first")
    read_bytes = Path.read_bytes

    def read_and_append(self: Path) -> bytes:
        data = read_bytes(self)
        self.write_bytes(data + b" second")
        return data

    monkeypatch.setattr(Path, "read_bytes", read_and_append)
    with pytest.raises(UnreadableFileError, match="changed while it was being read"):
        list(load_pages(path))


def test_a_name_that_is_not_unicode_is_reported_printably(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    with pytest.raises(UnreadableFileError, match="rename the file") as caught:
        list(load_pages(tmp_path))
    assert "caf\\udce9.txt" in str(caught.value).encode("utf-8").decode()


def test_a_useless_max_side_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PageError, match="at least 32 pixels"):
        list(load_pages(tmp_path, max_side=0))


def test_fault_18_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", ["one"])
    limits = Limits(
        max_pages=np.int64(9),  # type: ignore[arg-type]
        max_page_seconds=np.float32(60),  # type: ignore[arg-type]
        max_memory=np.int64(2**31),  # type: ignore[arg-type]
    )
    given: Any = np.int32(448)
    (page,) = load_pages(path, max_side=given, limits=limits)
    assert page == next(load_pages(path, max_side=448))


@pytest.mark.parametrize("value", ["896", None, 40.5])
def test_fault_18_a_max_side_that_is_no_whole_number_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(PageError, match="max_side.*must be a (whole )?number"):
        list(load_pages(tmp_path, max_side=value))


def test_fault_18_a_limit_that_is_no_number_is_refused() -> None:
    wrong: Any = "9"
    with pytest.raises(PageError, match="max_pages: must be a number, not a str"):
        Limits(max_pages=wrong)


@pytest.mark.parametrize(("value", "what"), [(b"sesame", "bytes"), (5, "an int")])
def test_fault_18_a_password_that_is_no_text_is_refused(
    tmp_path: Path, value: Any, what: str
) -> None:
    with pytest.raises(PageError, match=f"password: must be text, not {what}"):
        list(load_pages(tmp_path, password=value))


# --------------------------------------------------------------------------------- whole files


def test_pages_carry_the_digest_of_their_file(folder: Path) -> None:
    page = next(load_pages(folder / "b.txt"))
    assert page.source_digest == file_digest(folder / "b.txt")


def test_the_digest_changes_with_the_bytes_the_picture_size_and_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_pdf(tmp_path / "a.pdf", ["one"])
    digests = {file_digest(path), file_digest(path, max_side=448)}
    monkeypatch.setattr(hashing, "READER_VERSION", hashing.READER_VERSION + 1)
    digests.add(file_digest(path))
    make_pdf(path, ["two"])
    digests.add(file_digest(path))
    assert len(digests) == 4


def test_a_file_that_the_caller_knows_is_not_opened(folder: Path) -> None:
    known = {(folder / "b.txt").as_posix(): file_digest(folder / "b.txt")}
    pages = load_pages(folder, skip=lambda source, digest: known.get(source) == digest)
    assert names(list(pages)) == ["a.md#1", "c.txt#1"]


def test_the_digest_of_a_picture_is_also_of_its_names_and_that_of_a_text_is_not(tmp_path):
    first = save_photo(tmp_path / "Corsica" / "red kite.png")
    (page,) = load_pages(tmp_path)
    assert page.source_digest == file_digest(first, folder=tmp_path)
    known = {page.source_digest, file_digest(first)}
    named, nameless = (first.with_name(name) for name in ("barn owl.png", "IMG_2041.png"))
    for path in (named, nameless):
        path.write_bytes(first.read_bytes())
        known.add(file_digest(path))
    assert len(known) == 4
    texts = [tmp_path / "red kite.txt", tmp_path / "barn owl.txt"]
    for path in texts:
        path.write_text("whales")
    assert file_digest(texts[0]) == file_digest(texts[1])
