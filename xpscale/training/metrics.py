"""What is reported of every epoch, and the loss on held-out rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from xpscale.model.scatter_vae import NetworkModule
    from xpscale.training.loader import Rows

__all__ = ["EpochMetrics", "HeldOutLoss", "held_out_loss", "history_csv", "is_history"]

ROWS_AT_ONCE = 4096
ACTIVE_VARIANCE = 0.01


@dataclass(frozen=True, slots=True)
class HeldOutLoss:
    """The loss over all held-out rows; NaN where there are none.

    Parameters
    ----------
    loss, nll, kl
        Means in nats per spectrum; ``loss = nll + kl``, one draw from the posterior, without C/2
        ln(2 pi).
    median_loss
        Median over the rows, which a few bad spectra do not move.
    kl_per_latent
        Mean of each latent's term, nats.
    active_units
        Latents whose posterior mean varies by more than 0.01 in variance over the rows (Burda et
        al. 2016, arXiv:1509.00519, section 5.2); the others are collapsed.
    """

    loss: float
    nll: float
    kl: float
    median_loss: float
    kl_per_latent: tuple[float, ...]
    active_units: int

    @property
    def by_latent(self) -> dict[str, float]:
        """``held_out_kl_0`` ... as in ``history.csv``."""
        return {f"held_out_kl_{k}": value for k, value in enumerate(self.kl_per_latent)}


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """One epoch.

    Parameters
    ----------
    epoch
        Counted from 1.
    learning_rate
        Of its last step.
    loss, nll, kl
        Means over the training rows as they were trained on, nats per spectrum, ``loss = nll +
        kl``: the paper's loss, whatever `TrainingSettings.free_nats`.  The weights moved meanwhile,
        and the rows had noise added and parts hidden, so that they lie far above the held-out loss
        where there is added noise.
    held_out
        The loss on held-out rows after the epoch.
    seconds
        Wall time of the epoch, held-out loss included.
    spectra_per_s
        Training rows over the wall time of training alone.
    """

    epoch: int
    learning_rate: float
    loss: float
    nll: float
    kl: float
    held_out: HeldOutLoss
    seconds: float
    spectra_per_s: float

    def row(self) -> dict[str, float]:
        """The metrics as one flat row of ``history.csv``."""
        names = ("epoch", "learning_rate", "loss", "nll", "kl", "seconds", "spectra_per_s")
        held_out = ("loss", "nll", "kl", "median_loss")
        return {
            **{name: getattr(self, name) for name in names[:5]},
            **{f"held_out_{name}": getattr(self.held_out, name) for name in held_out},
            **self.held_out.by_latent,
            "active_units": self.held_out.active_units,
            **{name: getattr(self, name) for name in names[5:]},
        }


def history_csv(rows: Iterable[dict[str, float]]) -> str:
    """A header and a line an epoch."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def is_history(data: bytes) -> bool:
    """Whether `history_csv` wrote this; other programs write a ``history.csv``, too."""
    names = data.split(b"\n", 1)[0].strip().split(b",")
    return names == [b"epoch"] or (names[0] == b"epoch" and b"active_units" in names)


@torch.inference_mode()
def held_out_loss(network: NetworkModule, rows: Rows, seed: int) -> HeldOutLoss:
    """The loss on all held-out rows, with the same draws from the posterior every time.

    Parameters
    ----------
    network
        Left in evaluation mode.
    rows
        Standardized spectra, on the network's device.
    seed
        Of the draws.
    """
    n_latents = network.architecture.n_latents
    if len(rows) == 0:
        nan = float("nan")
        return HeldOutLoss(nan, nan, nan, nan, (nan,) * n_latents, 0)
    network.eval()
    generator = torch.Generator(rows.x.device).manual_seed(seed)
    nll, kl, means = [], [], []
    for x, x_err in zip(
        torch.split(rows.x, ROWS_AT_ONCE), torch.split(rows.x_err, ROWS_AT_ONCE), strict=True
    ):
        noise = torch.empty(len(x), n_latents, device=x.device).normal_(generator=generator)
        posterior, reconstruction = network(x, x_err, noise)
        nll.append(reconstruction.nll(x, x_err).double())
        kl.append(posterior.kl_per_latent().double())
        means.append(posterior.mean.double())
    nll_of_row, kl_of_row = torch.cat(nll), torch.cat(kl)  # (N,), (N, L)
    loss_of_row = nll_of_row + kl_of_row.sum(1)
    active = torch.cat(means).var(0, correction=0) > ACTIVE_VARIANCE
    return HeldOutLoss(
        loss_of_row.mean().item(),
        nll_of_row.mean().item(),
        kl_of_row.sum(1).mean().item(),
        loss_of_row.median().item(),
        tuple(kl_of_row.mean(0).tolist()),
        int(active.sum().item()),
    )
