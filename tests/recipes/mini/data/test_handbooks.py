"""What the sections of technical handbooks are, and what does not get into them."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest

from recipes.mini.data import manuals
from recipes.mini.data.handbooks import (
    MAX_CHARACTERS,
    PACKAGES,
    extract_sections,
    is_prose,
    prepare_handbooks,
    split_text,
)
from recipes.mini.data.leaks import LeakCheck
from recipes.mini.data.sections import dictionary_entries, html_sections, read_sections
from tests.recipes.builders import deb, dpkg

LIFT = (
    "The lift of a wing is the force that is normal to the flow of the air. It depends on the"
    " angle of attack, and it grows with the square of the speed until the flow separates from"
    " the upper side of the wing, which is called the stall."
)
DRAG = (
    "The drag is the force in the direction of the flow. A part of it comes from the friction in"
    " the boundary layer and another part from the vortices that are shed at the tips of the wing,"
    " so that it cannot be less than the drag that is induced."
)
NOTHING = LeakCheck({}, {})


def headings(page):
    return {section.heading: section.text for section in html_sections(page)}


def test_a_section_is_the_text_between_its_heading_and_the_next():
    page = "<h1>Wings</h1><p>About wings.<h2>Lift</h2><p>Upwards.</p><h2>Drag</h2>Backwards."
    assert headings(page) == {"Wings": "About wings.", "Lift": "Upwards.", "Drag": "Backwards."}


def test_navigation_code_and_scripts_are_no_text():
    page = (
        '<nav>Up</nav><div class="sphinxsidebar">Contents</div><h1>Wings'
        '<a class="headerlink">¶</a></h1><script>var a;</script><pre>x = 1</pre>'
        '<div class="navfooter"><p>Next</div><p>Only this.'
    )
    assert headings(page) == {"Wings": "Only this."}


def test_a_class_name_that_only_begins_like_navigation_is_text():
    assert headings('<div class="wy-nav-content"><h1>Wings</h1><p>Kept.</div>') == {
        "Wings": "Kept."
    }


def test_the_number_of_a_heading_is_no_part_of_it():
    for heading in ("3.2.1 Lift of wings", "Chapter 4. Lift of wings", "A.2 Lift of wings"):
        assert list(headings(f"<h2>{heading}</h2>text")) == ["Lift of wings"]
    assert list(headings("<h2>r.sun</h2>text")) == ["r.sun"]


def test_a_heading_that_says_nothing_leaves_its_text_to_the_section_above():
    page = "<h1>Wings</h1><p>One.<h2>Description</h2><p>Two.<h2>Lift</h2><p>Three."
    assert headings(page) == {"Wings": "One. Two.", "Lift": "Three."}


def test_references_and_licences_are_left_out():
    page = "<h1>Wings</h1><p>One.<h2>References</h2><p>Two.<h2>Licence</h2><p>Three."
    assert headings(page) == {"Wings": "One."}


def test_a_page_with_only_empty_headings_is_called_by_its_title():
    page = "<title>Wings - The manual</title><p>Home<h2>Description</h2><p>One."
    assert headings(page) == {"Wings": "One."}


def test_a_page_without_headings_is_one_section():
    assert headings("<title>Wings</title><body><p>All of it.</body>") == {"Wings": "All of it."}


def test_a_dictionary_gives_headwords_and_definitions():
    text = "00-info\n   of it\nlift\n   <physics> A {force}.\n   (1999-01-31)\ndrag\n   Another.\n"
    assert dictionary_entries(text) == [("lift", "A force."), ("drag", "Another.")]


def test_a_page_of_a_pdf_is_called_by_its_first_numbered_heading():
    reportlab = pytest.importorskip("reportlab.pdfgen.canvas", reason="reportlab makes the PDF")
    file = io.BytesIO()
    canvas = reportlab.Canvas(file)
    for lines in (("3.2 Lift of wings", "The lift grows."), ("Only text.",)):
        for i, line in enumerate(lines):
            canvas.drawString(72, 700 - 20 * i, line)
        canvas.showPage()
    canvas.save()
    first, second = read_sections("/a.pdf", file.getvalue())
    assert first == ("Lift of wings", "3.2 Lift of wings The lift grows.")
    assert second == ("", "Only text.")


def test_prose_is_told_from_code_and_tables():
    assert is_prose(LIFT)
    assert not is_prose("int main(void) { return 0; } " * 10)
    assert not is_prose("lift 12.5 drag 3.1 moment 0.4 " * 10)
    assert not is_prose("Der Auftrieb eines Flügels ist die Kraft quer zur Strömung. " * 5)


def test_split_texts_lose_no_word_and_are_never_too_long():
    for text in (LIFT * 40, "word " * 2000, "A short one."):
        parts = split_text(text)
        assert " ".join(parts).split() == text.split()
        assert max(map(len, parts)) <= MAX_CHARACTERS


@pytest.fixture
def make_deb(tmp_path):
    """Makes a package of documentation from paths and contents."""
    return lambda files, name="wing-doc": deb(tmp_path / "debs", name, files)


@dpkg
def test_files_of_a_folder_are_pages_of_one_document(make_deb):
    package = make_deb(
        {
            "usr/share/doc/wing/a.html": f"<h1>Lift of wings</h1>{LIFT}",
            "usr/share/doc/wing/b.html": f"<h1>Drag of wings</h1>{DRAG}",
            "usr/share/doc/wing/changelog.html": f"<h1>Changes</h1>{LIFT}",
            "usr/share/doc/wing/README": LIFT,
        }
    )
    removed = Counter()
    rows = extract_sections("wing-doc", package, NOTHING, removed)
    assert [(row["page"], row["titles"], row["text"]) for row in rows] == [
        (1, ["Lift of wings"], LIFT),
        (2, ["Drag of wings"], DRAG),
    ]
    assert {row["path"] for row in rows} == {"/usr/share/doc/wing/a.html"}
    assert removed == {"a file of another kind or language": 1}


@dpkg
def test_a_heading_of_several_sections_is_no_title(make_deb):
    package = make_deb({"usr/share/doc/w/a.html": f"<h1>Forces</h1>{LIFT}<h1>Forces</h1>{DRAG}"})
    rows = extract_sections("wing-doc", package, NOTHING, Counter())
    assert [row["titles"] for row in rows] == [[], []]


@dpkg
def test_a_name_is_replaced_by_the_sentence_that_explains_it(make_deb):
    text = f"wing.lift(speed)[source] Computes the lift of a wing. {LIFT}"
    package = make_deb({"usr/share/doc/w/a.html": f"<h1>wing.lift</h1>{text}"})
    (row,) = extract_sections("wing-doc", package, NOTHING, Counter())
    assert (row["titles"], row["text"]) == (["Computes the lift of a wing"], LIFT)


@dpkg
def test_evaluation_text_and_repeated_text_stay_out(make_deb):
    package = make_deb(
        {
            "usr/share/doc/w/a.html": f"<h1>Lift</h1>{LIFT}<h1>Again</h1>{LIFT.upper()}"
            f"<h1>Drag of wings</h1>{DRAG}"
        }
    )
    leaks = LeakCheck({"set/1": DRAG[:-30]}, {"set/q": "LIFT!"})
    removed = Counter()
    (row,) = extract_sections("wing-doc", package, leaks, removed)
    assert (row["titles"], row["text"]) == ([], LIFT)
    assert removed == {"text of an evaluation set": 1, "a text like another": 1}


@dpkg
def test_prepare_keeps_what_is_there_and_reports_the_rest(make_deb, tmp_path):
    make_deb({"usr/share/doc/w/a.html": f"<h1>Lift of wings</h1>{LIFT}<h1>Short</h1>Too short."})
    reports = prepare_handbooks(tmp_path, tmp_path / "no data", ["wing-doc"])
    assert reports == {"wing-doc": {"kept": 1, "too short": 1}}
    (line,) = (tmp_path / "handbooks" / "wing-doc.jsonl").read_text().splitlines()
    assert json.loads(line)["titles"] == ["Lift of wings"]
    assert prepare_handbooks(tmp_path, tmp_path / "no data", ["wing-doc"]) == {}


def test_no_handbook_package_is_one_of_the_manual_pages():
    assert not set(PACKAGES) & set(manuals.PACKAGES)
    assert len(set(PACKAGES)) == len(PACKAGES)
