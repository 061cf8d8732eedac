"""Who describes pictures, and what an option ``describe`` can name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageDraw

from metaembed_rag import Page
from metaembed_rag.errors import CheckpointError
from metaembed_rag.model import Describer

PHOTO = Image.new("RGB", (20, 10), "red")
ImageDraw.Draw(PHOTO).rectangle((8, 4, 14, 8), fill="white")
PAPER = Image.new("RGB", (20, 10), "white")
LLAVA = Describer("http://localhost:11434#llava")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://localhost:11434#llava", "http://localhost:11434/v1/chat/completions"),
        ("http://localhost:11434/#llava", "http://localhost:11434/v1/chat/completions"),
        ("http://localhost:11434/v1#llava", "http://localhost:11434/v1/chat/completions"),
        ("https://far.example/api/v1/#llava", "https://far.example/api/v1/chat/completions"),
        ("https://far/v1beta/openai#llava", "https://far/v1beta/openai/chat/completions"),
        ("https://far/v1/chat/completions#llava", "https://far/v1/chat/completions"),
    ],
)
def test_an_address_is_read_with_and_without_v1(address: str, url: str) -> None:
    assert Describer(address).url == url


def test_a_name_of_a_model_may_have_slashes_and_colons() -> None:
    assert Describer("http://gpu:8000#Qwen/Qwen2.5-VL-7B-Instruct").name == (
        "Qwen/Qwen2.5-VL-7B-Instruct"
    )
    assert Describer("http://gpu:8000/v1#llava:13b").name == "llava:13b"


def test_options_of_an_address_are_those_of_a_describer() -> None:
    found = Describer.of("http://gpu:8000#llava?pages=all&max_tokens=50&timeout=2.5&prompt=What?")
    assert found == Describer(
        "http://gpu:8000#llava", pages="all", max_tokens=50, timeout=2.5, prompt="What?"
    )
    assert Describer.of(found) is found
    assert Describer.of(None) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("llava", "is no address of a model; write http://host:port#model"),
        ("", "is no address"),
        ("http://#llava", "is no address"),
        ("http://host:port#llava", "is no address"),
        ("ftp://host#llava", "is no address of a server: write http://"),
        ("http://host:1", "names no model; write http://host:1#MODEL"),
        ("http://host:1#llava?key=sk-1", "^key: no such option.*METAEMBED_DESCRIBE_KEY"),
        ("http://host:1#llava?max_tokens=many", "max_tokens must be a number, not 'many'"),
        ("http://host:1#llava?max_tokens=0", "max_tokens must be more than 0, not 0"),
        ("http://host:1#llava?temperature=-1", "temperature must be at least 0"),
        ("http://host:1#llava?pages=some", "pages 'some' is not one of auto, all"),
        (3, "takes the address of a model .*, a function of a picture, or a Describer, not an int"),
    ],
)
def test_what_describes_nothing_is_refused(value: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Describer.of(value)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(CheckpointError, match="METAEMBED_DESCRIBE_KEY") as caught:
        Describer.of("http://me:sk-1@host:1#llava")
    assert "sk-1" not in str(caught.value)


def test_another_model_or_prompt_is_somebody_else_and_another_place_is_not() -> None:
    others = [
        Describer("http://localhost:11434#moondream"),
        replace(LLAVA, prompt="What is it?"),
        replace(LLAVA, max_tokens=9),
        Describer(Image.Image.tobytes),  # type: ignore[arg-type]  # any function
    ]
    assert len({LLAVA.by, *(other.by for other in others)}) == 5
    same = [Describer("https://far/v1#llava"), replace(LLAVA, pages="all", tries=1, connections=9)]
    assert {LLAVA.by} == {other.by for other in same}
    assert replace(LLAVA, pages="all").way != LLAVA.way


@pytest.mark.parametrize(
    ("page", "auto", "all"),
    [
        (Page("a.png", image=PHOTO, settings="image:896"), True, True),
        (Page("a.png", text="a.png", image=PHOTO, settings="image:896"), True, True),
        (Page("a.pdf", image=PHOTO, settings="pdf:896"), True, True),
        (Page("a.pdf", text="fax", image=PHOTO, unread="scan"), True, True),
        (Page("a.pdf", text="prose", image=PHOTO, settings="pdf:896"), False, True),
        (Page("a.pdf", text="prose", image_path="a.png"), False, True),
        (Page("a.txt", text="prose"), False, False),
        (Page("a.pdf", image=PAPER), False, False),
    ],
)
def test_pictures_are_described_and_pages_that_show_more_than_their_text(
    page: Page, auto: bool, all: bool
) -> None:
    assert (LLAVA.wants(page), replace(LLAVA, pages="all").wants(page)) == (auto, all)
