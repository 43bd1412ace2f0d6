"""Compiled loops against the formulas, in float64 and row by row."""

import math

import numpy as np
import pytest

from xpscale.model.network_kernels import gelu_rows


def gelu(values, bias):
    h = np.asarray(values, np.float32)[None].copy()
    gelu_rows(h, np.array([bias], np.float32))
    return h[0]


@pytest.mark.parametrize("bias", [0.0, -0.75])
def test_gelu_is_exact_to_the_last_digits_of_float32(bias):
    x = np.concatenate([np.linspace(-30, 30, 600_001), [-5.6, 5.6, -1e4, 1e4, 0]]).astype(
        np.float32
    )
    y = (x + np.float32(bias)).astype(np.float64)
    exact = y * np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in y])
    assert np.max(np.abs(gelu(x, bias) - exact) / np.maximum(1, np.abs(y))) < 2.5e-7
    assert (gelu([-1e4, -5.7], 0) == 0).all()


def test_gelu_passes_on_what_is_not_a_number():
    # of infinity torch's own makes NaN or infinity, by the processor
    np.testing.assert_array_equal(gelu([np.nan, np.inf, -np.inf], 0), [np.nan, np.inf, np.nan])
