"""Bytes as a text: what it looks like, what comes back, what is refused."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaembed_rag.store.packing import from_base85, pack_text, to_base85, unpack_text


@given(st.binary(max_size=300))
def test_base85_is_that_of_the_standard_library(data):
    text = to_base85(data)
    assert text == base64.b85encode(data).decode()
    assert from_base85(text) == data


@given(st.binary(max_size=300))
def test_what_is_packed_comes_back_in_characters_that_json_does_not_escape(data):
    text = pack_text(data)
    assert unpack_text(text) == data
    assert len(text) <= 1.25 * len(data) + 16
    assert text.isascii() and text.isprintable() and not {'"', "\\"} & {*text}


def test_values_of_unit_vectors_take_less_than_their_base64():
    values = np.random.default_rng(0).standard_normal(24_704) * 40
    data = np.clip(values, -127, 127).astype(np.int8).tobytes()
    assert len(pack_text(data)) < 0.9 * len(base64.b64encode(data))


@given(st.text(max_size=40))
def test_any_other_text_is_refused_with_a_value_error_or_is_read(text):
    try:
        found = unpack_text(text)
    except ValueError:
        return
    assert isinstance(found, bytes)


@pytest.mark.parametrize(
    "broken",
    [
        lambda text: text[:-3],
        lambda text: text[:40],
        lambda text: text + "00000",
        lambda text: "ü" + text[1:],
        lambda text: '"' + text[1:],
        lambda text: "~~~~~" + text[5:],
        lambda text: "",
    ],
)
def test_what_was_damaged_is_refused(broken):
    text = pack_text(bytes(range(256)) * 4)
    with pytest.raises(ValueError, match="packed bytes"):
        unpack_text(broken(text))


@given(st.text(max_size=12).filter(lambda text: len(text) % 5 != 1))  # of no bytes at all
def test_base85_refuses_what_the_standard_library_refuses(text):
    try:
        expected = base64.b85decode(text.encode("ascii"))
    except ValueError:
        with pytest.raises(ValueError, match="base 85"):
            from_base85(text)
    else:
        assert from_base85(text) == expected
