import numpy as np
import pytest
import torch
from small_models import batch_of

from tests.support.memory_reader import SIX_EACH
from xpscale.errors import InvalidInputError
from xpscale.flags import Flag
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.model.architectures import build
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.distributions import Reconstruction
from xpscale.model.iterative import IterativeVAE
from xpscale.model.noise_aware import MEAN_BOUND, SCATTER_FLOOR
from xpscale.model.scaling import Scaling
from xpscale.training.batches import Rows, standardized
from xpscale.training.loop import Trainer
from xpscale.training.loss import Objective
from xpscale.training.settings import TrainingSettings
from xpscale.training.typical import typicality_of

N_COEFFICIENTS = SIX_EACH.n_coefficients
NETWORKS = ("noise_aware", "iterative")


def small(name):
    torch.manual_seed(3)
    return build(Architecture(SIX_EACH, 2, (16, 16), name))


@pytest.fixture(params=NETWORKS)
def network(request):
    return small(request.param)


def planted(n, seed):
    """Spectra that one number decides, with errors from 0.01 to 3, the same for all elements of a
    spectrum.
    """
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 1, generator=generator)
    pattern = torch.linspace(-1, 1, N_COEFFICIENTS).sign() * torch.linspace(
        0.8, 1.2, N_COEFFICIENTS
    )
    x_err = 10 ** (torch.rand(n, 1, generator=generator) * 2.5 - 2).expand(n, N_COEFFICIENTS)
    noise = torch.randn(n, N_COEFFICIENTS, generator=generator)
    return z * pattern + noise * torch.hypot(x_err, torch.tensor(0.05)), x_err.contiguous()


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    settings = TrainingSettings(
        network=request.param,
        epochs=40,
        batch_size=64,
        n_latents=2,
        hidden=(16, 16),
        masked_fraction=0.3,
        learning_rate=0.01,
    )
    torch.set_num_threads(
        1
    )  # layers this small gain nothing from two, and lose much where others compute
    trainer = Trainer(settings, SIX_EACH, torch.device("cpu"))
    rows, held_out = (Rows(*planted(n, n), np.arange(n)) for n in (4000, 500))
    while not trainer.is_finished:
        trainer.train_epoch(rows, held_out)
    return trainer.network.eval().requires_grad_(False)


def test_fainter_stars_have_wider_posteriors_and_scatter_is_not_noise(trained):
    x, x_err = planted(2000, 1)
    posterior = trained.encode(x, x_err)
    best = posterior.kl_per_latent().mean(0).argmax()
    width = (posterior.log_var[:, best] / 2).exp()
    bright, faint = width[x_err[:, 0] < 0.03].median(), width[x_err[:, 0] > 1].median()
    assert faint > 3 * bright
    scatter = trained.decode(posterior.mean).scatter.median()
    assert 0.03 < scatter < 0.08  # planted: 0.05; the errors reach 3


def test_a_missing_band_is_told_by_the_other(trained):
    x, x_err = planted(2000, 2)
    bright = x_err[:, 0] < 0.1
    x, x_err = x[bright], x_err[bright]
    for band in (SIX_EACH.bp, SIX_EACH.rp):
        lacking = x.clone()
        lacking[:, band] = torch.nan
        found = trained.decode(trained.encode(lacking, x_err).mean).mean
        assert (found - x)[:, band].std() < 0.3 * x[:, band].std()


def test_what_is_not_seen_changes_nothing(network):
    x, x_err = torch.randn(5, N_COEFFICIENTS), torch.rand(5, N_COEFFICIENTS) + 0.1
    shown = torch.where(
        torch.arange(N_COEFFICIENTS) < 8, x_err, torch.inf
    )  # as truncation leaves it
    expected = network.encode(x, shown)
    for value, error in (
        (torch.nan, 1.0),
        (1e9, torch.inf),
        (0.0, torch.nan),
        (3.0, 0.0),
        (torch.inf, -1.0),
    ):
        changed, errors = x.clone(), x_err.clone()
        changed[:, 8:], errors[:, 8:] = value, error
        assert torch.equal(network.encode(changed, errors).mean, expected.mean)
    assert not torch.equal(network.encode(x, x_err).mean, expected.mean)
    with pytest.raises(InvalidInputError, match="needs the errors"):
        network.encode(x)


def test_training_and_inference_compute_the_same_of_each_row_alone(network):
    x, x_err = torch.randn(40, N_COEFFICIENTS), torch.rand(40, N_COEFFICIENTS) + 0.1
    noise = torch.randn(40, 2)
    trains, (posterior, reconstruction) = (
        network.train()(x, x_err, noise),
        network.eval()(x, x_err, noise),
    )
    assert torch.equal(trains[0].mean, posterior.mean)
    assert torch.equal(trains[1].scatter, reconstruction.scatter)
    alone = torch.cat([network.encode(x[i : i + 1], x_err[i : i + 1]).mean for i in range(40)])
    torch.testing.assert_close(alone, posterior.mean)


def test_a_scatter_has_a_floor_and_no_ceiling(network):
    m = torch.tensor([[0.0, 0.0, 5.0, 500.0]])
    found = network.distribution(m, torch.tensor([[-1e3, 3.0, 0.0, 0.0]]))
    assert found.scatter[0, 0] == pytest.approx(SCATTER_FLOOR, rel=0.01)
    assert found.scatter[0, 1] > 10
    assert found.scatter[0, 2] / found.mean[0, 2] == pytest.approx(
        1, rel=0.01
    )  # e^0: relative, far off
    assert found.mean[0, 3] == pytest.approx(np.sinh(MEAN_BOUND), rel=1e-4)


def test_a_second_look_that_changes_nothing_leaves_the_first():
    twice, once = small("iterative"), small("noise_aware")
    shared = once.state_dict()
    once.load_state_dict(
        {name: values for name, values in twice.state_dict().items() if name in shared}
    )
    x, x_err = torch.randn(50, N_COEFFICIENTS), torch.rand(50, N_COEFFICIENTS) + 0.1
    assert not torch.equal(twice.encode(x, x_err).mean, once.encode(x, x_err).mean)
    torch.nn.init.zeros_(twice.correction.weight)
    torch.testing.assert_close(twice.encode(x, x_err).mean, once.encode(x, x_err).mean)
    torch.testing.assert_close(twice.encode(x, x_err).log_var, once.encode(x, x_err).log_var)


def test_a_second_look_sees_what_the_decoder_makes_of_the_first():
    """Residuals in standard deviations: only the decoder is changed, and the posterior with it."""
    network = small("iterative")
    x, x_err = torch.randn(50, N_COEFFICIENTS), torch.rand(50, N_COEFFICIENTS) + 0.1
    before = network.encode(x, x_err)
    torch.nn.init.constant_(network.spectrum.bias[:N_COEFFICIENTS], 3.0)
    after = network.encode(x, x_err)
    assert (after.mean - before.mean).abs().min(1).values.median() > 1e-3


class SumOfTwo(IterativeVAE):
    """A decoder that is given: all elements are the sum of both latents, with a scatter of 0.6."""

    def decode(self, z):
        mean = z.sum(1, keepdim=True).expand(-1, N_COEFFICIENTS)
        return Reconstruction(mean, torch.full_like(mean, 0.6))


def test_latents_that_are_told_together_are_correlated_as_they_should_be():
    """With w = 0.6^2 + 0.8^2 = 1 the exact posterior has the precision 1 + N_COEFFICIENTS (1 1 / 1
    1).
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = SumOfTwo(Architecture(SIX_EACH, 2, (16, 16), "iterative"))
    objective = Objective(
        TrainingSettings(network="iterative", masked_fraction=0.0, added_noise=0.0), SIX_EACH
    )
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    x_err = torch.full((256, N_COEFFICIENTS), 0.8)
    for _ in range(300):
        x = network.decode(torch.randn(256, 2)).mean + torch.randn(256, N_COEFFICIENTS)
        optimizer.zero_grad()
        objective(network, x, x_err, (torch.randn(256, 2),), torch.zeros(())).cost.backward()
        optimizer.step()
    with torch.no_grad():
        posterior = network.encode(x, x_err)
    exact = torch.linalg.inv(torch.eye(2) + N_COEFFICIENTS)
    correlation = (posterior.factor @ posterior.factor.mT)[:, 0, 1]
    assert correlation.median() == pytest.approx(float(exact[0, 1] / exact[0, 0]), abs=0.03)
    assert posterior.log_var.exp().median() == pytest.approx(float(exact[0, 0]), rel=0.15)


def test_hot_stars_and_white_dwarfs_stay_finite_through_inference(network):
    """Spectra up to a million standard deviations off, with errors from nearly none to far too
    large.
    """
    rng = np.random.default_rng(0)
    batch = batch_of(
        5 + rng.normal(size=(600, N_COEFFICIENTS)), np.full((600, N_COEFFICIENTS), 0.1)
    )
    scaling = Scaling.fit([batch])
    density = TrainingDensity.fit([scaling.standardize(batch)[0]], SIX_EACH)
    rows = Rows(*standardized(batch, scaling), batch.source_id)
    typicality = typicality_of(network, rows, density, seed=0)
    card = ModelCard(network.architecture)
    model = TrainedModel.create(network, scaling, density, card, typicality)
    batch.coefficients[:] *= 10.0 ** rng.uniform(-6, 6, (600, 1)) * rng.choice([-1, 1], (600, 1))
    batch.coefficient_errors[:] *= 10.0 ** rng.uniform(-6, 6, (600, 1))
    table = ScatterVAEEncoder(model, ("latents", "reconstruction", "scatter"), "cpu")(batch)
    for name in table.column_names:
        values = table[name].combine_chunks()
        values = values.flatten() if name in ("reconstruction", "scatter") else values
        assert np.isfinite(values.to_numpy()).all(), name
    flags = table["flags"].to_numpy()
    assert (flags & Flag.OUTSIDE_TRAINING_DOMAIN).any()
    assert not (flags & Flag.SCATTER_AT_BOUND).any()  # there is no bound
