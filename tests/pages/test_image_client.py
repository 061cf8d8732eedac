"""Pictures and their letters are read in processes of their own: what goes wrong costs itself."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from metaembed_rag.errors import PageError, ResourceLimitError
from metaembed_rag.index import PageIndex
from metaembed_rag.model.inputs import read_page
from metaembed_rag.pages import (
    Limits,
    Page,
    image_client,
    images,
    load_pages,
    ocr,
    page_texts,
    pdf_client,
)
from metaembed_rag.pages.workers import Pool, Worker, WorkLimits
from metaembed_rag.testing import FakeEncoder
from tests.support.files import make_pdf, picture_of_text

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses memory")
ODD = Path(__file__).parents[1] / "fixtures" / "odd_files" / "img"
SMALL = Limits(max_memory=48 * 1024**2)
"""Enough for a picture of a few pixels."""


def load(path: Path, limits: Limits) -> tuple[list[Page], list[PageError]]:
    errors: list[PageError] = []
    return list(load_pages(path, on_skip=errors.append, limits=limits)), errors


def save_bomb(path: Path, side: int = 8_900) -> None:
    """Pixels of one colour: a file of some 400 KB, over 300 MB in memory."""
    Image.new("RGBA", (side, side), (255, 0, 0, 128)).save(path, compress_level=9)


@pytest.mark.parametrize("path", sorted(ODD.iterdir()), ids=lambda path: path.name)
def test_a_worker_gives_the_pages_that_this_process_gives(path: Path) -> None:
    def told(limits: Limits) -> list[object]:
        found, errors = load(path, limits)
        pages = [(replace(page, image=None), page.content_hash()) for page in found]
        return [*pages, *map(str, errors)]

    assert told(Limits()) == told(Limits(separate_process=False))


@linux
@pytest.mark.integration
def test_fault_22_a_picture_that_takes_all_memory_costs_itself(tmp_path: Path) -> None:
    save_bomb(tmp_path / "b.png")
    for name in ("a", "c"):
        picture_of_text([name], (80, 40)).save(tmp_path / f"{name}.png")
    pages, errors = load(tmp_path, SMALL)
    assert [Path(page.source).name for page in pages] == ["a.png", "c.png"]
    assert [(type(one), one.source) for one in errors] == [
        (ResourceLimitError, (tmp_path / "b.png").as_posix())
    ]
    assert "needs more than 48 MiB of memory" in errors[0].reason
    assert "--max-memory" in errors[0].reason


@linux
@pytest.mark.integration
def test_fault_22_the_pictures_beside_a_bomb_are_stored_and_it_is_named(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    save_bomb(files / "bomb.png")
    picture_of_text(["good"], (80, 40)).save(files / "good.png")
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        report = index.sync(files, limits=SMALL, ocr="never")
        assert (report.added, [Path(one.source).name for one in report.skipped]) == (
            1,
            ["bomb.png"],
        )
        again = index.sync(files, limits=SMALL, ocr="never")
        assert (again.unchanged, len(again.skipped)) == (1, 1)


@linux
@pytest.mark.integration
def test_fault_22_a_frame_that_takes_all_memory_costs_itself(tmp_path: Path) -> None:
    frames = [Image.new("RGB", size, "red") for size in ((40, 20), (8_000, 8_000), (40, 20))]
    path = tmp_path / "three.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:], compression="tiff_deflate")
    pages, errors = load(path, SMALL)
    assert [page.number for page in pages] == [1, 3]
    assert [one.source for one in errors] == [f"{path.as_posix()}#2"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of computing")
@pytest.mark.integration
def test_fault_22_a_picture_that_takes_too_long_costs_itself(tmp_path: Path) -> None:
    save_bomb(tmp_path / "slow.png", 6_000)
    pages, errors = load(tmp_path / "slow.png", Limits(max_page_seconds=0.05))
    assert pages == []
    assert "took more than 0.05 seconds" in errors[0].reason


def test_a_worker_that_was_killed_costs_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture_of_text([name], (80, 40)).save(tmp_path / f"{name}.png")
    pages = load_pages(tmp_path)
    next(pages)
    with image_client.WORKERS.lease() as worker:
        pid = worker.pid
    os.kill(pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    assert [Path(page.source).name for page in pages] == ["b.png"]


@pytest.fixture
def unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has just been killed still counts as running, as it does for a moment."""
    monkeypatch.setattr(Worker, "died", lambda self: False)


def kill_idle(pool: Pool, count: int = 2) -> None:
    """Kill workers that are idle: as many are kept."""
    with ExitStack() as held:
        for _ in range(count):
            held.enter_context(pool.lease())
    for worker in pool._idle:
        os.kill(worker.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)


def test_fault_31_workers_killed_while_they_were_idle_cost_no_picture(
    tmp_path: Path, unnoticed: None
) -> None:
    picture_of_text(["a"], (80, 40)).save(tmp_path / "a.png")
    kill_idle(image_client.WORKERS)
    pages, errors = load(tmp_path, Limits())
    assert (len(pages), errors) == (1, [])


def test_fault_31_workers_killed_while_they_were_idle_cost_no_pdf(
    tmp_path: Path, unnoticed: None
) -> None:
    path = make_pdf(tmp_path / "a.pdf", ["one", "two"])
    kill_idle(pdf_client.WORKERS)
    assert pdf_client.count_pdf(path) == 2
    kill_idle(pdf_client.WORKERS)
    pages, errors = load(path, Limits())
    assert ([page.text for page in pages], errors) == (["one", "two"], [])
    kill_idle(pdf_client.WORKERS)
    assert list(page_texts(path.read_bytes())) == [(1, "one"), (2, "two")]


def test_fault_31_texts_are_read_on_where_the_worker_was_killed_in_the_middle(
    tmp_path: Path,
) -> None:
    data = make_pdf(tmp_path / "a.pdf", [f"page {n}" for n in range(1, 5)]).read_bytes()
    texts = page_texts(data)
    read = [next(texts)]
    for worker in list(pdf_client.WORKERS._all):
        os.kill(worker.pid, signal.SIGKILL)
    assert [*read, *texts] == [(n, f"page {n}") for n in range(1, 5)]


def test_fault_31_workers_killed_while_they_were_idle_cost_no_letters(unnoticed: None) -> None:
    pytest.importorskip("rapidocr")
    kill_idle(ocr.WORKERS)
    assert "apples" in ocr.read_text(picture_of_text(["apples"], (400, 120)))


def test_fault_31_a_file_that_ends_two_workers_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture_of_text(["a"], (80, 40)).save(tmp_path / "a.png")
    sent: list[int] = []

    def end(worker: Worker, *args: object) -> None:
        sent.append(worker.pid)
        os.kill(worker.pid, signal.SIGKILL)

    send = Worker.send
    monkeypatch.setattr(Worker, "send", lambda *given: (end(*given), send(*given)))
    pages, errors = load(tmp_path, Limits())
    assert pages == []
    assert "ended the process that read it (SIGKILL)" in errors[0].reason
    assert len(set(sent)) == 2


def test_frames_of_one_file_after_another_need_one_process(tmp_path: Path) -> None:
    image_client.WORKERS.close()
    picture_of_text(["a"], (80, 40)).save(tmp_path / "a.png")
    for _ in range(3):
        load(tmp_path, Limits())
    assert len(image_client.WORKERS._all) == 1


def test_what_is_written_beside_the_pixels_comes_with_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a red <b>barn</b>"
    data = io.BytesIO()
    picture_of_text(["a"], (80, 40)).save(data, "JPEG", exif=exif)
    (tmp_path / "barn door.jpg").write_bytes(data.getvalue())
    (page,), _ = load(tmp_path, Limits())
    assert page.text_from == "file name, exif"
    assert page.text == "barn door\na red <b>barn</b>"


def test_reading_can_begin_at_any_frame() -> None:
    frames = [Image.new("RGB", (40, 20), color) for color in ("red", "lime", "blue")]
    data = io.BytesIO()
    frames[0].save(data, "TIFF", save_all=True, append_images=frames[1:])
    counts: list[int] = []
    limits = {"max_side": 896, "max_pages": 10, "max_pixels": 10**6}
    found = images.read_image(data.getvalue(), "a.tif", [], first=2, opened=counts.append, **limits)
    assert [one.number for one in found if isinstance(one, Page)] == [2, 3]
    assert counts == [3]


# ------------------------------------------------------------------------------------------- OCR


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """OCR by a program that ends at every request."""
    pytest.importorskip("rapidocr")
    pool = Pool("tests.support.odd_worker")
    monkeypatch.setattr(ocr, "WORKERS", pool)
    monkeypatch.setattr(ocr, "READERS", replace(ocr.READERS, pool=pool))


def test_fault_22_a_crash_of_ocr_costs_its_page(
    lost: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAEMBED_VISUAL_WORDS", "never")
    picture_of_text(["some words"], (300, 60)).save(tmp_path / "a.png")
    with pytest.raises(ResourceLimitError, match="ended the process"):
        ocr.read_text(picture_of_text(["some words"], (300, 60)))
    (tmp_path / "b.txt").write_text("good")
    with PageIndex.open(":memory:", FakeEncoder(modalities=("text",))) as index:
        report = index.sync(tmp_path)
        assert report.added == 1
        (error,) = report.skipped
        assert error.source.endswith("a.png#1")
        assert "reading the letters on it by OCR ended the process" in error.reason


def test_a_page_with_a_text_of_its_own_stays_where_ocr_fails(lost: None) -> None:
    image = picture_of_text(["some words"], (300, 60))
    scan = Page(source="fax.pdf", text="one digital line", image=image, unread="scan")
    with PageIndex.open(":memory:", FakeEncoder(modalities=("text",))) as index:
        report = index.add([scan])
        assert (report.added, report.skipped) == (1, [])
        assert "ended the process" in report.notes[0].reason
        assert index.get(["fax.pdf#1"])[0].text == "one digital line"


def test_a_loader_says_where_ocr_fails(lost: None, caplog: pytest.LogCaptureFixture) -> None:
    page = Page(source="a.png", image=picture_of_text(["some words"], (300, 60)))
    assert read_page(page) == page
    assert "a.png#1: reading the letters on it by OCR ended the process" in caplog.text


@linux
@pytest.mark.integration
def test_fault_22_ocr_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rapidocr")
    ocr.WORKERS.close()
    monkeypatch.setattr(ocr, "LIMITS", WorkLimits(seconds=300, memory=4 * 1024**2))
    with pytest.raises(ResourceLimitError, match="by OCR"):
        ocr.read_text(picture_of_text(["some words"], (300, 60)))
    monkeypatch.setattr(ocr, "LIMITS", WorkLimits(seconds=0.05, memory=2 * 1024**3))
    with pytest.raises(ResourceLimitError, match=r"took more than 0.05 seconds"):
        ocr.read_text(picture_of_text(["some words"], (300, 60)))
