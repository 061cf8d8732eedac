"""Manual pages in other languages become questions and pages."""

from __future__ import annotations

from benchmarks.data.translated_manuals import _NAME, _pair, make_sets, part_of
from metaembed_rag.evaluation import read_dataset
from recipes.mini.data.manuals import Manual
from recipes.mini.data.roff import read_manual_page

GERMAN = r"""
.SH BEZEICHNUNG
ls \- Verzeichnisinhalte auflisten
.SH BESCHREIBUNG
Verzeichnisinhalte auflisten, nach Namen.
.SH AUTOR
Geschrieben von jemandem.
"""


def test_the_description_asks_and_is_not_in_the_text():
    page = read_manual_page(GERMAN, name="ls", section="1", heading=_NAME["de"])
    assert page is not None
    pair = _pair(page)
    assert (pair.id, pair.query) == ("ls.1", "Verzeichnisinhalte auflisten")
    assert pair.text == ", nach Namen."


def test_a_page_whose_first_section_is_no_name_is_none():
    assert read_manual_page(GERMAN, name="ls", section="1") is None


def test_the_same_pages_are_in_each_language_and_no_name_is_in_both_parts(tmp_path):
    names = [f"name{number}.1" for number in range(20)]
    manuals = {
        language: {name: Manual(name, f"{language} {name}", "text") for name in names}
        for language in ("en", "de", "fr")
    }
    del manuals["fr"][names[0]]
    make_sets(manuals, tmp_path)
    found = {}
    for part in ("validation", "test"):
        german, asked = (read_dataset(tmp_path / part / name) for name in ("de", "en-de"))
        found[part] = {page.id for page in german.pages}
        assert found[part] == {page.id for page in read_dataset(tmp_path / part / "fr").pages}
        assert all(query.text.startswith("en ") for query in asked.queries)
        assert all(part_of(id) == part for id in found[part])
    assert found["validation"] | found["test"] == set(names[1:])
