"""Form fields, notes, stamps and attached files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject, NumberObject, TextStringObject
from reportlab.pdfgen import canvas

from metaembed_rag.pages import Page, load_pages
from tests.support.files import pdf_bytes, tiled_scan, with_annotations

ODD = Path(__file__).parents[1] / "fixtures" / "odd_files" / "pdf"
HIDDEN, NO_VIEW = 2, 32


def load(tmp_path: Path, data: bytes) -> list[Page]:
    path = tmp_path / "file.pdf"
    path.write_bytes(data)
    return list(load_pages(path))


def text(tmp_path: Path, data: bytes) -> str:
    return load(tmp_path, data)[0].text


def field(kind: str, value: str, name: str = "field", **more: Any) -> dict[str, object]:
    """A form field that is its own widget."""
    more = {f"/{key}": given for key, given in more.items()}
    return {"/Subtype": "/Widget", "/FT": kind, "/T": name, "/V": value, **more}


def note(contents: str, kind: str = "/Text", **more: Any) -> dict[str, object]:
    more = {f"/{key}": given for key, given in more.items()}
    return {"/Subtype": kind, "/Contents": contents, **more}


def drawn(words: str) -> bytes:
    return f"BT /F1 12 Tf 5 15 Td ({words}) Tj ET".encode()


def filled_form() -> bytes:
    """A form as a program writes it, with the appearance of every field."""
    buffer = io.BytesIO()
    pdf = canvas.Canvas(buffer, pagesize=(300, 400), invariant=True)
    pdf.drawString(30, 350, "Permit")
    form = pdf.acroForm
    form.textfield(name="who", value="Zwiebel", x=30, y=300)
    form.textfield(name="key", value="sesame", x=30, y=260, fieldFlags="password")
    form.textfield(name="gone", value="invisible", x=30, y=220, annotationFlags="hidden")
    form.checkbox(name="agree", tooltip="I agree", checked=True, x=30, y=190)
    form.checkbox(name="urgent", tooltip="Urgent", checked=False, x=60, y=190)
    form.radio(name="send", tooltip="Delivery", value="courier", selected=True, x=30, y=160)
    form.radio(name="send", tooltip="Delivery", value="post", selected=False, x=60, y=160)
    options = [("Liechtenstein", "LI"), ("Andorra", "AD")]
    form.choice(name="land", options=options, value="LI", x=30, y=100)
    pdf.save()
    return buffer.getvalue()


def test_fault_02_what_a_form_holds_and_what_is_noted_is_in_the_text() -> None:
    (page,) = load_pages(ODD / "form_fields_annotations_attachment.pdf")
    for words in (
        "Ottokar Zwiebel",
        "seventeen rhododendrons",
        "Liechtenstein",
        "hydrangea written on the page",
        "sticky note says chrysanthemum",
        "data.txt",
    ):
        assert page.text.count(words) == 1, words
    assert page.text.startswith("Application for a garden permit")


def test_fault_02_every_kind_of_field_says_what_it_shows(tmp_path: Path) -> None:
    lines = text(tmp_path, filled_form()).splitlines()
    assert lines[0] == "Permit"
    found = " ".join(lines[1:])
    for words in ("Zwiebel", "I agree: Yes", "Delivery: courier", "Liechtenstein"):
        assert found.count(words) == 1, words
    for words in ("sesame", "invisible", "Urgent", "post", "Andorra"):
        assert words not in found


def test_fault_02_values_of_several_fields_are_no_single_word(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pdf = canvas.Canvas(buffer, pagesize=(300, 400), invariant=True)
    pdf.drawString(30, 350, "Application")
    for at, value in enumerate(("12", "34", "56")):
        pdf.acroForm.textfield(name=f"f{at}", value=value, x=30, y=300 - 40 * at)
    pdf.save()
    assert text(tmp_path, buffer.getvalue()).split() == ["Application", "12", "34", "56"]


@pytest.mark.parametrize("flag", [HIDDEN, NO_VIEW])
def test_fault_02_what_is_hidden_stays_out_with_its_appearance(tmp_path: Path, flag: int) -> None:
    data = with_annotations(
        pdf_bytes(["x"]),
        field("/Tx", "secret", F=flag, AP=drawn("secret")),
        note("hush", F=flag),
        field("/Tx", "no area", name="b", Rect=[20, 20, 20, 60]),
    )
    assert text(tmp_path, data) == "x"


def test_fault_02_a_value_without_appearance_is_read(tmp_path: Path) -> None:
    data = with_annotations(pdf_bytes(["x"]), field("/Tx", "never drawn"))
    assert text(tmp_path, data) == "x\nnever drawn"


def test_fault_02_a_child_field_has_its_parents_value(tmp_path: Path) -> None:
    data = with_annotations(pdf_bytes(["x"]), field("/Tx", "inherited"))
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    kid = writer.pages[0]["/Annots"][0]
    parent = writer._add_object(type(kid.get_object())())
    for key in ("/FT", "/T", "/V"):
        parent.get_object()[NameObject(key)] = kid.get_object().pop(key)
    parent.get_object()[NameObject("/Kids")] = ArrayObject([kid])
    kid.get_object()[NameObject("/Parent")] = parent
    writer.root_object["/AcroForm"][NameObject("/Fields")] = ArrayObject([parent])
    buffer = io.BytesIO()
    writer.write(buffer)
    assert text(tmp_path, buffer.getvalue()) == "x\ninherited"


def test_fault_02_the_text_of_a_signature_and_of_a_stamp_is_what_they_show(tmp_path: Path) -> None:
    data = with_annotations(
        pdf_bytes(["contract"]),
        {**field("/Sig", "ignored", AP=drawn("Signed by Ottokar")), "/V": {"/Type": "/Sig"}},
        note("", "/Stamp", AP=drawn("Received 3 May"), Rect=[20, 100, 280, 140]),
        note("", "/Stamp", Name="/NotApproved"),
        note("", "/Stamp", Name="/XYZ123"),
    )
    found = text(tmp_path, data)
    for words in ("contract", "Signed by Ottokar", "Received 3 May", "Not Approved"):
        assert found.count(words) == 1, words
    assert "XYZ" not in found


def test_fault_02_notes_are_said_once_and_links_never(tmp_path: Path) -> None:
    data = with_annotations(
        pdf_bytes(["x"]),
        note("see the annex"),
        note("see the annex", "/Popup"),
        note("https://example.com", "/Link"),
        note("written here", "/FreeText", AP=drawn("written here")),
        note("marked", "/Highlight"),
        form=False,
    )
    assert sorted(text(tmp_path, data).split("\n")) == [
        "marked",
        "see the annex",
        "written here",
        "x",
    ]


def test_fault_02_words_of_the_page_that_a_field_repeats_are_not_doubled(tmp_path: Path) -> None:
    data = with_annotations(pdf_bytes(["Ottokar Zwiebel 17"]), note("Ottokar Zwiebel"), note("1"))
    assert text(tmp_path, data) == "Ottokar Zwiebel 17\n1"


def test_fault_02_an_attached_file_is_named_on_the_first_page(tmp_path: Path) -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_bytes(["one", "two"]))))
    writer.add_attachment("Kostenübersicht.xlsx", b"data")
    buffer = io.BytesIO()
    writer.write(buffer)
    assert [page.text for page in load(tmp_path, buffer.getvalue())] == [
        "one\nAttachment: Kostenübersicht.xlsx",
        "two",
    ]


def test_fault_02_a_damaged_annotation_costs_nothing_but_itself(tmp_path: Path) -> None:
    data = with_annotations(
        pdf_bytes(["x"]),
        note("a note"),
        {"/Subtype": "/Text", "/Contents": 7, "/Rect": "nonsense"},
        {"/Subtype": 3},
        field("/Unknown", "?"),
        {"/Subtype": "/Widget", "/FT": ["/Tx"], "/V": {"/A": []}, "/AP": {"/N": 5}, "/T": 1},
        field("/Tx", "kept too", name="good"),
    )
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    every = writer.pages[0]["/Annots"]
    itself = every[4].get_object()
    itself[NameObject("/Parent")] = every[4]
    itself[NameObject("/Kids")] = ArrayObject([every[4]])
    every.extend([NumberObject(3), TextStringObject("x"), NameObject("/None")])
    buffer = io.BytesIO()
    writer.write(buffer)
    lines = text(tmp_path, buffer.getvalue()).split("\n")
    assert {"x", "a note", "kept too"} <= set(lines)


def test_fault_02_a_scan_with_a_note_is_still_read_by_ocr(tmp_path: Path) -> None:
    for data in (pdf_bytes([""]), tiled_scan("", share=0.2)):
        page = load(tmp_path, with_annotations(data, note("check this")))[0]
        assert (page.text, page.unread) == ("check this", "scan")


def test_fault_02_the_picture_is_that_of_the_page_with_its_form(tmp_path: Path) -> None:
    """Text is made of the annotations after the page was drawn, so nothing is drawn twice."""
    plain, filled = (load(tmp_path, data)[0] for data in (pdf_bytes(["Permit"]), filled_form()))
    assert plain.image is not None and filled.image is not None
    assert plain.image.tobytes() != filled.image.tobytes()
