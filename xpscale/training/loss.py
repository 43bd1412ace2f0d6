"""What a step of training minimises.

With the letters of `xpscale.model.scatter_vae`, over the spectra of a share of a batch that the
encoder is shown whole::

    loss = mean(nll) + sum_k mean(kl_k)                     the negative ELBO: what is reported
    cost = mean(nll) + sum_k max(mean(kl_k), free_nats)     what is minimised

A batch is the mean of its shares, by their rows: each can be computed on its own.

Of the other spectra, chosen anew in every epoch, the encoder is shown a part x_p only.  A quarter
of them lack BP, a quarter RP, a quarter the orders of each band from a random one on, as truncation
by the archive's numbers of relevant bases leaves them, and a quarter elements at random.  What the
encoder makes of the part shall agree with what it makes of the whole, x (posterior matching,
Strauss & Oliva 2022, arXiv:2201.12414)::

    cost = mean of E[ -ln q(z | x_p) ] over z from q(z | x)         no gradient through q(z | x)

At its minimum q(z | x_p) has the mean and the covariance that z has over the spectra that look the
same in part: mean_p = E[mean] and var_p = E[var] + Var[mean].  The bound of the part alone, its nll
plus its kl, has no such property: its posterior is too narrow wherever the exact one is no
Gaussian, or the errors are not what the model takes them for.

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

GOLDEN_RATIO = 0.6180339887


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
            chance = uniform(3 + x.shape[1])
            # every stretch of rows is shown in part as often as every other: its count is no noise
            steps = torch.arange(n_rows, device=x.device) * GOLDEN_RATIO
            chance[:, 0] = (chance[0, 0] + steps) % 1
            draws.append(chance)
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
        is_whole = None if seen is None else seen.all(1)
        shown = x_err if seen is None else torch.where(seen, x_err, torch.inf)
        posterior = network.encode(x, shown)
        n_whole = len(x) * (1 - self.settings.masked_fraction)  # expected, so that shares add up
        rows, weight = _chosen(is_whole)
        nll = network.decode(posterior.at(noise)[rows]).nll(x[rows], x_err[rows])  # (B',)
        nll = (weight * nll).sum() / n_whole
        kl = (weight[:, None] * posterior.kl_per_latent()[rows]).sum(0) / n_whole  # (L,)
        cost = nll + torch.maximum(kl, free_nats).sum()
        if is_whole is not None:
            rows, weight = _chosen(~is_whole)
            with torch.no_grad():
                of_whole = network.encode(x[rows], x_err[rows])
            mismatch = posterior.take(rows).cross_entropy(of_whole)
            cost = cost + (weight * mismatch).sum() / n_whole
        return BatchLoss(cost, torch.stack([nll, kl.sum()]).detach())

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


def _chosen(mask: Tensor | None) -> tuple[Tensor | slice, Tensor]:
    """The rows of a mask with shape (B,), or all, and the weight of each, 1.  Where shapes may not
    depend on values, as in a recorded or compiled step: all rows, those of the others being 0.
    """
    if mask is None:
        return slice(None), torch.ones(1)
    if mask.is_cuda or torch.compiler.is_compiling():
        return slice(None), mask.float()
    return mask, mask[mask].float()


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
        Uniform random numbers in [0, 1), with shape (B, 3 + C).
    masked_fraction
        Share of the spectra that are shown in part.
    bands
        Which elements are BP and RP.
    """
    column = torch.arange(bands.n_coefficients, device=chance.device)
    in_bp = column < bands.n_bp
    order = torch.where(in_bp, column, column - bands.n_bp)
    # 0, 1, 2, 3: lacks BP, RP, high orders, elements at random; above: nothing
    kind = (chance[:, :1] * (4 / masked_fraction)).floor()
    # the first order that a band lacks: uniform in its logarithm, since the low ones tell most
    n_orders = torch.where(in_bp, bands.n_bp, bands.n_rp)
    first_lacking = ((n_orders + 1) ** torch.where(in_bp, chance[:, 1:2], chance[:, 2:3])).floor()
    lacks = (
        ((kind == 0) & in_bp)
        | ((kind == 1) & ~in_bp)
        | ((kind == 2) & (order >= first_lacking))
        | ((kind == 3) & (chance[:, 3:] < chance[:, 1:2].square()))
    )
    return ~lacks
