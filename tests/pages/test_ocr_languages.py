"""Which letters OCR reads, and what is said where a model is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metaembed_rag.errors import ModelError
from metaembed_rag.pages.ocr import read_text
from metaembed_rag.pages.ocr_languages import LANGUAGE, MODELS, OcrLanguage
from tests.support.files import picture_of_text


@pytest.mark.parametrize("name", ["", "latin", "ch", "Japan"])
def test_the_model_of_the_package_reads_latin_letters_chinese_and_japanese(name: str) -> None:
    assert OcrLanguage.of(name) == OcrLanguage()
    assert OcrLanguage.of(name).reads("Prüfung 検査 カタカナ")


def test_a_language_without_a_model_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(MODELS, raising=False)
    with pytest.raises(ModelError, match=r"rapidocr's package does not have.*cyrillic_PP-OCRv5"):
        OcrLanguage.of("cyrillic")
    monkeypatch.setenv(MODELS, str(tmp_path))
    with pytest.raises(ModelError, match=r"has none.*https://"):
        OcrLanguage.of("arabic")


def test_an_unknown_language_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ModelError, match="no language 'klingon'; it knows ch, .*cyrillic"):
        OcrLanguage.of("klingon")


def test_the_newest_model_in_the_folder_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for version in ("PP-OCRv3_rec_mobile", "PP-OCRv5_rec_mobile"):
        (tmp_path / f"cyrillic_{version}.onnx").touch()
    (tmp_path / "cyrillic_PP-OCRv5_rec_mobile.txt").touch()
    monkeypatch.setenv(MODELS, str(tmp_path))
    monkeypatch.setenv(LANGUAGE, "cyrillic")
    found = OcrLanguage.of()
    assert (found.name, found.model) == ("cyrillic", tmp_path / "cyrillic_PP-OCRv5_rec_mobile.onnx")
    assert found.characters == tmp_path / "cyrillic_PP-OCRv5_rec_mobile.txt"
    assert found.reads("Годовой отчёт") and found.reads("Annual report")


@pytest.mark.parametrize("text", ["Годовой отчёт о рыболовстве", "التقرير السنوي", "연례 보고서"])
def test_letters_that_it_does_not_know_are_told_from_those_that_it_does(text: str) -> None:
    assert not OcrLanguage().reads(text)
    assert OcrLanguage().reads(f"The Annual Report of the Fisheries Board: {text[:5]}")


def test_numbers_are_read_in_every_language() -> None:
    assert OcrLanguage().reads("12.5 % 2024")


@pytest.mark.integration
def test_a_model_from_a_folder_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package's own model stands in for that of a language."""
    rapidocr = pytest.importorskip("rapidocr")
    own = next((Path(rapidocr.__file__).parent / "models").glob("*_rec_*.onnx"))
    shutil.copy(own, tmp_path / "cyrillic_PP-OCRv5_rec_mobile.onnx")
    monkeypatch.setenv(MODELS, str(tmp_path))
    monkeypatch.setenv(LANGUAGE, "cyrillic")
    assert "Norway" in read_text(picture_of_text(["Norway 12"]))


def test_reading_asks_for_the_language_before_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("rapidocr")
    monkeypatch.setenv(LANGUAGE, "korean")
    monkeypatch.delenv(MODELS, raising=False)
    with pytest.raises(ModelError, match="korean"):
        read_text(picture_of_text(["Norway 12"]))
