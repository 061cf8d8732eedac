"""What OCR has read and no record says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaembed_rag.store import readings
from metaembed_rag.store.readings import BlankPages, Readings

FOUND = BlankPages(4, (2, 4))


def opened(path: Path | None) -> Readings:
    found = Readings(path)
    found.refresh()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "readings" / "pages.jsonl"


def test_what_was_noted_is_there_for_the_next_process(path: Path) -> None:
    first = opened(path)
    first.note_texts({"a": "words", "b": ""})
    first.note_blank_pages("digest", "fused model", FOUND)
    second = opened(path)
    assert [second.text(picture) for picture in "abc"] == ["words", "", None]
    assert second.blank_pages("digest", "fused model") == FOUND
    assert second.blank_pages("digest", "text model") is None


def test_only_texts_of_nothing_are_kept_in_the_end(path: Path) -> None:
    first = opened(path)
    first.note_texts({"a": "words", "b": ""})
    first.forget_texts()
    assert "words" not in path.read_text()
    assert [opened(path).text(picture) for picture in "ab"] == [None, ""]


def test_descriptions_are_kept_by_picture_and_author_until_records_have_them(path: Path) -> None:
    first = opened(path)
    first.note_texts({"a": ""})
    first.note_description("a", "llava", "a kite")
    first.note_description("a", "moondream", "a bird")
    second = opened(path)
    assert [second.description("a", by) for by in ("llava", "moondream", "me")] == [
        "a kite",
        "a bird",
        None,
    ]
    assert second.text("a") == ""
    second.forget_texts()
    assert "kite" not in path.read_text()
    third = opened(path)
    assert (third.description("a", "llava"), third.text("a")) == (None, "")


def test_a_file_of_before_there_were_descriptions_is_read(path: Path) -> None:
    path.parent.mkdir()
    about = json.dumps(readings._about())
    path.write_text(f'{about}\n{{"picture": "a", "text": "words"}}')
    found = opened(path)
    assert (found.text("a"), found.description("a", "llava")) == ("words", None)


def test_what_another_process_noted_is_seen(path: Path) -> None:
    first, second = opened(path), opened(path)
    first.note_texts({"a": ""})
    second.refresh()
    second.note_texts({"b": ""})
    first.refresh()
    assert [first.text(picture) for picture in "ab"] == ["", ""]


def test_a_torn_line_costs_itself_only(path: Path) -> None:
    first = opened(path)
    first.note_texts({"a": ""})
    with path.open("a") as file:
        file.write('\n{"picture": "torn", "te')
    second = opened(path)
    second.note_texts({"b": ""})
    assert [opened(path).text(picture) for picture in ("a", "torn", "b")] == ["", None, ""]


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"[1, 2]", b'{"format": 1}', b"\xff\xfe\x00", b'{"picture": 3}']
)
def test_a_damaged_file_is_as_none_and_written_again(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    first = opened(path)
    assert first.text("a") is None
    first.note_texts({"a": ""})
    assert opened(path).text("a") == ""


def test_what_another_version_of_the_engine_read_does_not_count(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(path).note_texts({"a": ""})
    monkeypatch.setattr(readings, "version", lambda name: "99.0")
    assert opened(path).text("a") is None


def test_a_place_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    found = opened(tmp_path / "file" / "pages.jsonl")
    found.note_texts({"a": ""})
    assert found.text("a") == ""
    assert "will be read again" in caplog.text


def test_without_a_place_everything_is_in_memory() -> None:
    found = opened(None)
    found.note_texts({"a": "", "b": "words"})
    found.refresh()
    found.forget_texts()
    assert [found.text(picture) for picture in "ab"] == ["", None]
