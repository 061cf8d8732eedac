"""Pictures as a model is sent them stay within their limits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaembed_rag.errors import UnreadableFileError
from metaembed_rag.pages.sending import PictureLimits, pictures_to_send


@pytest.fixture
def noise(tmp_path) -> Path:
    """A picture that does not compress: 300 x 200 pixels, over 40,000 bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    path = tmp_path / "noise.png"
    Image.fromarray(pixels).save(path)
    return path


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_what_fits_is_sent_as_it_is_by_path_and_as_bytes(noise):
    data = noise.read_bytes()
    for one in pictures_to_send([noise, data], PictureLimits()):
        assert (one.data, one.mime_type, one.left_out) == (data, "image/png", "")


def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path):
    named = tmp_path / "page.jpg"
    Image.new("RGB", (90, 70), "red").save(named, "TIFF")
    (one,) = pictures_to_send([named], PictureLimits())
    assert (one.mime_type, opened(one.data).format) == ("image/jpeg", "JPEG")


def test_a_limit_of_bytes_or_pixels_shrinks(noise):
    (one,) = pictures_to_send([noise], PictureLimits(max_bytes_each=20_000))
    assert len(one.base64) <= 20_000
    assert 64 <= max(opened(one.data).size) < 300
    (one,) = pictures_to_send([noise], PictureLimits(max_side=150))
    assert opened(one.data).size == (150, 100)


def test_together_they_stay_under_the_limit_and_the_first_leaves_a_share(noise):
    sent = list(pictures_to_send([noise, None, noise], PictureLimits(max_bytes=30_000)))
    assert not sent[1].data
    assert not sent[1].left_out
    assert 0 < len(sent[0].base64) <= 15_000
    assert 0 < len(sent[2].base64) <= 30_000 - len(sent[0].base64)


def test_what_cannot_be_sent_is_said(noise, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    limits = PictureLimits(max_bytes=100)
    assert [one.left_out for one in pictures_to_send([noise], limits)] == [
        "its picture is left out: too large"
    ]
    gone = [tmp_path / "gone.jpg", broken]
    said = [one.left_out for one in pictures_to_send(gone, PictureLimits())]
    assert said == ["its picture is gone or damaged"] * 2
    for path in gone:
        with pytest.raises(UnreadableFileError):
            list(pictures_to_send([path], PictureLimits(), strict=True))


@pytest.mark.parametrize("limit", [{"max_bytes": -1}, {"max_bytes_each": -1}, {"max_side": 0}])
def test_limits_refuse_nonsense(limit):
    with pytest.raises(ValueError, match="at least"):
        PictureLimits(**limit)
