"""A folder of photos without text is indexed, and found by what they show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from metaembed_rag import cli

pytestmark = pytest.mark.integration

PHOTOS = Path(__file__).parents[1] / "fixtures" / "photos"
SHOWN = {
    "a domestic cat": "IMG_0001.jpg",
    "a cup of coffee": "IMG_0002.jpg",
    "a tripod": "IMG_0003.jpg",
    "a palace or castle": "IMG_0004.jpg",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The photos; OCR finds nothing on them."""
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: "")
    shutil.copytree(PHOTOS, tmp_path / "photos", ignore=shutil.ignore_patterns("*.md"))
    return tmp_path / "photos"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main([*arguments, "--json", "--quiet"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_photos_are_found_by_words_and_by_pictures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = str(tmp_path / "index")
    report = told(capsys, "index", str(folder), "--index", index)
    assert (report["added"], report["blank"], report["skipped"]) == (4, [], [])
    for query, name in SHOWN.items():
        hits = told(capsys, "search", query, "--index", index, "-k", "1")["hits"]
        assert [Path(hit["source"]).name for hit in hits] == [name], query
    picture = str(folder / "IMG_0004.jpg")
    hits = told(capsys, "search", "--image", picture, "--index", index, "-k", "1")["hits"]
    assert Path(hits[0]["source"]).name == "IMG_0004.jpg"
    assert told(capsys, "index", str(folder), "--index", index)["unchanged"] == 4


def test_photos_that_were_blank_before_are_seen_by_the_next_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    index = str(tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setenv("METAEMBED_VISUAL_WORDS", "never")
        assert len(told(capsys, "index", str(folder), "--index", index)["blank"]) == 4
    looks: list[object] = []
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: looks.append(image))
    assert told(capsys, "index", str(folder), "--index", index)["added"] == 4
    assert looks == []  # what OCR has found before is kept
