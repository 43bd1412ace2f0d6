"""The axes of the latents: least correlated, the same from every start, and the same model."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_reader import SIX_EACH
from xpscale.model.architectures import ARCHITECTURES, build
from xpscale.model.axes import common_axes, turn_axes
from xpscale.model.distributions import LatentPosterior
from xpscale.model.scatter_vae import Architecture

L = 4


def orthogonal(seed, n=L):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def spectra(n=200, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 12, generator=rng), torch.rand(n, 12, generator=rng) + 0.05


def random_network(seed=0):
    torch.manual_seed(seed)
    network = build(Architecture(SIX_EACH, L, (16, 16), "iterative")).eval()
    with torch.no_grad():
        network.correction.weight *= 20  # correlations that differ from spectrum to spectrum
        network.correction.bias.normal_()
    return network.requires_grad_(False)


def planted(seed):
    """Posteriors that one rotation, here `hidden`, makes diagonal; and spectra that follow the
    latents.
    """
    rng = np.random.default_rng(seed)
    hidden = orthogonal(seed)
    var = np.exp(rng.normal([-1, -3, -5, -8], 1, (500, L)))
    mean = rng.normal(size=(500, L)) * np.sqrt(np.maximum(1 - var, 0))
    x = mean @ rng.normal(size=(L, 12)) + rng.normal(size=(500, 12)) / 10
    covariance = np.einsum("lk,nl,lm->nkm", hidden, var, hidden)
    return hidden, covariance, mean @ hidden, x


@given(st.integers(0, 1000))
def test_a_rotation_that_removes_all_correlations_is_found_in_the_order_of_information(seed):
    hidden, covariance, mean, x = planted(seed)
    found = common_axes(covariance, mean, x)
    np.testing.assert_allclose(found @ found.T, np.eye(L), atol=1e-9)
    np.testing.assert_allclose(np.abs(found), np.abs(hidden[::-1]), atol=0.02)


def test_axes_do_not_depend_on_where_training_left_them():
    _, covariance, mean, x = planted(3)
    first, turn = common_axes(covariance, mean, x), orthogonal(9)
    second = common_axes(turn @ covariance @ turn.T, mean @ turn.T, x)
    np.testing.assert_allclose(second @ turn, first, atol=5e-3)  # signs, too


@given(st.integers(0, 10_000))
def test_a_turned_posterior_is_the_same_distribution(seed):
    rng = np.random.default_rng(seed)
    factor = np.tril(rng.normal(size=(20, L, L)) * 10 ** rng.uniform(-2, 2)) + np.eye(L)
    factor /= np.linalg.norm(factor, axis=2, keepdims=True)
    factor *= np.sign(np.diagonal(factor, axis1=1, axis2=2))[:, None]
    mean, log_var = rng.normal(size=(20, L)), rng.uniform(-9, 2, (20, L))
    before = LatentPosterior(*(torch.from_numpy(v) for v in (mean, log_var, factor)))
    axes = torch.from_numpy(orthogonal(seed))
    after = before.turned(axes)
    root, turned = before.root(), after.root()
    expected = axes @ root @ root.mT @ axes.T
    torch.testing.assert_close(turned @ turned.mT, expected, rtol=1e-7, atol=1e-9)
    assert torch.equal(after.factor, after.factor.tril())
    torch.testing.assert_close(after.factor.square().sum(-1), torch.ones(20, L).double())
    torch.testing.assert_close(after.kl_per_latent().sum(1), before.kl(), rtol=1e-6, atol=1e-6)
    assert torch.equal(after.kl(), before.kl())
    noise = torch.from_numpy(rng.normal(size=(20, L)))
    torch.testing.assert_close(after.at(noise) @ axes, before.at(noise))


def test_a_turned_network_is_the_same_model_of_spectra():
    before, after, (x, x_err) = random_network().double(), random_network().double(), spectra()
    x, x_err = x.double(), x_err.double()
    assert turn_axes(after, x, x_err)
    old, new = before.encode(x, x_err), after.encode(x, x_err)
    axes = after.axes
    torch.testing.assert_close(new.mean, old.mean @ axes.T)
    for one, other in ((old.mean, new.mean), (torch.zeros(1, L).double(),) * 2):
        found, expected = after.decode(other), before.decode(one)
        torch.testing.assert_close(found.mean, expected.mean)
        torch.testing.assert_close(found.scatter, expected.scatter)
    fallen = new.correlations().abs().mean() / old.correlations().abs().mean()
    assert fallen < 0.95
    assert turn_axes(after, x, x_err)  # once more: they stay
    torch.testing.assert_close(after.axes, axes, atol=0.02, rtol=0)


def test_a_variance_at_its_bound_is_told_of_turned_axes_too():
    network, (x, x_err) = random_network(), spectra()
    turn_axes(network, x, x_err)
    assert not network.encode(x, x_err).clamped.any()
    network.correction.bias[L] = 1e3
    assert network.encode(x, x_err).clamped.all()


@pytest.mark.parametrize("name", sorted({*ARCHITECTURES} - {"iterative"}))
def test_posteriors_without_correlations_are_left_alone(name):
    network = build(Architecture(SIX_EACH, 2, (16, 16), name)).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert not turn_axes(network, *spectra())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_cross_entropy_is_the_mean_of_minus_ln_q():
    network, (x, x_err) = random_network(), spectra(5)
    one, other = network.encode(x, x_err), network.encode(x + 0.1, x_err * 1.5)
    q = torch.distributions.MultivariateNormal(one.mean, scale_tril=one.root())
    z = torch.distributions.MultivariateNormal(other.mean, scale_tril=other.root())
    expected = torch.distributions.kl_divergence(z, q) + z.entropy() - L / 2 * np.log(2 * np.pi)
    torch.testing.assert_close(one.cross_entropy(other), expected, rtol=1e-4, atol=1e-3)


def test_widths_of_correlations_measure_what_an_error_changes():
    """One correlation off by a hundredth of its width: 1e-4 / 2 nats, either way."""
    posterior = random_network().encode(*spectra(20))
    factor = posterior.factor.double()
    exact = LatentPosterior(posterior.mean.double(), posterior.log_var.double(), factor)
    rho, width = exact.correlations(), exact.correlation_widths()
    for k, (i, j) in enumerate(exact.pairs.T.tolist()):
        changed = factor @ factor.mT
        changed[:, i, j] = changed[:, j, i] = rho[:, k] + 0.01 * width[:, k]
        p, q = (
            torch.distributions.MultivariateNormal(torch.zeros(20, L).double(), covariance_matrix=m)
            for m in (factor @ factor.mT, changed)
        )
        divergence = torch.distributions.kl_divergence(p, q)
        torch.testing.assert_close(
            divergence, torch.full_like(divergence, 0.5e-4), rtol=0.1, atol=0
        )
