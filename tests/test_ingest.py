"""The way in: vectors go from the encoder to Chroma and to the mapped copy, and never back."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chromadb.api.models.Collection import Collection
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from metaembed_rag.errors import MissingExtraError, ModelError, PageError, StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.ingest import AddOptions
from metaembed_rag.ingest import run as ingest_run
from metaembed_rag.pages import Page, load_pages
from metaembed_rag.store import places, records
from metaembed_rag.store.cache import VectorCache
from metaembed_rag.store.changes import Change
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import FORMATS
from tests.support.photos import photo, save_photo
from tests.support.processes import CONTEXT


def pages(numbers: Iterable[int], text: str = "whales", **metadata: int) -> list[Page]:
    return [
        Page("book", number=n + 1, text=f"{text} word{n}", metadata=metadata, id=f"book#{n}")
        for n in numbers
    ]


def encoder() -> FakeEncoder:
    return FakeEncoder(dimension=16, query_vectors=4, document_vectors=8)


def assert_copied(index: PageIndex) -> None:
    """The mapped copy holds what the records hold: one living row a page, of these very vectors."""
    copy = index._searcher.vectors()
    ids = index.ids()
    rows = copy.rows(ids)
    assert copy.pages == len(ids)
    assert sorted(copy.ids[copy.alive].tolist()) == ids
    assert np.array_equal(copy.take(rows, 8).decode(), index.vectors(ids))
    for id, stamp in zip(ids, copy.stamps(rows), strict=True):
        assert index._store.get([id])[id].stamp == stamp


class Reads:
    """What was read out of Chroma: ids of records that came with their metadata."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.requests = 0
        """For records; those that ask for ids only are not counted."""

    def take(self) -> list[str]:
        read, self.records, self.requests = sorted(self.records), [], 0
        return read


@pytest.fixture(autouse=True)
def no_visual_words(monkeypatch):
    """Here pictures are drawn at random; what photos show is told in ``test_visual_words.py``."""
    monkeypatch.setenv("METAEMBED_VISUAL_WORDS", "never")


@pytest.fixture
def reads(monkeypatch) -> Reads:
    seen = Reads()
    get = Collection.get

    def spy(self, *given, **named):
        found = get(self, *given, **named)
        if "metadatas" in named.get("include", ["metadatas"]):
            seen.requests += 1
            seen.records += found["ids"]
        return found

    monkeypatch.setattr(Collection, "get", spy)
    return seen


SERVER = pytest.param("server", marks=pytest.mark.integration)


@pytest.fixture(params=["folder", "memory", SERVER])
def where(request, tmp_path, monkeypatch) -> str:
    if request.param != "server":
        return str(tmp_path / "index") if request.param == "folder" else places.MEMORY
    monkeypatch.setattr(places.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    return request.getfixturevalue("server")


@pytest.fixture
def index(where, request) -> PageIndex:
    name = f"t{abs(hash(request.node.name))}"
    return PageIndex.open(where, encoder(), collection=name)


def test_no_record_that_was_just_written_is_read_again(index, reads):
    index.add(pages(range(100)), batch_size=32)
    assert (reads.requests, reads.take()) == (4, [])  # what is stored of each batch: nothing
    hits = index.search("whales word7", k=3, hybrid=False)  # the word index reads all texts
    assert reads.take() == sorted(hit.page.id for hit in hits)
    assert_copied(index)


def test_of_changed_pages_each_record_is_read_once_before_it_is_replaced(index, reads):
    index.add(pages(range(40)), batch_size=16)
    reads.take()
    again = pages(range(10)) + pages(range(10, 20), year=7) + pages(range(20, 50), "apples")
    report = index.add(again, batch_size=16)
    assert (report.added, report.updated, report.unchanged) == (10, 30, 10)
    assert reads.take() == sorted(f"book#{n}" for n in range(40))
    assert index.search("apples word30", k=1)[0].page.id == "book#30"
    assert index.search("word15", k=1, where={"year": 7})[0].page.id == "book#15"
    assert_copied(index)


def test_deleted_pages_are_read_for_their_pictures_and_no_others(index, reads):
    index.add(pages(range(20)))
    reads.take()
    index.delete(source="book", where=None)
    assert len(reads.take()) == 20
    index.add(pages(range(5), "pears"))
    assert reads.take() == []
    assert_copied(index)


@pytest.mark.parametrize("where", ["folder", "memory"], indirect=True)
def test_who_writes_alone_looks_for_nothing(index, monkeypatch):
    index.add(pages(range(20)))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(ChromaStore, "written_since", None)
        index.add(pages(range(5), year=7) + pages(range(5, 30), "pears"), batch_size=8)
        index.delete(["book#4", "book#6"])
    assert_copied(index)


@pytest.mark.parametrize("format", FORMATS)
def test_in_every_format_what_is_handed_over_is_what_is_stored(tmp_path, format, reads):
    index = PageIndex.open(tmp_path, encoder(), format=format)
    index.add(pages(range(20)), batch_size=8)
    assert reads.take() == []
    assert_copied(index)


def test_what_gathers_is_handed_over_in_portions(index, monkeypatch, reads):
    monkeypatch.setattr(ingest_run, "_HANDED_OVER_AT", 10_000)  # of 8 x 18 bytes a page, and its id
    portions: list[int] = []
    apply = VectorCache.apply

    def spy(self, changes: list[Change]):
        portions.append(sum(len(change.ids) for change in changes))
        return apply(self, changes)

    monkeypatch.setattr(VectorCache, "apply", spy)
    index.add(pages(range(100)), batch_size=10)
    assert portions == [30, 30, 30, 10]
    assert reads.take() == []
    assert_copied(index)


@pytest.mark.parametrize("size", [1, 10**9])
def test_a_page_that_comes_several_times_has_one_living_row(index, monkeypatch, size):
    monkeypatch.setattr(ingest_run, "_HANDED_OVER_AT", size)
    index.add(pages(range(8)) + pages(range(4, 12), "pears") + pages([5], "plums"), batch_size=3)
    assert index.search("plums", k=1)[0].page.id == "book#5"
    assert_copied(index)


def test_a_page_that_cannot_be_read_any_more_has_no_row(index):
    index.add(pages(range(8)))
    blank = [Page(source="book", number=4, text=" ", id="book#3")]
    assert index.add(pages([9]) + blank, batch_size=1).removed == 1
    assert_copied(index)


def test_after_a_failure_between_two_batches_the_next_search_reads_what_is_missing(index, reads):
    def failing():
        yield from pages(range(20))
        raise RuntimeError("the disk was pulled out")

    with pytest.raises(RuntimeError):
        index.add(failing(), batch_size=8)
    assert len(index) == 16
    assert reads.take() == []
    assert len(index.search("whales word3", k=16)) == 16
    assert set(reads.take()) == {f"book#{n}" for n in range(16)}
    index.add(pages(range(16, 24)))
    assert reads.take() == []
    assert_copied(index)


def _add_until_killed(where: str, portions: int) -> None:
    """Add pages; be killed when the last of so many portions is about to be handed over."""
    ingest_run._HANDED_OVER_AT = 1
    apply, handed = VectorCache.apply, [0]

    def killed(self, changes):
        handed[0] += 1
        if handed[0] == portions:
            os.kill(os.getpid(), signal.SIGKILL)
        return apply(self, changes)

    VectorCache.apply = killed
    index = PageIndex.open(where, encoder())
    index.add(pages(range(4), "pears") + pages(range(40, 60)), batch_size=4)


@pytest.mark.integration
@pytest.mark.parametrize("portions", [1, 3])
def test_a_kill_between_batch_and_hand_over_loses_nothing(tmp_path, reads, portions):
    index = PageIndex.open(tmp_path, encoder())
    index.add(pages(range(40)))
    process = CONTEXT.Process(target=_add_until_killed, args=(str(tmp_path), portions))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    reads.take()
    # The portions before were handed over; the batch of the last one is read.
    late = (
        [f"book#{n}" for n in range(4)] if portions == 1 else [f"book#{n}" for n in range(44, 48)]
    )
    for opened in (index, PageIndex.open(tmp_path, encoder())):
        hits = opened.search("pears word1", k=1, hybrid=False)
        assert hits[0].page.id == "book#1"
    read = reads.take()
    read.remove("book#1")
    read.remove("book#1")  # the hit, twice
    assert read == late
    assert_copied(index)
    index.add(pages(range(40, 60)))
    assert_copied(index)


class Interloper:
    """Writes to the same collection in the middle of somebody's ``add``, without its lock."""

    def __init__(self, index: PageIndex, path: Path) -> None:
        places = index._store.places
        self.other = ChromaStore.open(places.where, None, collection=places.collection)
        self.index = PageIndex.open(path / "elsewhere", encoder())
        self.calls = 0

    def __call__(self, done: int) -> None:
        self.calls += 1
        if self.calls != 2:
            return
        self.index.add(pages([2, 90, 91], "strange"))
        found = self.index._store._collection.get(
            ids=["book#2", "book#90", "book#91"], include=["metadatas", "embeddings"]
        )
        first = np.array(found["embeddings"], dtype=np.float32)
        self.other.upsert(found["ids"], first, found["metadatas"])
        self.other.delete(["book#1"])


@pytest.mark.parametrize("size", [1, 10**9])
@pytest.mark.parametrize("where", ["folder", SERVER], indirect=True)
def test_another_writer_in_between_is_noticed(index, tmp_path, monkeypatch, reads, size):
    monkeypatch.setattr(ingest_run, "_HANDED_OVER_AT", size)
    interloper = Interloper(index, tmp_path)
    index.add(pages(range(40)), batch_size=8, progress=interloper)
    assert interloper.calls == 5
    assert index.search("strange word2", k=1)[0].page.id == "book#2"
    assert "book#1" not in {hit.page.id for hit in index.search("word1", k=99)}
    assert {"book#90", "book#91"} < set(index.ids())
    assert_copied(index)
    index.add(pages(range(30, 50), "pears"), batch_size=8)
    assert_copied(index)


def test_another_reader_in_between_leaves_one_row_a_page(tmp_path, monkeypatch):
    """Its process brings the same files up to date, with pages that are handed over later."""
    monkeypatch.setattr(ingest_run, "_HANDED_OVER_AT", 6_000)
    index = PageIndex.open(tmp_path, encoder())
    reader = PageIndex.open(tmp_path, encoder())
    index.add(
        pages(range(40)) + pages(range(5), "pears"),
        batch_size=8,
        progress=lambda done: reader.search("whales", k=1),
    )
    assert_copied(index)
    assert_copied(reader)
    assert len(index._searcher.vectors()) <= 45  # five were replaced, none came twice


@pytest.mark.parametrize(
    ("options", "error"), [({"batch_size": 0}, StoreError), ({"mode": "sound"}, ModelError)]
)
def test_options_that_make_no_sense_are_refused_when_they_are_said(options, error):
    with pytest.raises(error):
        AddOptions(**options)


# -- what OCR completes --------------------------------------------------------------------------


class FakeOcr:
    """Reads every picture as the same text; can be taken away, as an extra is not installed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        self.text, self.installed, self.read = text, True, 0
        monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", self)
        monkeypatch.setattr("metaembed_rag.ingest.run.ocr_is_installed", lambda: self.installed)

    def __call__(self, image: object) -> str:
        if not self.installed:
            raise MissingExtraError("pip install '.[ocr]'")
        self.read += 1
        return self.text


LETTER = """Dear Madam, the pump in the cellar has failed again and the water stands as high as the
second step. Please send somebody before the weekend, with a new gasket and the longer hose. The key
is with the neighbour, who is at home in the mornings. Yours faithfully, Ottokar Zwiebel"""
SCANNED = "scan_under_digital_header.pdf"


@pytest.fixture
def letter(monkeypatch) -> FakeOcr:
    return FakeOcr(monkeypatch, LETTER)


@pytest.fixture
def text_index(tmp_path) -> PageIndex:
    return PageIndex.open(tmp_path / "i", FakeEncoder(dimension=16, modalities=["text"]))


def odd_files(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        shutil.copy(Path(__file__).parent / "fixtures" / "odd_files" / "pdf" / name, folder)
    return folder


def only(index: PageIndex) -> Page:
    (page,) = index.get(index.ids())
    return page


def test_fault_03_a_scan_below_a_line_is_found_by_what_ocr_reads(text_index, letter, tmp_path):
    folder = odd_files(tmp_path / "f", SCANNED)
    assert text_index.sync(folder).notes == []
    page = only(text_index)
    assert page.text == f"ACME Ltd Case 2024-117 Page 1\n{LETTER}"
    assert (page.text_from_ocr, page.unread) == (True, "")
    (loaded,) = load_pages(folder)
    assert page.content_hash() == loaded.content_hash()


def test_fault_03_nothing_that_was_read_is_read_again(text_index, letter, tmp_path):
    folder = odd_files(tmp_path / "f", SCANNED, "cipher_shifted.pdf", "cipher_no_map.pdf")
    text_index.sync(folder)
    for again in (text_index.sync(folder), text_index.add(load_pages(folder))):
        assert (again.unchanged, again.updated) == (3, 0)
    assert letter.read == 3


def test_fault_03_without_ocr_the_report_says_so_until_it_is_there(text_index, letter, tmp_path):
    folder, letter.installed = odd_files(tmp_path / "f", SCANNED), False
    for report in (text_index.sync(folder), text_index.sync(folder)):
        (note,) = report.notes
        assert "only the short text" in note.reason and "pip install" in note.reason
        assert report.skipped == []
    assert only(text_index).text == "ACME Ltd Case 2024-117 Page 1"
    letter.installed = True
    assert text_index.sync(folder).updated == 1
    assert LETTER in only(text_index).text
    assert text_index.sync(folder).unchanged == 1


@pytest.mark.parametrize("never", [False, "never"])
def test_fault_03_ocr_that_is_off_reads_nothing_and_says_so(text_index, letter, tmp_path, never):
    folder = odd_files(tmp_path / "f", SCANNED)
    assert "OCR is off" in text_index.sync(folder, ocr=never).notes[0].reason
    assert letter.read == 0


def test_fault_03_an_index_from_before_is_completed_by_the_next_sync(text_index, letter, tmp_path):
    folder = odd_files(tmp_path / "f", SCANNED)
    (page,) = load_pages(folder)
    text_index.add([replace(page, unread="", source_digest="of an older reader")])
    record = {records.UNREAD: None}
    text_index._store.update_metadata([page.id], [record])
    assert text_index.sync(folder).updated == 1
    assert LETTER in only(text_index).text


def test_fault_03_a_model_that_sees_the_scan_needs_no_ocr(letter, tmp_path):
    index = PageIndex.open(tmp_path / "i", FakeEncoder(dimension=16))
    folder = odd_files(tmp_path / "f", SCANNED)
    assert index.sync(folder).notes == []
    assert (letter.read, only(index).unread) == (0, "scan")
    assert index.sync(folder).unchanged == 1


def test_fault_03_always_reads_pictures_beside_their_text_too(letter, tmp_path):
    index = PageIndex.open(tmp_path / "i", FakeEncoder(dimension=16))
    report = index.add([Page("a", text="A chart", image=Image.new("RGB", (9, 9)))], ocr="always")
    assert report.notes == []
    assert only(index).text == f"A chart\n{LETTER}"
    assert index.add([Page("a", text="A chart", image=Image.new("RGB", (9, 9)))]).unchanged == 1


def test_fault_03_always_without_ocr_is_an_error(letter, tmp_path):
    letter.installed = False
    index = PageIndex.open(tmp_path / "i", FakeEncoder(dimension=16))
    with pytest.raises(MissingExtraError, match="pip install"):
        index.add([Page("a", text="A chart", image=Image.new("RGB", (9, 9)))], ocr="always")


@pytest.mark.parametrize("name", ["cipher_shifted.pdf", "cipher_no_map.pdf"])
@pytest.mark.parametrize("modalities", [["text"], ["text", "image", "fused"]])
def test_fault_04_an_unreadable_text_layer_is_replaced(letter, tmp_path, name, modalities):
    index = PageIndex.open(tmp_path / "i", FakeEncoder(dimension=16, modalities=modalities))
    report = index.sync(odd_files(tmp_path / "f", name))
    assert (report.added, report.notes) == (1, [])
    assert only(index).text == LETTER


def test_fault_04_without_ocr_rubbish_is_not_stored_in_silence(text_index, letter, tmp_path):
    letter.installed = False
    report = text_index.sync(odd_files(tmp_path / "f", "cipher_shifted.pdf", "cipher_no_map.pdf"))
    assert [Path(e.source).name for e in report.skipped] == ["cipher_no_map.pdf#1"]
    assert "stands for no characters, and is left out; " in report.skipped[0].reason
    assert [Path(e.source).name for e in report.notes] == ["cipher_shifted.pdf#1"]
    assert "may be a cipher" in report.notes[0].reason


def test_fault_04_what_ocr_confirms_is_kept_and_not_looked_at_again(text_index, letter):
    page = Page("a", text=LETTER, image=Image.new("RGB", (9, 9)), unread="cipher")
    for _ in range(2):
        text_index.add([page])
    stored = only(text_index)
    assert (stored.text, stored.text_from_ocr, letter.read) == (LETTER, False, 1)


# -- what has nothing to read, and what was read already ----------------------------------------

ODD = Path(__file__).parent / "fixtures" / "odd_files"


class Ocr:
    """Reads white pictures as blank, all others as "read by ocr", and counts."""

    def __init__(self) -> None:
        self.pictures = 0

    def __call__(self, image: Image.Image) -> str:
        self.pictures += 1
        extrema = image.convert("L").getextrema()
        return "" if extrema[0] > 250 else "read by ocr"


@pytest.fixture
def ocr(monkeypatch) -> Ocr:
    counting = Ocr()
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", counting)
    return counting


def reader_of_texts() -> FakeEncoder:
    return FakeEncoder(16, 4, 8, modalities=["text"])


def scan(path: Path, *colors: str) -> Path:
    first, *rest = [Image.new("RGB", (60, 40), color) for color in colors]
    first.save(path, save_all=True, append_images=rest)
    return path


def numbers(report) -> tuple[int, ...]:
    return report.added, report.updated, report.unchanged, len(report.blank), len(report.skipped)


@pytest.mark.parametrize("in_memory", [False, True])
def test_fault_19_blank_backs_are_counted_apart_and_read_once(tmp_path, ocr, in_memory):
    index = PageIndex.open(places.MEMORY if in_memory else tmp_path / "i", reader_of_texts())
    file = ODD / "pdf" / "duplex_blank_backs.pdf"
    first = index.sync(file)
    count = sum(numbers(first))
    assert first.skipped == []
    assert len(first.blank) > 0
    assert {error.source.rpartition("#")[0] for error in first.blank} == {file.resolve().as_posix()}
    assert len(index) == count - len(first.blank)
    pictures = ocr.pictures
    for opened in (
        index,
        index if in_memory else PageIndex.open(tmp_path / "i", reader_of_texts()),
    ):
        again = opened.sync(file, progress=(done := []).append)
        assert numbers(again) == (0, 0, first.added, len(first.blank), 0)
        assert sum(done) == count
    assert ocr.pictures == pictures
    assert again.seconds["ocr"] == 0  # it was not even loaded


def test_fault_19_a_blank_page_of_a_changed_file_is_not_read_again(tmp_path, ocr):
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    index.sync(scan(tmp_path / "a.tif", "red", "white"))
    assert ocr.pictures == 2
    report = index.sync(scan(tmp_path / "a.tif", "red", "white", "blue"))
    assert numbers(report) == (1, 0, 1, 1, 0)
    assert ocr.pictures == 3


def test_fault_19_a_picture_under_another_name_or_in_another_mode_is_not_read_again(tmp_path, ocr):
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    (tmp_path / "f").mkdir()
    path = scan(tmp_path / "f" / "a.tif", "red", "white")
    index.sync(tmp_path / "f")
    path.rename(tmp_path / "f" / "b.tif")
    report = index.sync(tmp_path / "f")
    assert (report.added, report.removed, len(report.blank)) == (1, 1, 1)
    assert index.sync(tmp_path / "f", mode="text").updated == 1
    assert ocr.pictures == 2
    assert index.search("ocr", k=1)[0].page.text_from_ocr


def test_fault_19_what_was_read_before_a_failure_is_not_read_again(tmp_path, ocr):
    index = PageIndex.open(tmp_path / "i", broken := reader_of_texts())

    def fails(*given, **named):
        raise ModelError("the server is away")

    broken.encode_document = fails
    path = scan(tmp_path / "a.tif", "red", "white", "blue")
    with pytest.raises(ModelError):
        index.sync(path)
    kept = tmp_path / "i" / "readings" / "pages.jsonl"
    assert "read by ocr" in kept.read_text()
    report = PageIndex.open(tmp_path / "i", reader_of_texts()).sync(path)
    assert numbers(report) == (2, 0, 0, 1, 0)
    assert ocr.pictures == 3
    assert "read by ocr" not in kept.read_text()


def test_fault_19_blank_pages_are_in_no_search_and_no_count(tmp_path, ocr):
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    index.sync(scan(tmp_path / "a.tif", "red", "white"))
    assert (len(index), len(index.ids()), len(index.search("ocr", k=9))) == (1, 1, 1)


def test_a_picture_is_not_blank_to_a_model_that_sees(tmp_path, ocr):
    path = scan(tmp_path / "a.tif", "white")
    blind = PageIndex.open(tmp_path / "i", reader_of_texts())
    assert numbers(blind.sync(path)) == (0, 0, 0, 1, 0)
    seeing = PageIndex.open(tmp_path / "i2", FakeEncoder(16, 4, 8, seed=1))
    shutil.copytree(tmp_path / "i" / "readings", tmp_path / "i2" / "readings")
    assert numbers(seeing.sync(path)) == (1, 0, 0, 0, 0)


def test_a_picture_that_nobody_read_is_no_blank_page_and_tried_again(tmp_path, ocr):
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    path = scan(tmp_path / "a.tif", "white")
    assert numbers(index.sync(path, ocr=False)) == (0, 0, 0, 0, 1)
    assert numbers(index.sync(path)) == (0, 0, 0, 1, 0)


def test_a_file_that_became_blank_leaves_the_index(tmp_path):
    index = PageIndex.open(tmp_path / "i", encoder())
    (tmp_path / "a.txt").write_text("whales")
    index.sync(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text(" \n")
    report = index.sync(tmp_path / "a.txt")
    assert (report.removed, len(report.blank), report.skipped, len(index)) == (1, 1, [], 0)


def test_fault_19_a_file_whose_new_content_is_known_to_be_blank_leaves_the_index(tmp_path, ocr):
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    files = tmp_path / "f"
    files.mkdir()
    blank = scan(files / "blank.tif", "white")
    index.sync(files)
    index.sync(scan(files / "scan.tif", "red", "blue"))
    shutil.copy(blank, files / "scan.tif")
    report = index.sync(files)
    assert (report.removed, len(report.blank), len(index)) == (2, 2, 0)
    assert index.sync(files).seconds["ocr"] == 0


def test_fault_19_a_page_of_another_mode_goes_when_it_is_known_to_be_blank(tmp_path, ocr):
    index = PageIndex.open(tmp_path / "i", encoder())
    path = scan(tmp_path / "a.tif", "white")
    for _ in range(2):  # the second time, text mode remembers that it is blank
        assert index.sync(path, mode="fused").added == 1
        assert index.sync(path, mode="text").removed == 1
        assert len(index) == 0


def test_fault_19_a_tenants_copy_of_a_blank_file_is_no_page_of_its(tmp_path, ocr):
    index = PageIndex.open(tmp_path / "i", encoder())
    path = scan(tmp_path / "a.tif", "white")
    index.add([replace(page, id=f"acme/{page.id}") for page in load_pages(path)])
    for _ in range(2):
        assert len(index.sync(path, mode="text").blank) == 1
    assert (ocr.pictures, len(index)) == (1, 1)


def test_fault_19_a_folder_with_a_blank_text_is_added_without_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("whales")
    (tmp_path / "b.txt").write_text(" \n")
    index = PageIndex.open(places.MEMORY, encoder())
    for changed in ((1, 0, 0, 1, 0), (0, 0, 1, 1, 0)):
        assert numbers(index.add(load_pages(tmp_path))) == changed
    assert numbers(index.sync(tmp_path)) == (0, 0, 1, 1, 0)


def test_the_texts_of_an_unfinished_run_go_when_pages_are_deleted(tmp_path, ocr):
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    index.add(pages([1]))
    index._ingest.target.readings.note_texts({"picture": "secret", "empty": ""})
    index.delete("book#1")
    assert "secret" not in (tmp_path / "i" / "readings" / "pages.jsonl").read_text()


# -- what is no page ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("report.pdf", r"report\.pdf: is a path and no page: .*add\(load_pages\(path\)\)"),
        (Path("report.pdf"), r"report\.pdf: is a path and no page"),
        (["report.pdf"], r"report\.pdf: is a path and no page"),
        (b"%PDF-1.7", "bytes: is no page: make pages .* by load_pages"),
        ([{"text": "whales"}], "a dict: is no page"),
        (Page("book", text="whales"), r"book#1: is one page: give a list"),
    ],
)
def test_fault_17_what_is_no_page_is_refused_with_what_to_do(given, reason):
    index = PageIndex.open(places.MEMORY, encoder())
    with pytest.raises(PageError, match=reason):
        index.add(given)


def test_fault_17_a_sync_of_bytes_is_refused_with_what_to_do():
    index = PageIndex.open(places.MEMORY, encoder())
    for given in ([b"whales"], b"whales"):
        with pytest.raises(StoreError, match="cannot follow bytes; use add"):
            index.sync(given)


@pytest.mark.parametrize(("given", "what"), [(5, "an int"), ([5], "an int"), (None, "None")])
def test_fault_17_a_sync_of_what_is_no_path_says_what_it_is(given, what):
    index = PageIndex.open(places.MEMORY, encoder())
    with pytest.raises(StoreError, match=f"cannot follow {what}; use add"):
        index.sync(given)


def test_fault_17_an_empty_name_is_not_the_folder_worked_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("whales swim")
    index = PageIndex.open(places.MEMORY, encoder())
    with pytest.raises(StoreError, match="'' names none; write '.' for here"):
        index.sync("")
    with pytest.raises(PageError, match="names no file and no folder"):
        list(load_pages(""))
    assert len(index) == 0


def test_fault_17_an_index_does_not_follow_its_own_files(tmp_path):
    (tmp_path / "a.txt").write_text("whales swim")
    index = PageIndex.open(tmp_path / "i", encoder())
    index.sync(tmp_path / "a.txt")
    index.search("whales")
    assert list((tmp_path / "i" / "cache").rglob("*.text"))
    (tmp_path / "i" / "notes.txt").write_text("apples grow")
    report = index.sync(tmp_path / "i")
    assert (report.added, len(index)) == (1, 2)


def test_fault_17_uploads_are_indexed_and_found():
    index = PageIndex.open(places.MEMORY, encoder())
    for _ in range(2):
        report = index.add(load_pages(b"whales swim", source="note"))
    assert (report.unchanged, index.search("whales", k=1)[0].page.id) == (1, "note#1")


def test_fault_17_the_picture_of_a_query_may_be_bytes_an_open_file_or_a_path(tmp_path):
    index = PageIndex.open(places.MEMORY, encoder())
    colors = {color: Image.new("RGB", (20, 10), color) for color in ("red", "blue")}
    index.add([Page(color, image=image) for color, image in colors.items()])
    colors["blue"].save(path := tmp_path / "query.png")
    with path.open("rb") as file:
        pictures = [path.read_bytes(), path, file, {"image": str(path)}, {"image": file}]
        for query in pictures:
            assert index.search(query, k=1)[0].page.source == "blue"
            assert index.score(query, index.ids())[0].page.source == "blue"
        assert [hits[0].page.source for hits in index.search_batch(pictures, k=1)] == ["blue"] * 5
        assert index.recall(pictures, k=1) == 1.0
    for nothing in (tmp_path / "gone.png", b"no picture", {"image": "gone.png"}):
        with pytest.raises(ModelError, match="the picture of the query: .* cannot be opened"):
            index.search(nothing)


# -- photos without letters ---------------------------------------------------------------------


class NoLetters(Ocr):
    """Finds no letters on any picture, and counts."""

    def __call__(self, image: Image.Image) -> str:
        self.pictures += 1
        return ""


@pytest.fixture
def no_letters(monkeypatch) -> NoLetters:
    counting = NoLetters()
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", counting)
    return counting


def test_a_photo_without_letters_is_found_by_its_name_and_one_without_words_is_listed(
    tmp_path, no_letters
):
    folder = tmp_path / "photos"
    save_photo(folder / "red kite.jpg")
    save_photo(folder / "IMG_2041.jpg", 1)
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    report = index.sync(folder)
    assert numbers(report) == (1, 0, 0, 1, 0)
    assert "a file name that says what it shows would help, or describe=" in str(report.blank[0])
    (hit,) = index.search("red kite", k=5)
    assert (hit.page.text, hit.page.text_from, hit.page.unread) == ("red kite", "file name", "")
    assert index.search("red kite", k=1).to_dict()["hits"][0]["text_from"] == "file name"
    assert numbers(index.sync(folder)) == (0, 0, 1, 1, 0)
    assert no_letters.pictures == 2


def test_a_photo_that_was_blank_is_picked_up_under_a_telling_name_and_not_read_again(
    tmp_path, no_letters
):
    folder = tmp_path / "photos"
    path = save_photo(folder / "IMG_2041.jpg")
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    assert len(index.sync(folder).blank) == 1
    path = path.rename(folder / "red kite.jpg")
    assert numbers(index.sync(folder)) == (1, 0, 0, 0, 0)
    path.rename(folder / "barn owl.jpg")
    report = index.sync(folder)
    assert (report.added, report.removed) == (1, 1)
    assert [hit.page.text for hit in index.search("owl", k=5)] == ["barn owl"]
    assert no_letters.pictures == 1


def test_a_new_caption_of_the_same_pixels_is_encoded_and_the_picture_not_read_again(tmp_path, ocr):
    folder = tmp_path / "photos"
    path = save_photo(folder / "a.png")
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    index.sync(folder)
    texts = PngInfo()
    texts.add_text("Title", "red kite")
    save_photo(path, pnginfo=texts)
    assert index.sync(folder).updated == 1
    (hit,) = index.search("red kite", k=5)
    assert (hit.page.text, hit.page.text_from) == ("red kite\nread by ocr", "comment, ocr")
    path.rename(folder / "hill.png")
    assert index.sync(folder).added == 1
    (hit,) = index.search("red kite", k=5)
    assert hit.page.text == "hill\nred kite\nread by ocr"
    assert numbers(index.sync(folder)) == (0, 0, 1, 0, 0)
    assert ocr.pictures == 1


def test_a_caption_does_not_keep_ocr_from_reading_and_is_there_without_it(tmp_path, monkeypatch):
    path = save_photo(tmp_path / "red kite.png")
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    report = index.sync(path, ocr="never")
    assert numbers(report) == (1, 0, 0, 0, 0)
    assert "only the short text beside it is in the index; OCR is off" in str(report.notes[0])
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: "EXIT")
    assert index.sync(path).updated == 1
    (hit,) = index.search("exit", k=5)
    assert (hit.page.text, hit.page.text_from) == ("red kite\nEXIT", "file name, ocr")


@pytest.mark.parametrize("mode", ["fused", "image", "text"])
def test_a_model_that_reads_texts_finds_a_photo_by_its_name_in_every_mode(
    tmp_path, no_letters, mode
):
    index = PageIndex.open(tmp_path / "i", reader_of_texts())
    assert index.sync(save_photo(tmp_path / "red kite.jpg"), mode=mode).added == 1


def test_a_model_that_reads_pictures_still_encodes_the_picture_and_shows_the_words(
    tmp_path, no_letters
):
    encoder = FakeEncoder(16, 4, 8, modalities=["text", "image"])
    index = PageIndex.open(tmp_path / "i", encoder)
    index.sync(save_photo(tmp_path / "red kite.png"))
    (hit,) = index.search({"image": photo()}, k=5)
    assert hit.score == pytest.approx(1.0, abs=0.02)
    assert (hit.page.text, no_letters.pictures) == ("red kite", 0)
