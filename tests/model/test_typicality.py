"""Scores of ordinary objects are even at every signal-to-noise, those of odd ones near 0."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.model.density import TrainingDensity
from xpscale.model.kernels import log_fractions, misfit_rows
from xpscale.model.typicality import (
    LEVELS,
    Typicality,
    information,
    oddness,
    outside,
)

BANDS = Bands(6, 6)


def spectra(n, seed, noise=None, misfit=1.0, place=0.0):
    """What `oddness` takes, of a perfect model: data, latents, decoded; one error a spectrum."""
    rng = np.random.default_rng(seed)
    error = np.exp(rng.uniform(-3, 3, n)) if noise is None else np.full(n, noise)
    errors = np.repeat(error[:, None], 12, 1)
    mean = rng.normal(place, 1, (n, 12))
    scatter = np.full((n, 12), 0.1)
    x = mean + misfit * np.hypot(errors, scatter) * rng.normal(size=(n, 12))
    return [a.astype(np.float32) for a in (x, errors, mean[:, :3], mean, scatter)]


def judged(density, *rows):
    x, errors, latents, mean, scatter = rows
    return oddness((x, errors), latents, (mean, scatter), density)


@pytest.fixture(scope="module")
def trained():
    rows = spectra(40_000, 0)
    density = TrainingDensity.fit([rows[0]], BANDS)
    return Typicality.fit(*judged(density, *rows)), density


@pytest.mark.parametrize("noise", [0.08, 0.3, 1.0, 8.0])
def test_scores_are_fractions_at_every_signal_to_noise(noise, trained):
    typicality, density = trained
    score = typicality.score(*judged(density, *spectra(20_000, 1, noise)))
    for level in (0.5, 0.1, 0.01):
        assert abs((score < level).mean() / level - 1) < 0.35
    assert score.max() <= 1


@pytest.mark.parametrize("odd", [{"misfit": 3.0}, {"place": 5.0}, {"misfit": 1.8, "place": 2.0}])
def test_odd_objects_score_near_0(odd, trained):
    typicality, density = trained
    score = typicality.score(*judged(density, *spectra(2_000, 2, 0.3, **odd)))
    assert np.quantile(score, 0.9) < 0.01


@pytest.mark.parametrize("noise", [0.08, 1.0, 8.0])
def test_a_place_without_training_objects_in_the_space_of_latents_is_outside(noise, trained):
    typicality, density = trained
    x, errors, latents, *_ = spectra(20_000, 6, noise)
    assert outside(density, typicality, (x, errors), latents).mean() < 0.005
    assert outside(density, typicality, (x, errors), latents + 5).all()
    assert outside(density, None, (x, errors), latents + 5).mean() < 0.005
    assert not outside(density, typicality, (x, None), latents + 5).any()


def test_the_score_falls_with_oddness_far_beyond_the_sample(trained):
    typicality, _ = trained
    far = np.geomspace(30, 1e6, 50)
    score = typicality.score(np.full(50, 20.0), np.stack([far, far, np.zeros(50)]))
    assert (np.diff(score) <= 0).all()
    assert (np.diff(score[:20]) < 0).all()


def test_the_measures_are_those_of_the_formulas():
    x, errors, _, mean, scatter = spectra(50, 3)
    errors[0, 3], errors[1, 4], errors[2, 5], x[3, 6] = np.nan, np.inf, 0, np.nan
    seen = np.isfinite(x) & np.isfinite(errors) & (errors > 0)
    misfit = np.empty(50)
    misfit_rows(x, errors, mean, scatter, misfit)
    with np.errstate(all="ignore"):
        e2, w = errors.astype(float) ** 2, errors.astype(float) ** 2 + scatter.astype(float) ** 2
        terms = (x.astype(float) - mean) ** 2 / w - 1
        v = 1 / (1 + w)
        log = np.log(1 + 1 / e2)
    np.testing.assert_allclose(information(x, errors), np.where(seen, log, 0).sum(1) / 2, rtol=1e-6)
    expected = np.where(seen, v * terms, 0).sum(1) / np.sqrt(2 * np.where(seen, v**2, 0).sum(1))
    np.testing.assert_allclose(misfit, expected, rtol=1e-5, atol=1e-6)


def test_a_spectrum_without_any_measured_element_has_no_score(trained):
    typicality, density = trained
    rows = spectra(2, 4)
    rows[1][0] = np.inf
    assert np.isnan(typicality.score(*judged(density, *rows))).tolist() == [True, False]


@given(st.lists(st.integers(0, 3), min_size=20, max_size=60), st.integers(0, 4))
def test_equal_values_have_the_fraction_that_is_at_or_above_them(sample, value):
    sample, levels = np.array(sample, float), np.log(LEVELS)
    quantiles = np.tile(np.quantile(sample, 1 - np.array(LEVELS)), (2, 1))
    found = np.empty(1)
    log_fractions(
        np.array([float(value)]), np.zeros(1), np.array([0.0, 1.0]), quantiles, levels, found
    )
    fraction = (sample >= value).mean()
    steps = np.abs(np.diff(LEVELS))
    assert abs(np.exp(found[0]) - fraction) <= steps.max() + 1 / len(sample) + 1e-9


def test_few_or_equal_objects_are_counted_too(trained):
    density = trained[1]
    rows = [a[:5] for a in spectra(5, 5)]
    typicality = Typicality.fit(*judged(density, *rows))
    assert np.isfinite(typicality.score(*judged(density, *rows))).all()
    alike = Typicality.fit(np.full(9, 3.0), np.zeros((3, 9)))
    assert alike.score(np.full(1, 3.0), np.zeros((3, 1)))[0] == 1


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInputError, match="at least two bins"):
        Typicality(np.zeros(1), np.zeros((4, 1, len(LEVELS))))
