import numpy as np
import pytest
import torch

from xpscale.errors import InvalidInputError
from xpscale.evaluation.calibration_section import scatter_ratio
from xpscale.evaluation.correlated import correlated_nll, correlation_matrices
from xpscale.evaluation.latent_section import redundancy
from xpscale.evaluation.reconstruction import Prediction
from xpscale.model.distributions import Reconstruction

RNG = np.random.default_rng(0)


def prediction(n=2000, n_coefficients=8):
    """A model that knows the truth: errors 0.1 to 0.3, scatter 0.2."""
    x_err = RNG.uniform(0.1, 0.3, (n, n_coefficients))
    mean, scatter = RNG.normal(size=(n, n_coefficients)), np.full((n, n_coefficients), 0.2)
    x = mean + np.hypot(x_err, scatter) * RNG.normal(size=mean.shape)
    values = (x, x_err, RNG.normal(size=(n, 3)), mean, scatter)
    return Prediction(*(value.astype(np.float32) for value in values))


def test_scatter_is_compared_where_it_exceeds_the_error():
    found = prediction()
    planted = np.full(found.x.shape, 0.2)
    assert scatter_ratio(found.x_err, found.scatter, planted) == pytest.approx(1, abs=1e-6)
    planted[:, 0], planted[:, 1] = 0.05, 0.4  # below every error; twice what is predicted
    ratio = scatter_ratio(found.x_err, found.scatter, planted)
    assert np.isnan(ratio[0])
    assert ratio[1] == pytest.approx(0.5)


def test_correlated_likelihood_is_that_of_the_multivariate_normal():
    found = prediction(20, 7)
    free = np.zeros((20, 6)), np.zeros((20, 3))  # bands of 4 and 3 coefficients
    tensors = (torch.from_numpy(getattr(found, name)) for name in ("mean", "scatter", "x", "x_err"))
    mean, scatter, x, x_err = tensors
    np.testing.assert_allclose(
        correlated_nll(found, *free), Reconstruction(mean, scatter).nll(x, x_err), rtol=1e-5
    )

    bp, rp = RNG.uniform(-0.3, 0.3, (20, 6)), RNG.uniform(-0.3, 0.3, (20, 3))
    full = np.zeros((20, 7, 7))
    full[:, :4, :4], full[:, 4:, 4:] = correlation_matrices(bp), correlation_matrices(rp)
    assert full[0, 2, 1] == full[0, 1, 2] == bp[0, 2]  # (1,0), (2,0), (2,1)
    error = found.x_err.astype(float)
    covariance = (
        error[:, :, None] * full * error[:, None, :]
        + np.eye(7) * found.scatter.astype(float)[:, None] ** 2
    )
    normal = torch.distributions.MultivariateNormal(mean.double(), torch.from_numpy(covariance))
    expected = -normal.log_prob(x.double()).numpy() - 7 / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(correlated_nll(found, bp, rp), expected, rtol=1e-6)

    bp[13] = 2.0
    with pytest.raises(InvalidInputError, match="row 13 are not those of any errors"):
        correlated_nll(found, bp, rp)
    with pytest.raises(InvalidInputError, match="correlations of 4 coefficients, spectra of 7"):
        correlated_nll(found, free[0])


def test_latents_that_copy_are_seen():
    latents = RNG.normal(size=(5000, 3))
    assert (redundancy(latents) < 0.01).all()
    latents[:, 2] = 2 * latents[:, 0] + 0.1 * latents[:, 2]
    found = redundancy(latents)
    assert found[0] > 0.99
    assert found[2] > 0.99
    assert found[1] < 0.01
