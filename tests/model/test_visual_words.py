"""What a photo shows is told in words, where the network is sure enough."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from metaembed_rag.errors import BlankPageError, ModalityError, ModelError
from metaembed_rag.model import visual_words
from metaembed_rag.model.efficientnet import EfficientNetLite2, pixels
from metaembed_rag.model.inputs import page_input, query_input
from metaembed_rag.model.visual_words import Vocabulary, describe
from metaembed_rag.pages import Page
from metaembed_rag.pages.reading import with_part

PHOTOS = Path(__file__).parents[1] / "fixtures" / "photos"
TEXT = frozenset({"text"})
CAT = PHOTOS / "IMG_0001.jpg"
WORDS = Vocabulary(
    (("tabby", "tabby cat"), ("lynx",), ("beagle",)),
    ("cat", "animal"),
    np.array([[1, 1], [1, 1], [0, 1]], dtype=np.float32),
)


def photo(path: Path = CAT) -> Image.Image:
    return Image.open(path).convert("RGB")


def no_text(image: Image.Image) -> str:
    return ""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let OCR read this."""

    def set_text(text: str) -> None:
        monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: text)

    set_text("")
    return set_text


def chances(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_likely_labels_come_first_then_broader_terms_narrow_before_wide() -> None:
    text = WORDS.describe(chances(0.6, 0.37, 0.03))
    assert text == "a photo of a tabby, tabby cat, lynx, beagle, cat, animal"


def test_an_unlikely_label_is_left_out() -> None:
    assert WORDS.describe(chances(0.99, 0.01, 0.0)) == "a photo of a tabby, tabby cat, cat, animal"


def test_a_broader_term_counts_where_no_label_is_likely() -> None:
    text = WORDS.describe(chances(0.07, 0.07, 0.07))
    assert text == ""
    many = Vocabulary((("a",),) * 20, ("thing",), np.ones((20, 1), dtype=np.float32))
    assert many.describe(np.full(20, 0.05, dtype=np.float32)) == "a photo of an a, thing"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("IMG_0001.jpg", "cat"),
        ("IMG_0002.jpg", "espresso"),
        ("IMG_0003.jpg", "tripod"),
        ("IMG_0004.jpg", "palace"),
    ],
)
def test_the_network_sees_what_a_photo_shows(name: str, shown: str) -> None:
    assert shown in describe(photo(PHOTOS / name))


def test_nothing_is_seen_on_blank_paper() -> None:
    paper = Image.new("RGB", (300, 400), "white")
    assert describe(paper) == ""
    ImageDraw.Draw(paper).line((20, 50, 280, 50), fill="black", width=2)
    assert describe(paper) == ""
    noise = 235 + np.random.default_rng(0).normal(0, 8, (400, 300, 3))
    assert describe(Image.fromarray(noise.clip(0, 255).astype(np.uint8))) == ""


def test_threads_see_the_same() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(describe, [photo()] * 8))) == 1


def test_each_stride_halves_the_picture_rounding_up() -> None:
    network = EfficientNetLite2()
    read = pixels(photo())[None]  # (1, 3, 260, 260)
    assert network.stem(read).shape == (1, 32, 130, 130)
    with torch.inference_mode():
        assert network(read).shape == (1, 1000)


def test_a_photo_without_text_is_a_page_of_what_it_shows(read: Callable[[str], None]) -> None:
    page, given = page_input(Page("a.jpg", image=photo()), "fused", TEXT)
    assert given == page.text and "tabby" in page.text
    assert (page.text_from, page.unread) == ("visual words", "")
    assert page.content_hash() == Page("a.jpg", image=photo()).content_hash()


def test_few_letters_on_a_photo_leave_room_for_what_it_shows(read: Callable[[str], None]) -> None:
    read("STOP")
    page, _ = page_input(Page("a.jpg", image=photo()), "fused", TEXT)
    assert page.text_from == "visual words, ocr" and page.text.endswith("STOP")
    read("the whole text of a letter that was put under a scanner " * 4)
    page, _ = page_input(Page("a.jpg", image=photo()), "fused", TEXT)
    assert page.text_from in ("ocr", "") and "tabby" not in page.text


SIGNS = "Un mini bus electrico\nTHE BAKERY, since 1904"


def test_signs_on_a_photo_stand_beside_what_it_shows(read: Callable[[str], None]) -> None:
    read(SIGNS)  # 33 letters and digits
    page, _ = page_input(Page("a.jpg", image=photo()), "fused", TEXT)
    assert page.text_from == "visual words, ocr"
    assert "tabby" in page.text and page.text.endswith(SIGNS)


def test_a_chart_with_as_few_letters_keeps_its_text_alone(read: Callable[[str], None]) -> None:
    chart = Image.new("RGB", (300, 200), "white")
    for n, colour in enumerate(("navy", "orange", "green", "red", "black", "grey")):
        ImageDraw.Draw(chart).rectangle((20 + 40 * n, 180 - 20 * n, 50 + 40 * n, 190), fill=colour)
    read(SIGNS)
    page, _ = page_input(Page("a.png", image=chart), "fused", TEXT)
    assert (page.text, page.text_from) == (SIGNS, "ocr")


def test_what_ocr_makes_of_leaves_is_left_out_of_a_photo(read: Callable[[str], None]) -> None:
    read("0\nl l I\nTAXI 42\n鑫")
    page, _ = page_input(Page("a.jpg", image=photo()), "fused", TEXT)
    assert page.parts[-1].text == "TAXI 42"
    read("鑫")
    page, _ = page_input(Page("a.jpg", image=photo()), "fused", TEXT)
    assert page.text_from == "visual words"


def test_a_photo_of_something_unknown_has_its_likeliest_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    little = np.full((1, 1000), 0.0009, dtype=np.float32)
    little[0, 207] = 0.05  # golden retriever
    monkeypatch.setattr(visual_words, "probabilities", lambda images: little)
    assert describe(photo()) == "a photo, perhaps of a golden retriever, animal"
    assert describe(photo(), unsure=False) == ""
    assert describe(Image.new("RGB", (300, 400), "white")) == ""


def test_a_photo_of_something_unknown_is_found_by_its_name(
    read: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visual_words, "describe", lambda image: "a photo, perhaps of a dog")
    page = Page("IMG_2041.jpg", image=photo(), settings="image:2000")
    assert page_input(page, "fused", TEXT)[1] == "a photo, perhaps of a dog\nIMG_2041"
    named = with_part(page, "file name", "my dog")
    assert str(page_input(named, "fused", TEXT)[1]).splitlines()[0] == "my dog"
    assert "IMG_2041" not in str(page_input(named, "fused", TEXT)[1])


def test_black_edges_and_holes_are_no_photo() -> None:
    noise = 235 + np.random.default_rng(0).normal(0, 8, (896, 634, 3))
    scan = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(scan)
    draw.rectangle((0, 0, 12, 896), fill=(30, 30, 30))
    draw.ellipse((30, 300, 50, 320), fill=(90, 90, 90))
    assert describe(scan) == ""


def test_a_described_picture_needs_no_visual_words(read: Callable[[str], None]) -> None:
    page = with_part(Page("a.jpg", image=photo(), unread="scan"), "description", "a tame cat")
    assert page_input(page, "fused", TEXT)[1] == "a tame cat"


def test_a_model_that_sees_needs_no_words(read: Callable[[str], None]) -> None:
    page = Page("a.jpg", image=photo())
    assert page_input(page, "fused", frozenset({"text", "image"}))[0].text == ""


def test_without_ocr_a_photo_is_described_but_no_page_of_a_pdf() -> None:
    page, _ = page_input(Page("a.jpg", image=photo()), "fused", TEXT, ocr=False)
    assert "tabby" in page.text and page.unread == "scan"
    with pytest.raises(Exception, match="OCR is off"):
        page_input(Page("a.pdf", image=photo(), settings="pdf:896"), "fused", TEXT, ocr=False)


def test_they_can_be_switched_off(
    read: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAEMBED_VISUAL_WORDS", "never")
    with pytest.raises(BlankPageError):
        page_input(Page("a.jpg", image=photo()), "fused", TEXT)


def test_a_picture_is_a_query_by_what_it_shows(read: Callable[[str], None]) -> None:
    assert "tabby" in str(query_input(photo(), TEXT))
    both = str(query_input({"text": "asleep", "image": photo()}, TEXT))
    assert both.startswith("asleep\n") and "tabby" in both
    with pytest.raises(ModalityError, match="nothing else seen"):
        query_input(Image.new("RGB", (50, 50), "white"), TEXT)


def test_a_forked_process_is_told_instead_of_waiting_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("metaembed_rag.forks.lost_threads", lambda library: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(ModelError, match="'visual words' cannot run in this process"):
        visual_words.probabilities([photo()])


def test_inputs_load_no_network_until_a_photo_comes() -> None:
    code = "import sys, metaembed_rag.model.inputs; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_words_that_come_with_the_package_are_those_of_the_network() -> None:
    found = json.loads((visual_words.VISUAL_WORDS / "words.json").read_text())
    assert len(found["labels"]) == 1000 and found["labels"][207] == ["golden retriever"]
    dog = next(term for term in found["broader"] if term["name"] == "dog")
    assert 207 in dog["classes"] and len(dog["classes"]) == 118
    assert not {"entity", "object", "artifact"} & {term["name"] for term in found["broader"]}
