r"""Whether a posterior covers what made the data: simulation-based calibration (Talts et al. 2018,
arXiv:1804.06788).

For each star, with its measurement errors::

    z ~ N(0, 1),     x = x_hat(z) + sqrt(sigma^2 + s(z)^2) epsilon,     q = q(z | x)

If q is the posterior, then u_k = Phi((z_k - mu_k) / sigma_k) is even from 0 to 1 and the distance
|W^-1 (z - mu)|^2 of z is chi-squared with L degrees of freedom.  It tests the encoder against its
own decoder, on spectra that both can make; whether the decoder is right is what residuals tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import chi2, norm

from xpscale.evaluation.reconstruction import standardized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.judged_stars import Stars
    from xpscale.model.checkpoint import TrainedModel

__all__ = ["Simulated", "simulate"]


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """Where the truth lies in the posteriors of simulated spectra.

    Parameters
    ----------
    u
        Its quantile in each latent's posterior, with shape (N, L).
    together
        Its quantile by distance from the middle, all latents together, with shape (N,).
    """

    u: NDArray[np.float64]
    together: NDArray[np.float64]

    def covered(self, share: float) -> NDArray[np.float64]:
        """Whether the central region of a share of each posterior holds the truth, 0 or 1: all
        latents together, then each alone, with shape (N, 1 + L).

        Parameters
        ----------
        share
            0 to 1.
        """
        alone = np.abs(self.u - 0.5) < share / 2
        return np.column_stack([self.together < share, alone]).astype(np.float64)


def simulate(model: TrainedModel, stars: Stars, seed: int = 0, around: bool = False) -> Simulated:
    """Simulate a spectrum for each star.

    Parameters
    ----------
    model
        The model.
    stars
        Whose measurement errors the spectra have.
    seed
        Of the draws.
    around
        Draw z from the posterior of the star's own spectrum, not from the prior: spectra as the
        sample has them.
    """
    x, x_err = standardized(model, stars.batch)
    generator, network = torch.Generator().manual_seed(seed), model.network
    data, error = torch.from_numpy(x), torch.from_numpy(x_err)
    with torch.inference_mode():
        z = torch.empty(len(x), model.n_latents).normal_(generator=generator)
        if around:
            z = network.encode(data, error).sample(generator)
        made = network.decode(z)
        noise = torch.empty_like(made.mean).normal_(generator=generator)
        spectrum = made.mean + noise * torch.hypot(error.clamp(max=1e6), made.scatter)
        posterior = network.encode(spectrum, error)
        off = (z - posterior.mean).double()
        root = posterior.root().double()
        whitened = torch.linalg.solve_triangular(root, off[..., None], upper=False)[..., 0]
        width = (posterior.log_var.double() / 2).exp()
    u = norm.cdf((off / width).numpy())
    together = chi2.cdf(whitened.square().sum(1).numpy(), model.n_latents)
    return Simulated(np.asarray(u), np.asarray(together))
