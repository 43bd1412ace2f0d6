"""Recovery of coefficients: the batched posterior is the textbook's, and the prior is learnt from
the stars.
"""

import numpy as np
import pytest

from xpscale.demo.recovery import Prior, first_prior, learn_prior, recover

N_WAVELENGTHS, RHO = 343, 1e-6


@pytest.fixture(scope="module")
def design():
    """Smooth and nearly singular, as the real one: singular values fall by 1e7."""
    rng = np.random.default_rng(0)
    u, _ = np.linalg.qr(rng.standard_normal((N_WAVELENGTHS, 110)))
    v, _ = np.linalg.qr(rng.standard_normal((110, 110)))
    return (u * np.geomspace(1, 1e-7, 110)) @ v.T


@pytest.fixture(scope="module")
def stars(design):
    rng = np.random.default_rng(1)
    prior = first_prior()
    # six hidden causes and a little of its own in each coefficient: much to learn from the others
    loading = np.hstack([rng.standard_normal((110, 6)) / np.sqrt(6), 0.1 * np.eye(110)])
    loading *= np.sqrt(np.diag(prior.covariance))[:, None] / 2
    truth = prior.mean + rng.standard_normal((3_000, 116)) @ loading.T
    flux = truth @ design.T
    flux += RHO * flux.max(axis=1, keepdims=True) * rng.standard_normal(flux.shape)
    return truth, flux


def test_posterior_is_that_of_a_linear_gaussian_model(design, stars):
    _, flux = stars
    rng = np.random.default_rng(2)
    root = rng.standard_normal((110, 110)) * 1e-3
    prior = Prior(rng.standard_normal(110) * 0.01, root @ root.T, 1e-3)
    found = recover(flux[:3], design, prior)
    for y, mean, variance in zip(flux[:3], found.mean, found.variance, strict=True):
        noise = (prior.rho * y.max()) ** 2 * np.eye(N_WAVELENGTHS)
        gain = (
            prior.covariance
            @ design.T
            @ np.linalg.inv(design @ prior.covariance @ design.T + noise)
        )
        assert np.allclose(
            mean, prior.mean + gain @ (y - design @ prior.mean), rtol=1e-6, atol=1e-9
        )
        assert np.allclose(
            variance, np.diag(prior.covariance - gain @ design @ prior.covariance), rtol=1e-6
        )


def test_learning_beats_the_first_prior_and_finds_the_rounding(design, stars):
    truth, flux = stars
    learnt = learn_prior(flux, design)
    assert learnt.rho == pytest.approx(RHO, rel=0.1)
    errors = []
    for prior in (first_prior(), learnt):
        found = recover(flux, design, prior)
        errors.append(np.sqrt(np.mean((found.mean - truth) ** 2, axis=0)))
    assert np.median(errors[1] / errors[0]) < 0.85
    found = recover(flux, design, learnt)
    assert np.median(found.reduced_chi2) == pytest.approx(1 - 110 / N_WAVELENGTHS, abs=0.2)
    z = (found.mean - truth) / np.sqrt(found.variance)
    assert (
        0.3 < np.median(z.std(axis=0)) < 1.1
    )  # few steps leave the prior wide: cautious, never too sure


def test_a_spectrum_that_is_none_fits_badly(design, stars):
    _, flux = stars
    learnt = learn_prior(flux[:500], design, n_steps=2)
    spoilt = flux[:2].copy()
    spoilt[1, 100] *= 1.01
    chi2 = recover(spoilt, design, learnt).reduced_chi2
    assert chi2[0] < 3 < chi2[1]
