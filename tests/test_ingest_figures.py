"""Pictures inside of pages in an index: what is read, once, and what is left as it is."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from metaembed_rag.errors import MissingExtraError, ResourceLimitError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Limits, Page, load_pages
from metaembed_rag.pages.figures import Figure
from metaembed_rag.pages.lines import Lettering
from metaembed_rag.store import records
from metaembed_rag.testing import FakeEncoder
from tests.support.files import illustrated, picture_of_text

BOX = (30.0, 100.0, 200.0, 80.0)


def chart(word: str) -> tuple[Image.Image, tuple[float, float, float, float]]:
    return picture_of_text([word], size=(200, 80)), BOX


def report_of(*words: str, caption: str = "exports") -> bytes:
    text = "\n".join([f"The {caption} of the northern countries by year"] * 3)
    return illustrated([(f"{text}\npage {n}", [chart(word)]) for n, word in enumerate(words)])


class Ocr:
    """Counts what it reads; says of each picture how dark it is, which tells them apart."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.installed = True
        self.fails = False

    def __call__(self, image: Image.Image) -> str:
        if not self.installed:
            raise MissingExtraError("pip install '.[ocr]'")
        if self.fails:
            raise ResourceLimitError("a picture", "took too long")
        said = f"zebra{sum(image.convert('L').histogram()[:128])}"
        self.read[said] += 1
        return said

    @property
    def count(self) -> int:
        return self.read.total()


@pytest.fixture(autouse=True)
def ocr(monkeypatch: pytest.MonkeyPatch) -> Ocr:
    monkeypatch.setenv("METAEMBED_VISUAL_WORDS", "never")
    fake = Ocr()
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", fake)
    for module in ("ingest.run", "pages.limits"):
        monkeypatch.setattr(f"metaembed_rag.{module}.ocr_is_installed", lambda: fake.installed)
    return fake


@pytest.fixture
def index(tmp_path: Path) -> PageIndex:
    return PageIndex.open(tmp_path / "i", FakeEncoder(dimension=16, modalities=["text"]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "files" / "report.pdf"
    path.parent.mkdir()
    path.write_bytes(report_of("seals", "herring", "codfish"))
    return path


def texts(index: PageIndex) -> list[str]:
    return [page.text for page in index.get(sorted(index.ids()))]


def test_what_is_read_on_a_figure_is_in_the_pages_text(index: PageIndex, path: Path) -> None:
    report = index.sync(path)
    assert (report.added, report.notes) == (3, [])
    assert all("by year" in text and "zebra" in text for text in texts(index))
    for page, loaded in zip(index.get(sorted(index.ids())), load_pages(path), strict=True):
        assert page.text_from == "text, ocr"
        assert page.content_hash() == loaded.content_hash()
        assert page.unread == ""


def test_a_figure_is_found_by_what_stands_on_it(index: PageIndex, path: Path, ocr: Ocr) -> None:
    index.sync(path)
    word = texts(index)[1].splitlines()[-1]
    assert index.search(word, k=1, hybrid=True)[0].page.number == 2


def test_an_unchanged_folder_is_read_by_ocr_once(index: PageIndex, path: Path, ocr: Ocr) -> None:
    index.sync(path.parent)
    assert ocr.count == 3
    os.utime(path, (1, 1))
    for again in (index.sync(path.parent), index.sync(path), index.add(load_pages(path))):
        assert again.unchanged == 3
    assert ocr.count == 3


def test_of_a_changed_file_only_the_changed_page_is_read(
    index: PageIndex, path: Path, ocr: Ocr
) -> None:
    index.sync(path)
    path.write_bytes(report_of("seals", "mackerel", "codfish"))
    report = index.sync(path)
    assert (report.updated, report.unchanged) == (1, 2)
    assert ocr.count == 4


def test_a_figure_of_a_page_whose_text_changed_is_not_read_again(
    index: PageIndex, path: Path, ocr: Ocr
) -> None:
    index.sync(path)
    before = [text.splitlines()[-1] for text in texts(index)]
    path.write_bytes(report_of("seals", "herring", "codfish", caption="imports"))
    assert index.sync(path).updated == 3
    assert ocr.count == 3
    assert [text.splitlines()[-1] for text in texts(index)] == before
    assert all("imports" in text for text in texts(index))


def test_a_folder_that_moved_is_not_read_again(index: PageIndex, path: Path, ocr: Ocr) -> None:
    index.sync(path.parent)
    path.parent.rename(path.parents[1] / "moved")
    assert index.sync(path.parents[1] / "moved").skipped == []
    assert ocr.count == 3


def test_one_logo_on_every_page_is_read_once(index: PageIndex, path: Path, ocr: Ocr) -> None:
    path.write_bytes(report_of(*["logo"] * 5))
    index.sync(path)
    assert ocr.count == 1
    assert all("zebra" in text for text in texts(index))


def test_what_was_read_is_gone_when_its_page_is_deleted(
    index: PageIndex, path: Path, ocr: Ocr
) -> None:
    index.sync(path)
    index.delete(everything=True)
    kept = index._store.places.readings
    assert kept is None or not kept.exists() or "zebra" not in kept.read_text()
    index.sync(path)
    assert ocr.count == 6


@pytest.mark.parametrize("ocr_option", [False, "never"])
def test_ocr_that_is_off_reads_no_figure_and_says_nothing(
    index: PageIndex, path: Path, ocr: Ocr, ocr_option: bool | str
) -> None:
    report = index.sync(path, ocr=ocr_option)  # type: ignore[arg-type]
    assert (report.added, report.notes, ocr.count) == (3, [], 0)
    assert index.sync(path).unchanged == 3  # as it was: reading costs seconds a page
    assert ocr.count == 0


def test_a_model_that_sees_the_page_needs_no_ocr(tmp_path: Path, path: Path, ocr: Ocr) -> None:
    index = PageIndex.open(tmp_path / "i", FakeEncoder(dimension=16))
    assert index.sync(path).notes == []
    assert ocr.count == 0
    assert index.sync(path, mode="text").updated == 3
    assert ocr.count == 3


def test_always_reads_figures_for_every_model(tmp_path: Path, path: Path, ocr: Ocr) -> None:
    index = PageIndex.open(tmp_path / "i", FakeEncoder(dimension=16))
    index.sync(path, ocr="always")
    assert ocr.count == 6  # each page as a whole, and its figure


def test_figures_that_nobody_wants_drawn_are_left_alone(
    index: PageIndex, path: Path, ocr: Ocr
) -> None:
    for _ in range(2):
        report = index.sync(path, limits=Limits(figures=False), reread=True)
        assert (report.updated, report.notes, ocr.count) == (0, [], 0)


def older(index: PageIndex, path: Path) -> None:
    """The index as an earlier version made it: nobody read figures."""
    index.sync(path, ocr="never")
    gone = {records.FIGURES: None, records.FIGURE_HASHES: None}
    index._store.update_metadata(index.ids(), [gone] * len(index.ids()))


def test_an_older_index_stays_as_it_is_until_it_is_asked_to_read_again(
    index: PageIndex, path: Path, ocr: Ocr
) -> None:
    older(index, path)
    assert index.sync(path).unchanged == 3
    assert ocr.count == 0
    report = index.sync(path, reread=True)
    assert (report.updated, ocr.count) == (3, 3)
    assert all("zebra" in text for text in texts(index))
    assert index.sync(path, reread=True).unchanged == 3
    assert ocr.count == 3


def test_without_ocr_the_report_says_once_how_many_pages_have_more(
    index: PageIndex, path: Path, ocr: Ocr
) -> None:
    ocr.installed = False
    (note,) = index.sync(path).notes
    assert note.source == "3 pages"
    assert "pip install" in note.reason and "--reread" in note.reason
    assert index.sync(path).notes == []
    ocr.installed = True
    assert index.sync(path, reread=True).updated == 3
    assert ocr.count == 3


def test_a_figure_that_cannot_be_read_costs_no_page_and_is_said(
    index: PageIndex, path: Path, ocr: Ocr
) -> None:
    ocr.fails = True
    report = index.sync(path)
    assert (report.added, report.skipped) == (3, [])
    assert [note.source.rpartition("#")[2] for note in report.notes] == ["1", "2", "3"]
    assert "a picture inside of it could not be read" in report.notes[0].reason
    ocr.fails = False
    assert index.sync(path).unchanged == 3
    assert index.sync(path, reread=True).updated == 3


def test_no_new_figure_is_begun_when_a_pages_time_is_up(
    index: PageIndex, path: Path, ocr: Ocr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaembed_rag.model.looking.SECONDS", -1.0)
    assert len(index.sync(path).notes) == 3
    assert ocr.count == 0


def test_a_page_given_by_hand_reads_its_figures_too(index: PageIndex, path: Path, ocr: Ocr) -> None:
    index.add(load_pages(path, limits=Limits(figures=True)))
    assert ocr.count == 3


# -- scans that lie on their side ----------------------------------------------------------------

LETTER = "the body of a long letter about pumps, gaskets and hoses in the cellar of the house " * 2


def test_a_turned_scan_is_kept_upright_and_unchanged_the_next_time(
    index: PageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def sideways(image: Image.Image) -> str:
        calls.append(image.size)
        return Lettering(LETTER.strip(), [(LETTER.strip(), (0.1, 0.2, 0.3, 0.9))], 90)

    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", sideways)
    path = tmp_path / "scan.png"
    chart("a letter")[0].save(path)
    index.sync(path)
    (page,) = index.get(index.ids())
    kept = page.load_image()
    assert kept is not None
    assert (kept.width < kept.height, page.turned) == (True, 90)
    (loaded,) = load_pages(path)
    assert page.content_hash() == loaded.content_hash()
    os.utime(path, (1, 1))
    for again in (index.sync(path), index.sync(path, reread=True), index.add(load_pages(path))):
        assert again.unchanged == 1
    Path(page.image_path or "").unlink()
    index.sync(path)
    (page,) = index.get(index.ids())
    assert page.load_image().size == kept.size  # type: ignore[union-attr]
    assert len(calls) == 1


# -- letters that OCR does not know --------------------------------------------------------------


def test_figures_of_a_page_in_other_letters_are_left_alone_and_that_is_said(
    index: PageIndex, ocr: Ocr
) -> None:
    image = picture_of_text(["Norway"])
    figure = Figure.of((0.1, 0.5, 0.9, 0.9), image)
    page = Page("отчёт.pdf", text="Годовой отчёт о рыболовстве", image=image, figures=(figure,))
    (note,) = index.add([page]).notes
    assert ocr.count == 0
    assert "does not know the letters" in note.reason and "--ocr-language" in note.reason
