"""Rounding stays within its bound, saves bits, and never loses a small number to underflow."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xpscale.catalog.encoding import encode
from xpscale.catalog.votable import conform, product_schema
from xpscale.inference.computed import round_within
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.release import DR3
from xpscale.schema import OUTPUTS, TableLayout

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
WIDTHS = st.floats(0, 2.0**100, width=32)


@settings(max_examples=200, deadline=None)
@given(
    arrays(np.float32, 20, elements=FLOATS),
    arrays(np.float32, 20, elements=WIDTHS),
    st.floats(1e-6, 0.5),
)
@example(np.float32([1e30, -7, 3e-39, 5]), np.float32([1e-38, 0, 1e-45, 2**-126]), 0.01)
def test_the_bound_holds_for_any_numbers(values, width, fraction):
    error = np.abs(round_within(values, width, fraction).astype(float) - values)
    assert (error <= fraction * width.astype(float)).all()


def test_spectra_are_within_the_bound_and_smaller(spectra, model, tmp_path):
    exact, rounded = (
        ScatterVAEEncoder(model, OUTPUTS, "cpu", precision)(spectra)
        for precision in ("float32", "0.01")
    )
    m, s, m1, s1 = (
        table[name].combine_chunks().flatten().to_numpy().astype(float)
        for table in (exact, rounded)
        for name in ("reconstruction", "scatter")
    )
    error = spectra.coefficient_errors.ravel().astype(float)
    assert 0.003 < (np.abs(m1 - m) / np.hypot(error, s)).max() <= 0.01
    assert 0.003 < (np.abs(s1 - s) / s).max() <= 0.01
    assert (s1 > 0).all()
    others = [name for name in exact.column_names if name not in ("reconstruction", "scatter")]
    assert rounded.select(others).equals(exact.select(others))
    sizes = [
        len(encode(conform(table, product_schema("spectra", TableLayout(6, 110, DR3))), "spectra"))
        for table in (exact, rounded)
    ]
    assert sizes[1] < 0.6 * sizes[0]
