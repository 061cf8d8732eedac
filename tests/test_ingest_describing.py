"""Descriptions of pictures on their way into an index, from a server that the test starts."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import ModelError
from metaembed_rag.ingest import AddReport
from metaembed_rag.model import Describer
from metaembed_rag.store.places import MEMORY
from metaembed_rag.testing import FakeEncoder
from tests.support.files import make_pdf
from tests.support.processes import CONTEXT
from tests.support.servers import ChatServer, chat_answer, colour_of

KEY = "sk-test-1234567890"
SYNCED = ("added", "updated", "unchanged", "removed")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.close()


@pytest.fixture
def llava(server: ChatServer) -> str:
    return f"{server.address}#llava?tries=1"


@pytest.fixture(autouse=True)
def ocr(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Reads green pictures as a word, all others as blank; the colours of what was read."""
    read: list[str] = []

    def read_text(image: Image.Image) -> str:
        read.append(colour_of(image))
        return "Exit" if read[-1] == "green" else ""

    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", read_text)
    return read


@pytest.fixture(autouse=True)
def no_visual_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptions alone; one test has both."""
    monkeypatch.setenv("METAEMBED_VISUAL_WORDS", "never")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def blind(seed: int = 0) -> FakeEncoder:
    return FakeEncoder(16, 4, 8, modalities=["text"], seed=seed)


@pytest.fixture
def index(tmp_path: Path) -> PageIndex:
    return PageIndex.open(tmp_path / "i", blind())


def photo(path: Path, colour: str) -> Path:
    picture(colour).save(path)
    return path


def picture(colour: str) -> Image.Image:
    image = Image.new("RGB", (60, 40), colour)
    image.paste("gray", (20, 20, 40, 30))
    return image


def counts(report: AddReport) -> tuple[int, ...]:
    return tuple(getattr(report, name) for name in SYNCED)


def asked(server: ChatServer) -> list[str]:
    """Colours of the pictures that were asked about since the last call."""
    found = sorted(map(colour_of, server.pictures))
    server.pictures.clear()
    return found


def page_of(index: PageIndex, name: str) -> Page:
    (id,) = [id for id in index.ids() if id.partition("#")[0].endswith(name)]
    return index._store.get([id])[id].page


def test_a_photo_is_found_by_what_it_shows(
    index: PageIndex, files: Path, llava: str, server: ChatServer
) -> None:
    photo(files / "1.png", "red")
    photo(files / "2.png", "blue")
    assert counts(index.sync(files, describe=llava)) == (2, 0, 0, 0)
    for colour, name in (("red", "1.png"), ("blue", "2.png")):
        hit = index.search(f"{colour} kite", k=1)[0]
        assert Path(hit.page.source).name == name
        assert f"A {colour} kite above a hill." in hit.page.text
        assert "description" in hit.page.text_from.split(", ")
    assert asked(server) == ["blue", "red"]


def test_a_second_run_asks_nothing_and_another_picture_is_asked_about(
    index: PageIndex, files: Path, llava: str, server: ChatServer, ocr: list[str]
) -> None:
    photo(files / "1.png", "red")
    (files / "a.txt").write_text("whales")
    index.sync(files, describe=llava)
    server.requests.clear()
    report = index.sync(files, describe=llava)
    assert counts(report) == (0, 0, 2, 0)
    assert (server.requests, report.seconds["describe"], report.seconds["hash"]) == ([], 0, 0)
    asked(server)
    photo(files / "2.png", "blue")
    photo(files / "1.png", "yellow")
    assert counts(index.sync(files, describe=llava)) == (1, 1, 1, 0)
    assert asked(server) == ["blue", "yellow"]
    assert sorted(ocr) == ["blue", "red", "yellow"]


def test_a_picture_is_asked_about_once_under_any_name_and_in_any_mode(
    index: PageIndex, files: Path, llava: str, server: ChatServer, ocr: list[str]
) -> None:
    photo(files / "1.png", "red")
    shutil.copy(files / "1.png", files / "2.png")
    index.sync(files, describe=llava)
    (files / "2.png").rename(files / "3.png")
    assert index.sync(files, describe=llava).added == 1
    assert counts(index.sync(files, describe=llava, mode="text")) == (0, 2, 0, 0)
    assert asked(server) == ["red"]
    assert len(set(ocr)) == 1


def test_what_is_stored_is_described_when_somebody_is_named_and_by_another_again(
    index: PageIndex, files: Path, llava: str, server: ChatServer
) -> None:
    photo(files / "1.png", "green")
    photo(files / "2.png", "red")
    (files / "a.txt").write_text("whales")
    index.sync(files)
    assert counts(index.sync(files, describe=llava)) == (1, 1, 1, 0)
    assert asked(server) == ["green", "red"]
    page = page_of(index, "1.png")
    assert (page.text.split("\n")[-2:], page.text_from_ocr) == (
        ["A green kite above a hill.", "Exit"],
        True,
    )
    other = f"{server.address}#moondream"
    assert counts(index.sync(files, describe=other)) == (0, 2, 1, 0)
    assert asked(server) == ["green", "red"]
    assert {request["model"] for request in server.requests[-2:]} == {"moondream"}
    index.sync(files, describe=other)
    assert asked(server) == []


def test_without_describe_what_was_written_stays(
    index: PageIndex, files: Path, llava: str, server: ChatServer
) -> None:
    photo(files / "1.png", "red")
    index.sync(files, describe=llava)
    assert counts(index.sync(files)) == (0, 0, 1, 0)
    assert counts(index.sync(files, mode="text")) == (0, 1, 0, 0)
    assert "A red kite above a hill." in page_of(index, "1.png").text
    index.sync(files, mode="text", describe=llava)
    assert asked(server) == ["red"]
    photo(files / "1.png", "green")
    index.sync(files, mode="text")
    assert "kite" not in page_of(index, "1.png").text


def test_a_failed_description_is_noted_and_the_other_text_kept_until_it_is_there(
    index: PageIndex, files: Path, llava: str, server: ChatServer
) -> None:
    for colour in ("blue", "green", "red"):
        photo(files / f"{colour}.png", colour)
    failure = (500, {}, '{"error": {"message": "out of memory"}}')
    server.refuses = dict.fromkeys(("green",), failure)
    report = index.sync(files, describe=llava)
    assert (report.added, report.skipped, report.blank) == (3, [], [])
    (note,) = report.notes
    assert note.source.endswith("green.png#1")
    assert "its picture is not described: " in note.reason
    assert "500 out of memory" in note.reason
    assert index.search("exit", k=1)[0].page.source.endswith("green.png")
    assert len(index.sync(files, describe=llava).notes) == 1  # tried again
    server.refuses = {}
    report = index.sync(files, describe=llava)
    assert (counts(report), report.notes) == ((0, 1, 2, 0), [])
    assert "A green kite above a hill." in page_of(index, "green.png").text


def test_a_page_without_any_other_text_is_skipped_when_its_description_fails(
    index: PageIndex, llava: str, server: ChatServer
) -> None:
    server.refuses = {"red": (500, {}, "out of memory")}
    pages = [Page(f"{name} picture", image=picture(name)) for name in ("blue", "red")]
    report = index.add(pages, describe=llava)
    assert (report.added, report.blank, report.notes) == (1, [], [])
    (error,) = report.skipped
    assert error.source == "red picture#1"
    assert "describing it failed" in error.reason
    assert "500 out of memory" in error.reason
    server.refuses = {}
    assert index.add(pages, describe=llava).added == 1


def test_a_description_stands_in_place_of_visual_words_which_stay_where_it_fails(
    index: PageIndex, files: Path, llava: str, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAEMBED_VISUAL_WORDS", "auto")
    seen: list[str] = []

    def look(image: Image.Image) -> str:
        seen.append(colour_of(image))
        return "a photo of a toy"

    monkeypatch.setattr("metaembed_rag.model.visual_words.describe", look)
    server.refuses = {"red": (500, {}, "out of memory")}
    photo(files / "1.png", "red")
    photo(files / "2.png", "blue")
    report = index.sync(files, describe=llava)
    assert (report.added, [note.source[-7:] for note in report.notes]) == (2, ["1.png#1"])
    assert page_of(index, "1.png").text_from == "visual words"
    assert page_of(index, "2.png").text_from == "description"
    server.refuses = {}
    assert counts(index.sync(files, describe=llava)) == (0, 1, 1, 0)
    page = page_of(index, "1.png")
    assert (page.text_from, page.text) == ("description", "A red kite above a hill.")
    assert counts(index.sync(files)) == (0, 0, 2, 0)
    assert seen == ["red"]  # a network looks only where nobody has described the picture


def test_when_another_describer_fails_the_description_before_stays(
    index: PageIndex, files: Path, llava: str, server: ChatServer
) -> None:
    photo(files / "0.png", "blue")
    photo(files / "1.png", "red")
    index.sync(files, describe=llava)
    server.refuses = {"red": (500, {}, "")}
    report = index.sync(files, describe=f"{server.address}#moondream?tries=1")
    assert (len(report.notes), report.skipped, len(index)) == (1, [], 2)
    assert "A red kite above a hill." in page_of(index, "1.png").text


@pytest.mark.parametrize("status", [401, 404, None])
def test_nobody_who_describes_is_an_error_and_nothing_is_lost(
    index: PageIndex, files: Path, llava: str, server: ChatServer, status: int | None
) -> None:
    photo(files / "1.png", "green")
    index.sync(files, describe=llava)
    photo(files / "2.png", "red")
    if status is None:
        server.close()
    else:
        server.refuses = {"red": (status, {}, "")}
    before = index._store.get(index.ids())
    with pytest.raises(ModelError, match="chat/completions"):
        index.sync(files, describe=llava)
    assert index._store.get(index.ids()) == before


def test_which_pages_are_described(
    index: PageIndex, files: Path, llava: str, server: ChatServer
) -> None:
    make_pdf(files / "a.pdf", ["whales swim", ""])
    photo(files / "1.png", "red")
    first = index.sync(files, describe=llava)
    assert (first.added, len(first.blank)) == (2, 1)
    assert asked(server) == ["red"]  # not the text, nor the empty paper
    index.sync(files, describe=f"{llava}&pages=all")
    assert asked(server) == ["white"]
    page = page_of(index, "a.pdf")
    assert page.text.split("\n") == ["whales swim", "A white kite above a hill."]
    assert page.text_layer == "whales swim"
    assert index.sync(files, describe=f"{llava}&pages=all").seconds["hash"] == 0


@pytest.mark.parametrize("mode", ["fused", "image", "text"])
def test_a_model_that_sees_is_given_the_words_with_the_picture(mode: Any, llava: str) -> None:
    encoder = FakeEncoder(16, 4, 8)
    index = PageIndex.open(MEMORY, encoder, collection=f"seeing_{mode}")
    index.add([Page("a photo", image=picture("red"))], mode=mode, describe=llava)
    (given,) = encoder.encoded
    words = "A red kite above a hill."
    if mode == "fused":
        assert given["text"] == words
        assert isinstance(given["image"], Image.Image)
    else:
        assert given == words if mode == "text" else isinstance(given, Image.Image)
    assert page_of(index, "a photo").text == words


def test_blind_models_in_any_mode_are_given_the_words(llava: str) -> None:
    for mode in ("fused", "image", "text"):
        encoder = blind()
        index = PageIndex.open(MEMORY, encoder, collection=f"blind_{mode}")
        index.add([Page("a photo", image=picture("green"))], mode=mode, describe=llava)
        assert encoder.encoded == ["A green kite above a hill.\nExit"]


def test_a_function_describes_and_its_words_are_kept_by_its_name(
    index: PageIndex, files: Path
) -> None:
    seen: list[str] = []

    def sees(image: Image.Image) -> str:
        seen.append(colour_of(image))
        return "a boat"

    photo(files / "1.png", "red")
    index.sync(files, describe=sees)
    index.sync(files, describe=sees)
    assert index.search("boat", k=1)[0].page.text.endswith("a boat")
    index.sync(files, describe=Describer(sees, pages="all"))
    assert seen == ["red"]


def test_pages_over_several_batches_are_asked_about_so_many_at_a_time(
    index: PageIndex, server: ChatServer
) -> None:
    server.seconds = 0.02
    pages = [Page(f"p{n}", image=picture("red").resize((60, 40 + n))) for n in range(12)]
    index.add(pages, batch_size=5, describe=f"{server.address}#llava?connections=2")
    assert (len(server.pictures), server.most_at_once) == (12, 2)


def test_the_key_is_in_no_file_of_the_index(
    tmp_path: Path, files: Path, llava: str, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAEMBED_DESCRIBE_KEY", KEY)
    photo(files / "1.png", "red")
    with PageIndex.open(tmp_path / "i", blind()) as index:
        index.sync(files, describe=llava)
    assert server.keys == [f"Bearer {KEY}"]
    every = b"".join(path.read_bytes() for path in (tmp_path / "i").rglob("*") if path.is_file())
    assert b"kite" in every
    assert KEY.encode() not in every


def kept(tmp_path: Path) -> str:
    return (tmp_path / "i" / "readings" / "pages.jsonl").read_text()


def test_what_was_written_before_a_failure_is_not_asked_for_again(
    tmp_path: Path, files: Path, llava: str, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(files / "1.png", "red")
    broken = blind()
    monkeypatch.setattr(broken, "encode_document", _fails)
    with PageIndex.open(tmp_path / "i", broken) as index, pytest.raises(ModelError):
        index.sync(files, describe=llava)
    assert "A red kite" in kept(tmp_path)
    index = PageIndex.open(tmp_path / "i", blind())
    index.sync(files, describe=llava)
    assert asked(server) == ["red"]
    assert "A red kite above a hill." in page_of(index, "1.png").text
    assert "kite" not in kept(tmp_path)


def _killed_in_a_run(folder: Path, files: Path, llava: str) -> None:
    encoder = blind()
    encoder.encode_document = lambda *a, **b: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment,return-value]
    PageIndex.open(folder, encoder).sync(files, describe=llava)


def test_what_was_written_before_a_kill_is_not_asked_for_again(
    tmp_path: Path, files: Path, llava: str, server: ChatServer
) -> None:
    for colour in ("red", "blue"):
        photo(files / f"{colour}.png", colour)
    process = CONTEXT.Process(target=_killed_in_a_run, args=(tmp_path / "i", files, llava))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert asked(server) == ["blue", "red"]
    index = PageIndex.open(tmp_path / "i", blind())
    assert index.sync(files, describe=llava).added == 2
    assert asked(server) == []
    assert index.search("blue kite", k=1)[0].page.source.endswith("blue.png")


@pytest.mark.parametrize("way", ["delete", "compact"])
def test_what_was_written_of_an_unfinished_run_goes_with_a_deletion(
    tmp_path: Path, files: Path, llava: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    index = PageIndex.open(tmp_path / "i", blind())
    index.add([Page("prose", text="whales")])
    photo(files / "1.png", "red")
    with monkeypatch.context() as meanwhile, pytest.raises(ModelError):
        meanwhile.setattr(index.encoder, "encode_document", _fails)
        index.sync(files, describe=llava)
    assert "A red kite" in kept(tmp_path)
    assert index.delete(source="prose") == 1 if way == "delete" else index.compact()
    assert "kite" not in kept(tmp_path)


def _fails(*given: Any, **named: Any) -> None:
    raise ModelError("the encoder is away")


def test_a_deleted_pages_description_is_in_no_file_after_compacting(
    tmp_path: Path, files: Path, llava: str, server: ChatServer
) -> None:
    server.answer = chat_answer("zyxwvut")
    photo(files / "1.png", "red")
    with PageIndex.open(tmp_path / "i", blind()) as index:
        index.add([Page("prose", text="whales")])
        index.sync(files, describe=llava)
        index.delete(source=files / "1.png")
        index.compact()
    every = b"".join(path.read_bytes() for path in (tmp_path / "i").rglob("*") if path.is_file())
    assert b"whales" in every
    assert b"zyxwvut" not in every


@pytest.mark.parametrize("name", ["langchain", "llama_index"])
def test_frameworks_hand_it_on(
    name: str, files: Path, llava: str, request: pytest.FixtureRequest
) -> None:
    index = PageIndex.open(MEMORY, blind(), collection=f"given_{name}")
    path = str(photo(files / "1.png", "red"))
    store = _store(name)(index, path, llava)
    assert store
    assert index.search("red kite", k=1)[0].page.text.endswith("A red kite above a hill.")


def _store(name: str) -> Callable[[PageIndex, str, str], Any]:
    def langchain(index: PageIndex, path: str, llava: str) -> Any:
        documents = pytest.importorskip("langchain_core.documents")
        from metaembed_rag.langchain import MetaEmbedVectorStore

        document = documents.Document(page_content="", metadata={"image_path": path})
        return MetaEmbedVectorStore(index, describe=llava).add_documents([document])

    def llama_index(index: PageIndex, path: str, llava: str) -> Any:
        schema = pytest.importorskip("llama_index.core.schema")
        from metaembed_rag.llama_index import MetaEmbedVectorStore

        node = schema.ImageNode(image_path=path)
        return MetaEmbedVectorStore(index=index).add([node], describe=llava)

    return {"langchain": langchain, "llama_index": llama_index}[name]
