"""What a step of training minimises.

With the letters of `xpscale.model.scatter_vae`, over the spectra of a share of a batch::

    loss = mean(nll) + sum_k mean(kl_k)                     the negative ELBO: what is reported
    cost = mean(nll) + sum_k max(mean(kl_k), free_nats)     what is minimised

A batch is the mean of its shares, by their rows: each can be computed on its own.

Of a share of the spectra, chosen anew in every epoch, the encoder is shown a part only, and the
likelihood is that of the same part: a valid bound for a spectrum that has no more.  A third of them
lack BP, a third RP, a third the orders from a random one on, as truncation by ``n_relevant_bases``
leaves them.

Before that, noise is added to all, anew in every epoch: k times the errors that they have, with
epsilon ~ N(0, 1) and k uniform between 0 and `TrainingSettings.added_noise_at` the time, one for
each spectrum::

    x <- x + k sigma epsilon,      sigma <- sigma sqrt(1 + k^2)

These are the spectra that fainter stars would have, as true as those that were measured, and never
the same twice: an encoder cannot learn them by heart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from xpscale.bands import Bands
    from xpscale.model.scatter_vae import NetworkModule
    from xpscale.training.settings import TrainingSettings

__all__ = ["BatchLoss", "Objective"]


class BatchLoss(NamedTuple):
    """The loss of some spectra.

    Parameters
    ----------
    cost
        What is differentiated.
    terms
        The mean nll and kl in nats, without a gradient, with shape (2,).
    """

    cost: Tensor
    terms: Tensor


class Objective:
    """The cost of spectra under a network.

    Parameters
    ----------
    settings
        How to train.
    bands
        Of the spectra.
    """

    def __init__(self, settings: TrainingSettings, bands: Bands) -> None:
        self.settings = settings
        self.bands = bands

    def draw(
        self,
        network: NetworkModule,
        x: Tensor,
        n_rows: int,
        generator: torch.Generator,
        epoch: float = 0.0,
    ) -> tuple[Tensor, ...]:
        """Everything random that a batch needs: tensors with a row for each spectrum.

        Drawn apart from the loss, for the whole batch, so that a batch shared among threads or
        processes is the same batch, and so that the loss can be compiled and replayed.

        Parameters
        ----------
        network
            The network.
        x
            Some of the batch's standardized spectra, with shape (B, C).
        n_rows
            Spectra of the whole batch.
        generator
            Where random numbers come from.
        epoch
            How many epochs have been done.
        """

        def uniform(*shape: int) -> Tensor:
            return torch.rand(n_rows, *shape, device=x.device, generator=generator)

        def normal(*shape: int) -> Tensor:
            return torch.empty(n_rows, *shape, device=x.device).normal_(generator=generator)

        draws = [normal(network.architecture.n_latents)]
        if self.settings.masked_fraction:
            draws.append(uniform(2))
        if self.settings.added_noise:
            draws += [self.settings.added_noise_at(epoch) * uniform(1), normal(x.shape[1])]
        return tuple(draws)

    def __call__(
        self,
        network: NetworkModule,
        x: Tensor,
        x_err: Tensor,
        draws: tuple[Tensor, ...],
        free_nats: Tensor,
    ) -> BatchLoss:
        """The loss of standardized spectra.

        Parameters
        ----------
        network
            The network.
        x, x_err
            Standardized spectra and errors, with shape (B, C).
        draws
            The rows for these spectra of what `draw` made.
        free_nats
            The kl of a latent that costs nothing, a number.
        """
        x, x_err, seen, noise = self.data(x, x_err, draws)
        shown = x_err if seen is None else torch.where(seen, x_err, torch.inf)
        posterior, reconstruction = network(x, shown, noise)
        nll = reconstruction.nll(x, x_err, seen).mean()
        kl_per_latent = posterior.kl_per_latent().mean(0)  # (L,)
        cost = nll + torch.maximum(kl_per_latent, free_nats).sum()
        return BatchLoss(cost, torch.stack([nll, kl_per_latent.sum()]).detach())

    def data(
        self, x: Tensor, x_err: Tensor, draws: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Spectra and errors as they are trained on, which elements are shown, if not all, and the
        noise to draw z by.

        Parameters
        ----------
        x, x_err, draws
            As of a call.
        """
        settings, left = self.settings, iter(draws)
        noise, seen = next(left), None
        if settings.masked_fraction:
            seen = shown_elements(next(left), settings.masked_fraction, self.bands)
        if settings.added_noise:
            x, x_err = noisier(x, x_err, *left)
        return x, x_err, seen, noise


def noisier(x: Tensor, x_err: Tensor, k: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    """Spectra with more noise, and their errors, with shape (B, C).

    Parameters
    ----------
    x, x_err
        Spectra and errors, with shape (B, C).
    k
        The noise to add in units of the errors, with shape (B, 1).
    epsilon
        Standard normal random numbers, with shape (B, C).
    """
    return x + k * x_err * epsilon, x_err * (1 + k.square()).sqrt()


def shown_elements(chance: Tensor, masked_fraction: float, bands: Bands) -> Tensor:
    """Which elements the encoder is shown, with shape (B, C).

    Parameters
    ----------
    chance
        Uniform random numbers in [0, 1), with shape (B, 2).
    masked_fraction
        Share of the spectra that are shown in part.
    bands
        Which elements are BP and RP.
    """
    column = torch.arange(bands.n_coefficients, device=chance.device)
    in_bp = column < bands.n_bp
    order = torch.where(in_bp, column, column - bands.n_bp)
    highest_order = torch.where(in_bp, bands.n_bp - 1, bands.n_rp - 1)
    # 0, 1, 2: lacks BP, RP, high orders; above: nothing
    kind = (chance[:, :1] * (3 / masked_fraction)).floor()
    first_lacking = 1 + chance[:, 1:] * highest_order
    lacks = (
        ((kind == 0) & in_bp) | ((kind == 1) & ~in_bp) | ((kind == 2) & (order >= first_lacking))
    )
    return ~lacks
