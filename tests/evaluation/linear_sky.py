"""Spectra of which everything is known: x = W z + scatter + noise, with z ~ N(0, 1), and a model
that knows W and the exact posterior.
"""

import numpy as np
import torch

from xpscale.bands import Bands
from xpscale.evaluation.judged_stars import Stars
from xpscale.evaluation.label_tables import LabelTable
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import NetworkModule
from xpscale.spectra import SpectraBatch

BANDS, N_LATENTS, SCATTER = Bands(12, 10), 4, 0.2
C = BANDS.n_coefficients
W = np.random.default_rng(0).normal(size=(C, N_LATENTS)) / 2
MEAN = np.where(np.isin(np.arange(C), [0, BANDS.n_bp]), 0.07, 0.001)
SCALING = Scaling(MEAN, np.full(C, 0.003), BANDS)


class Truth(NetworkModule):
    """The exact posterior; or what is stated too small or too large by a factor."""

    needs_errors = True

    def __init__(self, posterior=1.0, scatter=1.0):
        super().__init__(Architecture(BANDS, N_LATENTS))
        self.posterior, self.stated = posterior, scatter * SCATTER
        self.register_buffer("w", torch.from_numpy(W).float())

    def encode(self, x, x_err=None):
        weight = 1 / (x_err**2 + SCATTER**2)
        precision = torch.einsum("bc,ck,cl->bkl", weight, self.w, self.w) + torch.eye(N_LATENTS)
        covariance = torch.linalg.inv(precision)
        mean = (covariance @ ((weight * x) @ self.w)[..., None])[..., 0]
        width = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        factor = torch.linalg.cholesky(covariance / width[..., None] / width[:, None])
        return LatentPosterior(mean, 2 * (width * self.posterior).log(), factor)

    def decode(self, z):
        return Reconstruction(z @ self.w.T, torch.full((len(z), C), self.stated))


def model_of(network=None, **training):
    network = network or Truth()
    card = ModelCard(network.architecture, training=training)
    return TrainedModel(network.eval(), SCALING, TrainingDensity.unknown(BANDS), card)


def sky(n, seed=1):
    """Spectra and the z that made them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, N_LATENTS))
    error = rng.uniform(0.05, 0.3, (n, C))
    x = z @ W.T + np.hypot(error, SCATTER) * rng.normal(size=(n, C))
    flux = 10 ** rng.uniform(3, 5, n)
    made = (x * SCALING.std + MEAN) * flux[:, None], error * SCALING.std * flux[:, None]
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    source_id = np.arange(1, n + 1) << 35
    batch = SpectraBatch(source_id, ra, dec, flux, *(v.astype(np.float32) for v in made), BANDS)
    return batch, z


def labelled(batch, labels):
    """The spectra as stars with labels."""
    return Stars.of(batch, LabelTable("made", batch.source_id, labels))
