from dataclasses import replace

import pytest
import torch

from xpscale.model.architectures import build
from xpscale.release import DR3
from xpscale.training.loss import Objective, noisier, shown_elements
from xpscale.training.settings import PRESETS, TrainingSettings

NOTHING = torch.tensor(0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def spectra():
    return torch.randn(64, 110, generator=generator(1)), torch.rand(
        64, 110, generator=generator(2)
    ) + 0.05


def test_the_papers_loss_is_the_reference_formula(spectra):
    """As the released script computes it, on the same batch and the same draw."""
    x, x_err = spectra
    settings = PRESETS["laroche2024"]
    torch.manual_seed(0)
    network = build(settings.architecture(DR3.known_bands)).train()
    objective = Objective(settings, DR3.known_bands)
    draws = objective.draw(network, x, len(x), generator())
    assert len(draws) == 1  # nothing is hidden, nothing added
    found = objective(network, x, x_err, draws, NOTHING)

    h = network.encoder(x)
    mu, log_var = network.latent_mean(h), network.latent_log_var(h)
    z = mu + torch.exp(0.5 * log_var) * draws[0]
    x_hat, s_hat = network.mean(z), torch.sigmoid(network.scatter(z))
    w = x_err**2 + s_hat**2
    mse = torch.mean(torch.sum(0.5 * (x - x_hat) ** 2 / w + 0.5 * torch.log(w), dim=1))
    kld = torch.mean(-0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp(), dim=1))
    torch.testing.assert_close(found.cost, mse + kld, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.terms, torch.stack([mse, kld]).detach(), rtol=1e-6, atol=0)


def test_free_nats_raise_the_cost_of_a_collapsed_latent_but_not_the_loss(spectra):
    network = build(TrainingSettings().architecture(DR3.known_bands))
    for layer in (network.posterior, network.correction):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)  # the posterior is the prior: no latent holds anything
    objective = Objective(
        replace(TrainingSettings(), masked_fraction=0.0, added_noise=0.0), DR3.known_bands
    )
    paid, free = (
        objective(network, *spectra, (torch.zeros(64, 6),), torch.tensor(nats))
        for nats in (0.0, 0.7)
    )
    assert free.cost.item() - paid.cost.item() == pytest.approx(6 * 0.7, rel=1e-5)
    assert torch.equal(free.terms, paid.terms)
    assert paid.terms[1] == 0


def test_spectra_are_hidden_in_parts_as_often_as_said():
    seen = shown_elements(torch.rand(60_000, 2, generator=generator()), 0.3, DR3.known_bands)
    bp, rp = seen[:, :55], seen[:, 55:]
    whole = seen.all(1)
    assert whole.float().mean() == pytest.approx(0.7, abs=0.01)
    assert (~bp.any(1)).float().mean() == pytest.approx(0.1, abs=0.01)
    assert (~rp.any(1)).float().mean() == pytest.approx(0.1, abs=0.01)
    truncated = ~whole & bp.any(1) & rp.any(1)
    assert truncated.float().mean() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(bp[truncated], rp[truncated])  # the same orders of both
    assert (bp[truncated][:, :-1] >= bp[truncated][:, 1:]).all()  # the lower ones
    assert bp[truncated][:, 0].all()


def test_hidden_elements_do_not_enter_the_likelihood(spectra):
    x, x_err = spectra
    network = build(TrainingSettings().architecture(DR3.known_bands))
    settings = TrainingSettings(added_noise=0.0)
    objective = Objective(settings, DR3.known_bands)
    lacks_rp = torch.full((64, 2), settings.masked_fraction / 2)
    seen = shown_elements(lacks_rp, settings.masked_fraction, DR3.known_bands)
    assert seen[:, :55].all()
    assert not seen[:, 55:].any()
    draws = (torch.zeros(64, 6), lacks_rp)
    changed = x.clone()
    changed[:, 55:] = 100
    assert torch.equal(
        objective(network, changed, x_err, draws, NOTHING).terms,
        objective(network, x, x_err, draws, NOTHING).terms,
    )


def test_noise_is_added_with_errors_to_match():
    x, x_err = torch.zeros(20_000, 10), torch.rand(20_000, 10, generator=generator(5)) + 0.01
    k = 1.5 * torch.rand(20_000, 1, generator=generator())
    found, found_err = noisier(x, x_err, k, torch.randn(x.shape, generator=generator(1)))
    added = (found_err**2 - x_err**2).clamp(min=0).sqrt()
    torch.testing.assert_close(added, k * x_err, rtol=1e-2, atol=1e-3)
    assert (found / added)[k[:, 0] > 0.1].std() == pytest.approx(1, abs=0.01)
    none, same = noisier(x, x_err, torch.zeros_like(k), torch.ones_like(x))
    assert torch.equal(none, x)
    assert torch.equal(same, x_err)


def test_noise_is_new_for_every_batch_and_known_to_encoder_and_likelihood(spectra):
    network = build(TrainingSettings().architecture(DR3.known_bands))
    settings = TrainingSettings(masked_fraction=0.0, added_noise=2.0)
    objective, seeded = Objective(settings, DR3.known_bands), generator(3)
    first, second = (objective.draw(network, spectra[0], 64, seeded) for _ in range(2))
    assert not torch.equal(first[-1], second[-1])
    z, k, epsilon = first
    assert k.min() >= 0
    assert 1.8 < k.max() <= 2.0
    added_before = Objective(
        TrainingSettings(masked_fraction=0.0, added_noise=0.0), DR3.known_bands
    )(network, *noisier(*spectra, k, epsilon), (z,), NOTHING)
    assert torch.equal(objective(network, *spectra, first, NOTHING).terms, added_before.terms)


def test_noise_falls_as_training_ends(spectra):
    network, settings = (
        build(TrainingSettings().architecture(DR3.known_bands)),
        TrainingSettings(added_noise=2.0),
    )
    first, late = (
        Objective(settings, DR3.known_bands).draw(network, spectra[0], 64, generator(3), epoch)
        for epoch in (0.0, 75.0)
    )
    torch.testing.assert_close(late[-2], first[-2] / 2)
    assert torch.equal(late[-1], first[-1])
