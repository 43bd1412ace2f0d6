"""The step of the paper's network by hand, against torch's gradients in float64."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from xpscale.model.scatter_vae import LATENT_LOG_VAR_BOUNDS, Architecture, ScatterVAE
from xpscale.release import DR3
from xpscale.training.batches import Batch, Rows
from xpscale.training.by_hand import GradientByHand, at_once
from xpscale.training.flat import FlatParameters
from xpscale.training.loop import Trainer
from xpscale.training.loss import Objective
from xpscale.training.settings import PRESETS
from xpscale.training.step_kernels import normalized_gelu

PAPER = PRESETS["laroche2024"]
SETTINGS = {"as the paper": PAPER, "with noise": replace(PAPER, added_noise=1.5)}


def data(n):
    rng = torch.Generator().manual_seed(n)
    x, x_err = torch.randn(n, 110, generator=rng), 0.01 + torch.rand(n, 110, generator=rng)
    return x * (1 + 3 * torch.rand(n, 1, generator=rng)), x_err


def network_at_work():
    """Gains and shifts that are not one and zero, and some log variances beyond both bounds."""
    torch.manual_seed(1)
    network = ScatterVAE(Architecture(DR3.known_bands)).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        network.latent_log_var.weight[0] *= 60
        network.latent_log_var.weight[1:] *= 4
    return network


def gradients(network, settings, x, x_err, draws, free_nats):
    """What torch makes of a batch: the loss's terms, and the gradients of its cost."""
    loss = Objective(settings, DR3.known_bands)(
        network, x, x_err, tuple(draws), torch.tensor(free_nats, dtype=x.dtype)
    )
    return loss.terms, torch.autograd.grad(loss.cost, list(network.parameters()))


@pytest.mark.parametrize("free_nats", [0.0, 0.6])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("n", [8, 300])
def test_loss_gradient_and_running_moments_are_those_of_torch(n, settings, free_nats):
    """As close to float64 as torch is in float32, parameter by parameter."""
    x, x_err = data(n)
    network, single = network_at_work(), network_at_work()
    exact = copy.deepcopy(network).double()
    log_var = copy.deepcopy(network).encode(x).log_var
    assert all(
        (log_var == bound).any() for bound in LATENT_LOG_VAR_BOUNDS
    )  # there is no gradient beyond them
    objective = Objective(settings, DR3.known_bands)
    draws = objective.draw(network, x, n, torch.Generator().manual_seed(3))
    weights = FlatParameters(network)
    by_hand = GradientByHand(network, weights)
    noisier_x, noisier_x_err, _, noise = objective.data(x, x_err, draws)
    terms, gradient = by_hand(noisier_x, noisier_x_err, noise, free_nats)

    _, of_torch = gradients(single, settings, x, x_err, draws, free_nats)
    doubles = x.double(), x_err.double(), [values.double() for values in draws]
    expected_terms, expected = gradients(exact, settings, *doubles, free_nats)
    torch.testing.assert_close(terms.double(), expected_terms, rtol=2e-6, atol=0)
    pieces = weights.pieces(gradient)
    for (name, _), found, theirs, values in zip(
        exact.named_parameters(), pieces, of_torch, expected, strict=True
    ):
        rounding = (theirs - values).norm() + 1e-6 * values.norm()
        assert (found - values).norm() < 4 * rounding, name
    for name, values in exact.named_buffers():
        torch.testing.assert_close(
            network.get_buffer(name).to(values.dtype), values, rtol=1e-5, atol=1e-6
        )


def test_a_bias_that_the_normalization_takes_back_does_not_move():
    network = network_at_work()
    weights = FlatParameters(network)
    by_hand = GradientByHand(network, weights)
    _, gradient = by_hand(*data(100), torch.zeros(100, 6), 0.0)
    named = dict(
        zip((name for name, _ in network.named_parameters()), weights.pieces(gradient), strict=True)
    )
    assert not named["encoder.0.0.bias"].any()
    assert named["encoder.0.1.bias"].all()


@pytest.fixture
def one_torch_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def test_the_second_thread_changes_no_bit(one_torch_thread):
    """Many steps beside each other, and the same steps one after the other."""
    found = []
    for one_after_the_other in (False, True):
        network = network_at_work()
        by_hand = GradientByHand(network, FlatParameters(network))
        if one_after_the_other:
            by_hand.beside = at_once
        noise = torch.randn(1024, 6, generator=torch.Generator().manual_seed(4))
        found.append([by_hand(*data(1024), noise, 0.1)[1].clone() for _ in range(20)])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


def test_what_fails_in_the_second_thread_stops_the_step():
    network = network_at_work()
    by_hand = GradientByHand(network, FlatParameters(network))
    by_hand.scatter[0].weight = torch.ones(10, 7)
    with pytest.raises(RuntimeError, match="shape"):
        by_hand(*data(8), torch.zeros(8, 6), 0.0)


def rows(n):
    return Rows(*data(n), np.arange(n))


def test_epochs_by_hand_are_those_of_torch():
    trainers = [Trainer(PAPER, DR3.known_bands, torch.device("cpu")) for _ in range(2)]
    assert trainers[0].by_hand
    trainers[1].by_hand = None
    metrics = [
        [trainer.train_epoch(rows(2000), rows(100)) for _ in range(3)] for trainer in trainers
    ]
    for found, expected in zip(*metrics, strict=True):
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)
        assert found.held_out.loss == pytest.approx(expected.held_out.loss, rel=1e-3)


@pytest.mark.parametrize(
    "changes", [{"network": "noise_aware"}, {"precision": "bf16"}, {"compile": True}]
)
def test_what_is_not_written_out_is_left_to_torch(changes):
    assert Trainer(replace(PAPER, **changes), DR3.known_bands, torch.device("cpu")).by_hand is None


def test_a_batch_of_one_spectrum_is_refused_as_torch_does():
    trainer = Trainer(PAPER, DR3.known_bands, torch.device("cpu"))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        trainer.step(Batch(0, rows(1), 1, (0, 1)), 1e-3)


def test_the_slope_is_that_of_gelu():
    y = torch.linspace(-8, 8, 20_001)
    h, out, slope = y[None].clone(), torch.empty(1, len(y)), torch.empty(1, len(y))
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    gain, shift = (
        y.std(correction=0)[None].numpy(),
        y.mean()[None].numpy(),
    )  # undo the normalization
    running = [zero.copy(), one.copy(), zero.copy()]
    normalized_gelu(
        h.numpy(),
        zero,
        gain,
        shift,
        np.float32(0),
        np.float32(0.1),
        *running,
        out.numpy(),
        slope.numpy(),
    )
    exact = y.double().requires_grad_()
    value = nn.functional.gelu(exact)
    (gradient,) = torch.autograd.grad(value.sum(), exact)
    torch.testing.assert_close(out[0].double(), value.detach(), rtol=0, atol=2e-6)
    torch.testing.assert_close(slope[0].double(), gradient, rtol=0, atol=3e-6)
