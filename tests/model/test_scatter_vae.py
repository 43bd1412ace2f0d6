import pytest
import torch
from small_models import random_network, small_model
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from tests.support.memory_reader import SIX_EACH
from xpscale.model.architectures import ARCHITECTURES
from xpscale.model.card import Architecture
from xpscale.model.constants import LATENT_LOG_VAR_BOUNDS
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.folding import fold
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.release import DR3


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_the_published_widths_have_the_published_number_of_parameters():
    assert sum(p.numel() for p in ScatterVAE(Architecture(DR3.known_bands)).parameters()) == 67_182


def test_loss_is_the_negative_evidence_lower_bound_without_its_constant():
    torch.manual_seed(0)
    x, mean = torch.randn(2, 7, 110, dtype=torch.float64)
    x_err, scatter = torch.rand(2, 7, 110, dtype=torch.float64) + 0.01
    nll = Reconstruction(mean, scatter).nll(x, x_err)
    likelihood = Normal(mean, (x_err**2 + scatter**2).sqrt()).log_prob(x).sum(1)
    torch.testing.assert_close(
        nll + 110 / 2 * torch.log(torch.tensor(2 * torch.pi)).double(), -likelihood
    )

    mu, log_var = torch.randn(2, 7, 6, dtype=torch.float64)
    expected = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(LatentPosterior(mu, log_var).kl_per_latent(), expected)
    torch.testing.assert_close(LatentPosterior(mu, log_var).kl(), expected.sum(1))


def test_correlated_latents_are_drawn_and_judged_as_the_gaussian_they_are():
    torch.manual_seed(1)
    mean, log_var = torch.randn(2, 3, 4, dtype=torch.float64)
    factor = torch.nn.functional.normalize(
        torch.randn(3, 4, 4, dtype=torch.float64).tril(-1) + torch.eye(4), dim=-1
    )
    posterior = LatentPosterior(mean, log_var, factor)
    gaussian = MultivariateNormal(mean, scale_tril=(log_var / 2).exp()[:, :, None] * factor)
    torch.testing.assert_close(
        gaussian.variance, log_var.exp()
    )  # what a catalogue has is of each latent alone
    prior = MultivariateNormal(torch.zeros(4).double(), torch.eye(4).double())
    torch.testing.assert_close(posterior.kl(), kl_divergence(gaussian, prior))
    assert (posterior.kl_per_latent() >= 0).all()
    draws = torch.stack([posterior.sample(generator(seed)) for seed in range(20_000)])
    torch.testing.assert_close(draws.mean(0), mean, atol=0.05, rtol=0)
    for row in range(3):
        torch.testing.assert_close(
            draws[:, row].T.cov(), gaussian.covariance_matrix[row], atol=0.1, rtol=0.05
        )


def test_inference_is_deterministic_and_draws_need_a_generator(network):
    x = torch.randn(50, 12, generator=generator())
    posterior = network.encode(x)
    assert torch.equal(posterior.mean, network.encode(x).mean)
    assert torch.equal(posterior.sample(generator(3)), posterior.sample(generator(3)))
    many = LatentPosterior(
        posterior.mean.repeat(4000, 1, 1), posterior.log_var.repeat(4000, 1, 1)
    ).sample(generator())
    spread = (posterior.log_var / 2).exp()
    assert ((many.mean(0) - posterior.mean).abs() < 0.1 * spread).all()
    assert ((many.std(0) / spread - 1).abs() < 0.1).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_parameter_learns_and_every_spectrum_is_its_own(name):
    network = small_model(name, SIX_EACH).network.requires_grad_(True).train()
    x, x_err = torch.randn(64, 12, generator=generator()), torch.full((64, 12), 0.1)
    noise = torch.empty(len(x), 4).normal_(generator=generator())
    posterior, reconstruction = network(x, x_err, noise)
    assert reconstruction.mean.shape == reconstruction.scatter.shape == (64, 12)
    (reconstruction.nll(x, x_err) + posterior.kl()).mean().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        # batch normalization takes off what a bias before it adds
        assert parameter.grad.abs().sum() > 0 or name == "scatter_vae", parameter_name
    network.eval()

    def scatter(rows):
        return network.decode(network.encode(rows, torch.full_like(rows, 0.1)).mean).scatter

    torch.testing.assert_close(torch.cat([scatter(row) for row in x.split(1)]), scatter(x))


def test_log_variances_stop_at_their_bounds_and_say_so(network):
    network.latent_log_var.bias.data[:] = torch.tensor([0.0, 500.0, 0.0])
    posterior = network.encode(torch.zeros(2, 12))
    assert posterior.log_var[:, 1].eq(LATENT_LOG_VAR_BOUNDS[1]).all()
    assert posterior.clamped.all()
    assert not random_network().encode(torch.zeros(2, 12)).clamped.any()


def test_folding_is_exact_but_for_rounding(network):
    x = torch.randn(200, 12, generator=generator()).double() * 3
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        plain, folded = network.to(dtype), fold(network, dtype)
        layers = [
            m for m in folded.modules() if isinstance(m, (torch.nn.Linear, torch.nn.BatchNorm1d))
        ]
        assert len(layers) == 4 + 3 + 3  # hidden layers and heads; the decoders lose one
        expected, found = plain.encode(x.to(dtype)), folded.encode(x.to(dtype))
        torch.testing.assert_close(found.mean, expected.mean, atol=tolerance, rtol=0)
        torch.testing.assert_close(found.log_var, expected.log_var, atol=tolerance, rtol=0)
        expected, found = plain.decode(expected.mean), folded.decode(expected.mean)
        torch.testing.assert_close(found.mean, expected.mean, atol=tolerance, rtol=0)
        torch.testing.assert_close(found.scatter, expected.scatter, atol=tolerance, rtol=0)
