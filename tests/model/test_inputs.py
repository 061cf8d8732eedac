"""Inputs and templates, without a model."""

from __future__ import annotations

import pytest
from PIL import Image

from metaembed_rag.errors import CheckpointError, ModalityError, ModelError
from metaembed_rag.model.inputs import as_inputs, bound_pixels, query_input, read_input, read_query
from metaembed_rag.model.template import Template, break_tokens, token_pattern

ALL = frozenset({"text", "image", "fused"})
IMAGE = Image.new("RGB", (4, 4))


@pytest.mark.parametrize(
    ("value", "modality"),
    [
        ("fox", "text"),
        (IMAGE, "image"),
        ({"text": "fox", "image": IMAGE}, "fused"),
        ({"text": " ", "image": IMAGE}, "image"),
        ({"image": IMAGE}, "image"),
        ({"text": "fox"}, "text"),
    ],
)
def test_what_is_there_decides_the_modality(value: object, modality: str) -> None:
    assert read_input(value, modalities=ALL).modality == modality  # type: ignore[arg-type]


def test_a_list_stays_and_anything_single_becomes_one() -> None:
    assert as_inputs(["a", "b"]) == ["a", "b"]
    assert as_inputs(iter(["a", "b"])) == ["a", "b"]  # type: ignore[arg-type]
    for single in ("a", IMAGE, {"text": "a"}):
        assert as_inputs(single) == [single]


def test_transparent_paper_is_white() -> None:
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 51))  # a fifth of black over white
    for image, colour in [
        (clear, (255, 255, 255)),
        (half, (204, 204, 204)),
        (Image.new("L", (1, 1), 7), (7, 7, 7)),
    ]:
        shown = read_input(image, modalities=ALL).prepare_image(100)
        assert shown is not None and shown.getpixel((0, 0)) == colour


def test_large_images_shrink_in_their_own_ratio() -> None:
    assert bound_pixels(Image.new("RGB", (400, 100)), 10_000).size == (200, 50)
    assert bound_pixels(IMAGE, 16) is IMAGE
    assert bound_pixels(Image.new("RGB", (100_000, 1)), 100).size == (3162, 1)


def test_a_dictionary_with_other_keys_names_them() -> None:
    with pytest.raises(ModalityError, match=r"dictionary with \['file', 'text'\]"):
        read_input({"text": "fox", "file": "a.png"}, modalities=ALL)


def test_a_template_takes_the_text_as_it_is() -> None:
    template = Template("<u>{text}</u>", "<i>", "<i>{text}")
    assert template.render("text", "a {text} b") == "<u>a {text} b</u>"
    assert template.render("image", "") == "<i>"
    assert template.render("fused", "fox") == "<i>fox"
    assert Template.from_dict(template.to_dict()) == template


@pytest.mark.parametrize("text", ["", "none", "{text}{text}"])
def test_a_template_has_one_place_for_the_text(text: str) -> None:
    with pytest.raises(CheckpointError, match="exactly once"):
        Template(text)


def test_control_tokens_are_broken_longest_first() -> None:
    pattern = token_pattern(["[SEP]", "<a>", "<a><b>", "x"])
    assert break_tokens(pattern, "1 [SEP] <a><b> <a> x") == "1 [ SEP] < a><b> < a> x"
    assert break_tokens(token_pattern([]), "anything") == "anything"


def test_fault_17_a_query_picture_without_letters_is_told_as_a_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: "")
    with pytest.raises(ModalityError) as caught:
        query_input(IMAGE, frozenset({"text"}))
    assert str(caught.value) == (
        "the model reads text only, the query is a picture: no text was found on it, and nothing "
        "else seen"
    )


def test_a_query_of_megabytes_is_refused():
    assert read_query("word " * 20_000) == "word " * 20_000
    with pytest.raises(ModelError, match=r"20,000,000 characters is too long, at most 100,000"):
        read_query("x" * 20_000_000)
