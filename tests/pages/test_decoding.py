"""Bytes of text files in the encodings that there are."""

from __future__ import annotations

import logging
import random
import re
from pathlib import Path

import pytest

from metaembed_rag.errors import UnreadableFileError
from metaembed_rag.pages import load_pages
from metaembed_rag.pages.decoding import decode

ODD = Path(__file__).parents[1] / "fixtures" / "odd_files" / "txt"
RUSSIAN = "Насос котла заменён в мае, счёт оплачен.\n"
LEGACY = [
    ("koi8-r", RUSSIAN),
    ("cp1251", RUSSIAN),
    ("cp866", RUSSIAN),
    ("iso8859-5", RUSSIAN),
    ("cp1252", "The pump was replaced in May – it’s “new” and costs 5 €.\n"),
    ("cp1252", "Die Pumpe läuft. Grüße aus München, Straße.\n"),
    ("latin-1", "Le résumé de l'année : les ventes ont augmenté.\n"),
    ("cp1250", "Pompa kotła została wymieniona w maju, źródło ciepła działa.\n"),
    ("cp1253", "Η αντλία του λέβητα αντικαταστάθηκε τον Μάιο.\n"),
    ("cp1254", "Kazan pompası mayıs ayında değiştirildi, şimdi çalışıyor.\n"),
    ("cp1255", "המשאבה של הדוד הוחלפה במאי\n"),
    ("cp1256", "تم استبدال مضخة الغلاية في شهر مايو\n"),
    ("shift_jis", "ボイラーのポンプは五月に交換されました。報告書を参照してください。\n"),
    ("euc_jp", "ボイラーのポンプは五月に交換されました。報告書を参照してください。\n"),
    ("gb18030", "锅炉的水泵在五月份更换了。请参阅年度报告。\n"),
    ("big5", "鍋爐的水泵在五月份更換了。請參閱年度報告。\n"),
    ("cp949", "보일러 펌프는 5월에 교체되었습니다. 보고서를 참조하십시오.\n"),
    ("cp874", "ปั๊มหม้อไอน้ำถูกเปลี่ยนในเดือนพฤษภาคม\n"),
]
SNIPPETS = [
    "Größe: 5 m²",
    "Name;Größe\nMüller;5\nWeiß;6\n",
    "20 °C",
    "Länge 5 m, Breite 3 m, Höhe 2 m, Fläche 15 m²",
    "Ø 12 mm ± 0,1",
    "§ 5 Abs. 2 BGB",
    "Größe über alles äöü naïve café",
    "Überprüfung",
    "Prüfbericht Nr. 12\nPrüfer: Schäfer\nErgebnis: ungenügend",
    "¿Qué?",
    "São Paulo",
    "Señor",
    "£5.00",
    "copyright © 2024 ACME",
    "naïve",
    "Zürich, Genève, Köln",
    "µm",
    "½ cup",
    "Straße",
    "Fußgänger grüßen",
    "Maße und Gewichte: 5×3 cm",
    "élève",
    "Ångström",
    "Übergröße: 44 ½",
    "“smart quotes” – dash",
    "price: €5",
    "• item one\n• item two",
    "Café Müller — 20 °C",
    "Ø 12 mm ± 0,1 °C\nØ 14 mm ± 0,2 °C\nØ 16 mm ± 0,3 °C",
]
SCRIPTS = [RUSSIAN, *(text for _, text in LEGACY[6:])]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_fault_06_one_bad_byte_costs_one_character(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (page,) = load_pages(ODD / "utf8_one_bad_byte.txt")
    assert page.text.count("Die Pumpe läuft.") == 20
    assert page.text.count("Grüße.") == 20
    assert page.text.count("\N{REPLACEMENT CHARACTER}") == 1
    assert warnings(caplog) == [
        f"{page.source}: 1 byte that is not valid UTF-8 was replaced by U+FFFD"
    ]


def test_fault_06_a_legacy_encoding_is_guessed_and_the_guess_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (page,) = load_pages(ODD / "koi8-r.txt")
    assert page.text.startswith("Насос котла заменён в мае")
    (warning,) = warnings(caplog)
    assert re.search(r"koi8-r\.txt: is not UTF-8; it was read as KOI8-R; that is a guess", warning)


@pytest.mark.parametrize(("encoding", "text"), LEGACY)
@pytest.mark.parametrize("times", [1, 30])
def test_fault_06_short_and_long_texts_of_many_languages_are_read(
    encoding: str, text: str, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert decode((text * times).encode(encoding), "a.txt") == text * times
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("text", SNIPPETS)
def test_fault_06_a_short_western_text_is_windows_1252(text: str) -> None:
    assert decode(text.encode("cp1252"), "a.txt") == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("koi8-r", "Замените клапан давления котла номер девятнадцать в мае."),
        ("cp1251", "Привет, мир"),
        ("cp1251", "Москва"),
        ("cp866", "Замените клапан давления котла номер девятнадцать в мае."),
        ("cp1250", "Zażółć gęślą jaźń. Proszę o przesłanie faktury na adres spółki."),
        ("iso8859-2", "Zażółć gęślą jaźń. Proszę o przesłanie faktury na adres spółki."),
        ("iso8859-7", "Αντικαταστήστε τη βαλβίδα πίεσης του λέβητα"),
        ("cp1254", "Kazan basınç valfını mayıs ayında değiştirin, şöyle"),
        ("shift_jis", "ボイラー十九号機の圧力弁を五月に交換する"),
        ("gb18030", "五月更换十九号锅炉的压力阀"),
        ("cp1255", "החלף את שסתום הלחץ"),
    ],
)
def test_fault_06_one_line_of_another_script_is_not_taken_for_western(
    encoding: str, text: str
) -> None:
    assert decode(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16"])
def test_fault_06_what_needs_no_guess_is_read_without_a_word(
    encoding: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert decode(text.encode(encoding), "a.txt") == text
    assert warnings(caplog) == []


def test_japanese_with_shifts_is_read() -> None:
    text = "ボイラーのポンプ\n"
    assert decode(text.encode("iso2022_jp"), "a.txt") == text


def test_the_first_legacy_letter_may_come_late() -> None:
    text = "plain words, line by line\n" * 20_000 + RUSSIAN * 3
    assert decode(text.encode("cp1251"), "a.txt") == text


def test_overstruck_letters_of_a_manual_page_are_no_utf_16() -> None:
    text = "N\bNA\bAM\bME\bE\n"
    assert decode(text.encode(), "a.txt") == text


NOISE = random.Random(0).randbytes(4_000).replace(b"\0", b"")


@pytest.mark.parametrize("data", [NOISE, bytes(range(256)) * 3, b"plain\0words" * 9])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableFileError, match="is not a text"):
        decode(data, "a.txt")


def test_what_is_not_valid_after_a_byte_order_mark_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert decode(b"\xef\xbb\xbfeleven \xff letters", "a.txt") == "eleven \ufffd letters"
    assert len(warnings(caplog)) == 1


def test_a_warning_reaches_standard_error_where_nothing_is_configured(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    decode(RUSSIAN.encode("koi8-r"), "letter.txt")
    assert "letter.txt: is not UTF-8" in capfd.readouterr().err
