"""Whether a text layer can be read."""

from __future__ import annotations

import re

import pytest

from metaembed_rag.pages.legibility import (
    agrees,
    decodable_lines,
    is_undecodable,
    legible,
    looks_enciphered,
)

ENGLISH = """The boiler must be drained before the pressure valve is replaced. Annual maintenance
costs rose because two pumps failed. Spare gaskets are kept in cabinet seven next to the compressor
room. The night shift reads the flow meter every two hours and signs the log."""
GERMAN = """Der Kessel muss vor dem Austausch des Druckventils entleert werden. Die jährlichen
Wartungskosten stiegen, weil zwei Pumpen ausfielen. Ersatzdichtungen liegen in Schrank sieben neben
dem Kompressorraum. Die Nachtschicht liest den Durchflussmesser alle zwei Stunden ab."""
POLISH = """Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni
obdarzeni rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa. Każdy człowiek
posiada wszystkie prawa i wolności bez względu na jakiekolwiek różnice rasy, koloru, płci."""
CZECH = """Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem
a svědomím a mají spolu jednat v duchu bratrství. Každý má všechna práva a všechny svobody stanovené
touto deklarací bez jakéhokoli rozlišování, zejména podle rasy, barvy, pohlaví, jazyka."""
FINNISH = """Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on
annettu järki ja omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä. Jokainen on
oikeutettu kaikkiin tässä julistuksessa esitettyihin oikeuksiin ja vapauksiin."""
VIETNAMESE = """Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi. Mọi
con người đều được tạo hóa ban cho lý trí và lương tâm và cần phải đối xử với nhau trong tình bằng
hữu. Mọi người đều được hưởng tất cả những quyền tự do ghi trong bản tuyên ngôn này."""
RUSSIAN = """Все люди рождаются свободными и равными в своем достоинстве и правах. HTTP, XML, TLS,
RFC, PDF, SQL, XSLT, HTML, CSS, SSH, DNS, SMTP, FTP, NTP, DHCP, TCP, UDP, LDAP, NFS, SMB, MPLS, VPN
Они наделены разумом и совестью и должны поступать в отношении друг друга в духе братства."""
NUMBERS = "\n".join(f"{n}.{n + 3} {n * 7919:,} {n * 31:05d} -{n}.5 % +{n}e-3" for n in range(99))
CODE = """def merged(text: str, read: str) -> str:
    plain, runs = squeezed(text), grams(text)
    new = [line for line in read.split("\\n") if not is_said(line, plain, runs)]
    for number, value in enumerate(sorted(new, key=len, reverse=True)):
        stream.write(struct.pack("<q", number)); printf("%s %d", value, sizeof(buffer));
    return "\\n".join([text, *new]) if any(map(str.strip, new)) else text"""
PARTS = "\n".join(
    f"{n:03d} HX-{n * 37} bracket steel M{n} washer zinc {n} pcs DIN {n + 900}" for n in range(60)
)
FORMULAS = (
    "∑ᵢ xᵢ² + ∫₀¹ f(t) dt = √(α² + β²) ≤ ‖A‖ · ‖B‖, ∀ε > 0 ∃δ: |x − y| < δ ⇒ |f(x)| < ε\n" * 9
)
CONTENTS = "\n".join(f"{n} Chapter {'. ' * 60}{n * 3}" for n in range(1, 30))


def shifted(text: str, by: int) -> str:
    return "".join(chr(ord(char) + by) if char.isalpha() and char < "z" else char for char in text)


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH, GERMAN, POLISH, CZECH, FINNISH, VIETNAMESE, RUSSIAN, NUMBERS, CODE, PARTS,
        FORMULAS, CONTENTS, "", "a short line",
    ],
)  # fmt: skip
def test_fault_04_a_readable_text_is_not_in_doubt(text: str) -> None:
    assert not is_undecodable(text)
    assert not looks_enciphered(text)


@pytest.mark.parametrize("by", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("text", [ENGLISH, GERMAN, POLISH, CZECH, FINNISH])
def test_fault_04_letters_that_stand_for_others_are_a_cipher(text: str, by: int) -> None:
    assert looks_enciphered(shifted(text, by))


def test_fault_04_glyph_numbers_read_as_letters_are_a_cipher() -> None:
    assert looks_enciphered(shifted(ENGLISH, -29))


def test_fault_04_letters_that_became_punctuation_are_a_cipher() -> None:
    table = {ord(char): "!\"#$%&'()*+,-./:;<=>?@[]^_"[n] for n, char in enumerate(LETTERS)}
    assert looks_enciphered(2 * ENGLISH.lower().translate(table))


LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("char", ["\x05", "\x93", "\ufffd", "\uf0b7"])
def test_fault_04_characters_that_mean_nothing_make_a_text_undecodable(char: str) -> None:
    assert is_undecodable(f"a word and {char * 9}")
    assert not is_undecodable(f"{char} a point of a list with enough words beside it")
    assert decodable_lines(f"Heading\n{char}{char} body\nfooter") == "Heading\nfooter"


def test_hyphens_at_the_ends_of_lines_are_characters() -> None:
    assert not is_undecodable("sus\x02pen\x02ded hy\ufffephens\r\n" * 9)


def test_fault_04_a_text_that_ocr_confirms_is_not_replaced() -> None:
    misread = ENGLISH.replace("pressure", "pres5ure").replace("rn", "m").replace(" ", "")
    assert agrees(ENGLISH, misread)
    assert not agrees(shifted(ENGLISH, 4), ENGLISH)
    assert agrees(shifted(ENGLISH, 4), "a word")  # too little to tell


@pytest.mark.parametrize(
    "line", ["TAXI 42", "BMW", "Un mini bus", "1904", "出口", "B-AB 1234", "ÉCOLE"]
)
def test_words_and_numbers_on_a_scene_are_kept(line: str) -> None:
    assert legible(f"l\n{line}\n0") == line


@pytest.mark.parametrize(
    "line", ["O", "8", "鑫", "l l I", "TTTT", "hl", "xkcdfgh", "", "- . -", "I1 ab"]
)
def test_strokes_on_a_scene_are_not(line: str) -> None:
    assert legible(line) == ""


# -- other ways in which a text layer is rubbish ------------------------------------------------


def moved_to(start: int, size: int = 24) -> str:
    """The text with each letter as one of a block of characters, mixed up."""
    return "".join(chr(start + (ord(c) * 7 + 3) % size) if c.isalpha() else c for c in ENGLISH)


RUBBISH = {
    "one letter for all": re.sub(r"\w", "a", ENGLISH) * 2,
    "Greek letters": moved_to(0x3B1),
    "Cyrillic letters": moved_to(0x430, 32),
    "Chinese characters by numbers of glyphs": "".join(
        chr(0x4E00 + ord(c) * 167 % 20_000) if c.isalpha() else c for c in ENGLISH
    ),
    "letters of several scripts in one word": "".join(
        chr((0x61, 0x3B1, 0x430)[ord(c) % 3] + ord(c) % 24) if c.isalpha() else c for c in ENGLISH
    ),
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_letters_that_stand_for_others_are_in_doubt_in_every_script(rubbish: str) -> None:
    assert looks_enciphered(rubbish)


TEXTS = {
    "Russian": """Комитет рассмотрел годовой отчёт о рыболовстве на севере и согласился с тем, что в
    следующем сезоне следует снизить квоты на сельдь. Члены указали, что данные последних трёх лет,
    собранные независимыми наблюдателями, показывают убыль запасов вдоль всего берега.""",
    "Greek": """Η επιτροπή εξέτασε την ετήσια έκθεση για την αλιεία στον βορρά και συμφώνησε ότι οι
    ποσοστώσεις για τη ρέγγα πρέπει να μειωθούν την επόμενη περίοδο. Τα μέλη επισήμαναν ότι τα
    στοιχεία των τριών τελευταίων ετών δείχνουν μείωση των αποθεμάτων σε όλη την ακτή.""",
    "Chinese": """委员会审议了北方渔业年度报告，同意在下一季度降低鲱鱼配额。
    委员们指出，过去三年由独立观察员收集的数据显示，整个海岸的资源都在减少。主席建议于五月举行听证会，让各港口城市发言。""",
    "Japanese": """委員会は北方漁業の年次報告書を審議し、来季のニシンの漁獲枠を引き下げる
    ことに同意した。委員は過去三年間に独立した観察員が収集した数据によれば、海岸全体で資源が減少していると指摘した。""",
    "formulas": "The angle αβγ and the sum Σx of μ-values are shown for the λ-phage " * 5,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_of_other_scripts_are_not(text: str) -> None:
    assert not looks_enciphered(text)


@pytest.mark.parametrize("glyph", ["(cid:{})", "/g{}"])
def test_names_of_glyphs_are_no_characters(glyph: str) -> None:
    text = "".join(glyph.format(ord(c)) for c in ENGLISH)
    assert is_undecodable(text)
    assert decodable_lines(f"{text}\nPage 1") == "Page 1"


def test_a_path_is_no_name_of_a_glyph() -> None:
    assert not is_undecodable("see /usr1/lib64 or http://host/v1/api2 for the fourth report")
