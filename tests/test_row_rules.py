"""Which row is rejected for which reason, and only for one."""

from dataclasses import replace

import numpy as np
import pytest

from xpscale.bands import Bands
from xpscale.row_rules import RULES, judge
from xpscale.spectra import SpectraBatch


def rows(n=3):
    ones = np.ones((n, 4), np.float32)
    return SpectraBatch(
        np.arange(1, n + 1),
        np.full(n, 10.0),
        np.full(n, -5.0),
        np.full(n, 7.0),
        ones,
        ones.copy(),
        Bands(2, 2),
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("source_id", 1, "duplicate_source_id"),
        ("ra", np.nan, "no_position"),
        ("ra", 360.1, "no_position"),
        ("ra", -0.1, "no_position"),
        ("dec", 90.1, "no_position"),
        ("dec", np.nan, "no_position"),
        ("phot_g_mean_flux", 0, "no_g_flux"),
        ("phot_g_mean_flux", -3, "no_g_flux"),
        ("phot_g_mean_flux", np.nan, "no_g_flux"),
        ("phot_g_mean_flux", np.inf, "no_g_flux"),
        ("coefficients", np.nan, "non_finite_coefficients"),
        ("coefficients", -np.inf, "non_finite_coefficients"),
        ("coefficient_errors", 0, "bad_errors"),
        ("coefficient_errors", -1, "bad_errors"),
        ("coefficient_errors", np.nan, "bad_errors"),
        ("coefficient_errors", np.inf, "bad_errors"),
    ],
)
def test_each_fault_has_its_reason(name, value, reason):
    batch = rows()
    keep, rejected = judge(batch)
    assert keep.all()
    assert rejected == {}
    values = getattr(batch, name)
    values[(1, 2) if values.ndim == 2 else 1] = value
    keep, rejected = judge(batch)
    assert keep.tolist() == [True, False, True]
    assert rejected == {reason: 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coefficients", np.nan),
        ("coefficients", 0),
        ("coefficient_errors", np.nan),
        ("coefficient_errors", -1),
    ],
)
def test_a_spectrum_in_part_is_kept_for_those_who_need_no_whole_one(name, value):
    batch = rows()
    getattr(batch, name)[1, batch.bands.rp.start + 1 :] = value
    assert judge(batch)[0].tolist() == [True, False, True]
    assert judge(batch, whole=False) == (pytest.approx(np.ones(3, bool)), {})
    batch.coefficients[1] = np.nan
    assert judge(batch, whole=False)[1] == {"no_spectrum": 1}


def test_a_row_with_many_faults_counts_once_under_the_first():
    masks = {rule.reason: np.array([True, i == 0, False]) for i, rule in enumerate(RULES)}
    keep, rejected = judge(rows(), dict(reversed(masks.items())))
    assert keep.tolist() == [False, False, True]
    assert rejected == {RULES[0].reason: 2}


def test_of_a_source_the_first_usable_row_is_used():
    batch = rows(5)
    batch.source_id[:] = [7, 8, 7, 7, 8]
    batch.coefficients[0, 0] = np.nan
    keep, rejected = judge(batch)
    assert keep.tolist() == [False, True, True, False, False]
    assert rejected == {"non_finite_coefficients": 1, "duplicate_source_id": 2}


def test_a_rule_that_needs_errors_is_not_tried_without():
    batch = replace(rows(), coefficient_errors=None)
    assert judge(batch) == (pytest.approx(np.ones(3, bool)), {})
