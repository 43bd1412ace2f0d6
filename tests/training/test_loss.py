from dataclasses import replace

import pytest
import torch

from xpscale.bands import Bands
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


def kinds(seen, bands=DR3.known_bands):
    """Rows that are whole, lack BP, lack RP, are truncated, and lack elements at random."""
    bp, rp = seen[:, bands.bp], seen[:, bands.rp]
    whole, no_bp, no_rp = seen.all(1), ~bp.any(1), ~rp.any(1)
    low = torch.cat([band[:, :-1] >= band[:, 1:] for band in (bp, rp)], 1).all(1)
    truncated = low & ~whole & ~no_bp & ~no_rp
    return whole, no_bp & ~no_rp, no_rp & ~no_bp, truncated, ~whole & ~low


def test_spectra_are_hidden_in_parts_as_often_as_said():
    chance = torch.rand(40_000, 113, generator=generator())
    seen = shown_elements(chance, 0.4, DR3.known_bands)
    whole, no_bp, no_rp, truncated, at_random = (rows.float().mean() for rows in kinds(seen))
    assert whole == pytest.approx(0.6, abs=0.02)
    for share in (no_bp, no_rp, truncated, at_random):
        assert share == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("bands", [DR3.known_bands, Bands(51, 55), Bands(48, 44)], ids=str)
def test_truncation_leaves_low_orders_of_each_band_on_its_own(bands):
    chance = torch.rand(20_000, 3 + bands.n_coefficients, generator=generator())
    seen = shown_elements(chance, 0.9, bands)
    truncated = kinds(seen, bands)[3]
    left = [seen[truncated][:, band].sum(1) for band in (bands.bp, bands.rp)]
    for n, n_all in zip(left, (bands.n_bp, bands.n_rp), strict=True):
        assert n.min() == 1
        assert n.max() == n_all
    assert (left[0] != left[1]).float().mean() > 0.5


def test_every_stretch_of_a_batch_is_shown_in_part_as_often(spectra):
    settings, x = TrainingSettings(masked_fraction=0.25), torch.zeros(512, 110)
    _, chance, *_ = Objective(settings, DR3.known_bands).draw(
        build(settings.architecture(DR3.known_bands)), x, 512, generator()
    )
    in_part = ~shown_elements(chance, 0.25, DR3.known_bands).all(1)
    for rows in in_part.split(128):
        assert abs(int((chance[:, 0] < 0.25).sum()) - 128) <= 2
        assert abs(int(rows.sum()) - 32) <= 4  # a truncation may hide nothing


def test_a_spectrum_in_part_is_told_what_the_whole_one_says_and_nothing_else(spectra):
    """Its cost is the cross entropy, its elements enter no likelihood, and the whole posterior is
    given.
    """
    x, x_err = spectra
    settings = TrainingSettings(masked_fraction=0.5, added_noise=0.0)
    network = build(settings.architecture(DR3.known_bands))
    objective, chance = Objective(settings, DR3.known_bands), torch.full((64, 113), 0.9)
    chance[::2, 0] = 0.2  # every other one lacks RP
    draws = (torch.zeros(64, 6), chance)
    found = objective(network, x, x_err, draws, NOTHING)
    whole, part = slice(1, None, 2), slice(0, None, 2)
    alone = Objective(replace(settings, masked_fraction=0.0), DR3.known_bands)
    bound = alone(network, x[whole], x_err[whole], (draws[0][whole],), NOTHING)
    torch.testing.assert_close(found.terms, bound.terms)
    shown = x_err.clone()
    shown[:, 55:] = torch.inf
    of_part, of_whole = network.encode(x, shown), network.encode(x, x_err)
    mismatch = of_part.take(part).cross_entropy(of_whole.take(part)).mean()
    torch.testing.assert_close(found.cost, bound.cost + mismatch)
    (gradient,) = torch.autograd.grad(found.cost - bound.cost, network.posterior.weight)
    (expected,) = torch.autograd.grad(
        of_part.take(part).cross_entropy(network.encode(x, x_err).take(part)).mean() - 0 * mismatch,
        network.posterior.weight,
    )
    assert not torch.allclose(gradient, expected)  # with a gradient through the whole


def test_a_posterior_that_matches_has_the_spread_of_what_it_does_not_see():
    """x = (z, z) + noise of variance v: seen whole var = v / (2 + v), in part v / (1 + v)."""
    torch.manual_seed(0)
    bands, v = Bands(1, 1), 0.5
    settings = TrainingSettings(n_latents=1, hidden=(16, 16), masked_fraction=0.5, added_noise=0.0)
    network, objective = build(settings.architecture(bands)), Objective(settings, bands)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    x_err = torch.full((512, 2), v**0.5)
    for step in range(600):
        x = torch.randn(512, 1) + x_err * torch.randn(512, 2)
        draws = objective.draw(network, x, 512, generator(step))
        optimizer.zero_grad()
        objective(network, x, x_err, draws, NOTHING).cost.backward()
        optimizer.step()
    with torch.no_grad():
        whole = network.encode(x, x_err)
        part = network.encode(x, torch.tensor([v**0.5, torch.inf]).expand_as(x_err))
    expected = {"whole": v / (2 + v), "part": v / (1 + v)}
    assert whole.log_var.exp().mean() == pytest.approx(expected["whole"], rel=0.15)
    assert part.log_var.exp().mean() == pytest.approx(expected["part"], rel=0.15)
    shift = (part.mean - whole.mean) / (part.log_var.exp() - whole.log_var.exp()).sqrt()
    assert shift.std() == pytest.approx(1, abs=0.1)


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
        for epoch in (0.0, 0.75 * settings.epochs)
    )
    torch.testing.assert_close(late[-2], first[-2] / 2)
    assert torch.equal(late[-1], first[-1])
