"""Pictures of pages are kept small, and whole."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from metaembed_rag import Page, PageIndex
from metaembed_rag.store import picture_format, pictures
from metaembed_rag.store.picture_format import HEAD, TAIL, encoded, is_whole
from metaembed_rag.testing import FakeEncoder

PHOTO = Path(__file__).parents[1] / "fixtures" / "photos" / "IMG_0001.jpg"


def page_of_text() -> Image.Image:
    picture = Image.new("RGB", (700, 900), "white")
    draw = ImageDraw.Draw(picture)
    for line in range(60):
        draw.text((20, 10 + 14 * line), f"{line} The quick brown fox jumps over the dog.", "black")
    return picture


def as_jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def whole(data: bytes) -> bool:
    return is_whole(data[:HEAD], data[-TAIL:], len(data))


def test_a_page_of_letters_is_kept_without_loss_in_half_the_bytes():
    picture = page_of_text()
    data = encoded(picture)
    assert len(data) < len(as_jpeg(picture)) / 2
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), picture)


def test_a_photo_is_smaller_than_a_jpeg_and_looks_the_same():
    picture = Image.open(PHOTO).convert("RGB")
    data = encoded(picture)
    assert len(data) < len(as_jpeg(picture))
    back = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float32)
    error = ((back - np.asarray(picture, dtype=np.float32)) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 32


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "1"])
def test_pictures_of_other_modes_are_kept_too(mode):
    assert whole(encoded(Image.new("RGB", (30, 20), "red").convert(mode)))


def test_what_is_longer_than_webp_allows_is_a_jpeg():
    data = encoded(Image.new("RGB", (16_384, 2), "red"))
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert whole(data)


@pytest.mark.parametrize("make", [encoded, as_jpeg])
def test_a_file_that_was_cut_off_is_not_whole(make):
    data = make(page_of_text())
    assert whole(data)
    assert not whole(data[:-5])
    assert not whole(b"")
    assert not whole(b"<html></html>")


def test_pictures_of_an_older_index_stay_as_they_are(tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(picture_format, "SUFFIX", ".jpg")
        before.setattr(picture_format, "encoded", as_jpeg)
        index = PageIndex.open(tmp_path / "index", FakeEncoder())
        index.add([Page("a", text="a fox", image=page_of_text())])
        index.close()
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    [old] = (tmp_path / "index").glob("pictures/*/??/*")
    assert old.suffix == ".jpg"
    assert index.add([Page("a", text="a fox", image=page_of_text())]).unchanged == 1
    assert index.check().is_sound
    assert index.export(tmp_path / "all.zip").pictures == 1
    index.add([Page("a", text="another fox", image=page_of_text())])
    [new] = (tmp_path / "index").glob("pictures/*/??/*")
    assert new.suffix == ".webp"
    assert index.check().is_sound


def test_a_page_owns_pictures_of_its_name_in_either_format():
    name = pictures.picture_name("a#1", "h")
    assert pictures.own_picture(name, "a#1", "h") == name
    older = name.replace(".webp", ".jpg")
    assert pictures.own_picture(older, "a#1", "h") == older
    assert pictures.own_picture(name, "b#1", "h") is None
