"""Forms that are made of XML."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    DictionaryObject,
    NameObject,
    StreamObject,
    TextStringObject,
)

from metaembed_rag.pages import load_pages
from tests.support.files import pdf_bytes

TEMPLATE = """<template xmlns="http://www.xfa.org/schema/xfa-template/3.3/"><subform name="form">
<field name="who"/><field name="token" presence="hidden"/>
<subform name="office" presence="invisible"><field name="clerk"/></subform>
</subform></template>"""
DATA = """<xfa:datasets xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data><form>
<who>Ottokar Zwiebel</who><empty/><token>sesame</token><office><clerk>Maier</clerk></office>
<plants><kind>seventeen rhododendrons</kind></plants></form></xfa:data></xfa:datasets>"""


def text_of(tmp_path: Path, data: str, template: str = TEMPLATE, dynamic: bool = True) -> str:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_bytes(["Please wait..."]))))
    parts = ArrayObject()
    for name, xml in (("template", template), ("datasets", data)):
        stream = StreamObject()
        stream.set_data(xml.encode())
        parts += [TextStringObject(name), writer._add_object(stream)]
    form = {NameObject("/Fields"): ArrayObject(), NameObject("/XFA"): parts}
    writer.root_object[NameObject("/AcroForm")] = DictionaryObject(form)
    writer.root_object[NameObject("/NeedsRendering")] = BooleanObject(dynamic)
    with (tmp_path / "form.pdf").open("wb") as file:
        writer.write(file)
    (page,) = load_pages(tmp_path / "form.pdf")
    return page.text


def test_fault_02_the_values_of_a_form_of_xml_are_in_the_text(tmp_path: Path) -> None:
    assert text_of(tmp_path, DATA).split("\n") == [
        "Please wait...", "Ottokar Zwiebel", "seventeen rhododendrons"
    ]  # fmt: skip


def test_a_form_that_has_ordinary_fields_too_is_read_by_them(tmp_path: Path) -> None:
    assert text_of(tmp_path, DATA, dynamic=False) == "Please wait..."


BOMB = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><d>&b;</d>'


@pytest.mark.parametrize("data", ["<d>cut", "", "<d>" * 900, BOMB, f"<d>{'x' * 5_000_000}</d>"])
def test_fault_02_damaged_or_endless_xml_costs_nothing_but_itself(
    tmp_path: Path, data: str
) -> None:
    assert text_of(tmp_path, data) == "Please wait..."


def test_a_damaged_template_hides_nothing(tmp_path: Path) -> None:
    assert "sesame" in text_of(tmp_path, DATA, template="<template")
