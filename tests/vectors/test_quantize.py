from __future__ import annotations

import numpy as np
import pytest

from metaembed_rag.vectors.formats import quantize
from tests.support.vectors import unit_vectors


@pytest.mark.parametrize("dimension", [8, 128, 2048])
def test_no_value_is_further_off_than_half_a_scale(dimension):
    vectors = unit_vectors(5, 4, dimension)
    quantized = quantize(vectors)
    bound = quantized.scales.astype(np.float32)[..., None] / 2
    assert np.all(np.abs(quantized.dequantize() - vectors) <= bound * (1 + 1e-5))


def test_a_value_that_can_be_computed_by_hand():
    quantized = quantize(np.array([[[0.0, 127.0, -63.5, 1.0]]], dtype=np.float32))
    assert quantized.scales.tolist() == [[1.0]]
    assert quantized.values.tolist() == [[[0, 127, -64, 1]]]  # 63.5 rounds to the even 64


def test_a_scale_that_fp16_cannot_hold_is_rounded_up_so_that_nothing_overflows():
    vectors = np.full((1, 1, 3), 0.9999, dtype=np.float32) * np.array([1, -1, 0.5], np.float32)
    quantized = quantize(vectors)
    assert np.abs(quantized.values.astype(int)).max() <= 127
    assert np.allclose(quantized.dequantize(), vectors, atol=0.005)


def test_zeros_stay_zeros():
    zeros = np.zeros((1, 2, 4), dtype=np.float32)
    assert not quantize(zeros).dequantize().any()
