"""A model's figures of merit on held-out spectra, as one row of a table."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.evaluation.latents import n_alive, redundancy
from xpscale.evaluation.reconstruction import calibration, evidence, predict, scatter_ratio
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.sampling.cells import colour_and_magnitude

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.reconstruction import Calibration
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.spectra import SpectraBatch

__all__ = [
    "MAGNITUDES",
    "Scores",
    "as_records",
    "by_colour",
    "by_magnitude",
    "encoded_per_s",
    "scatter_lines",
    "score",
    "table",
]

MAGNITUDES = (8.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0)
"""Edges of the bins of G in mag."""

N_COLOURS = 8
"""Bins of colour, of equal numbers of stars."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One model on one set of held-out spectra.

    Parameters
    ----------
    name
        What the model is called.
    loss, median_loss
        Negative evidence lower bound with one draw of z, mean and median over the spectra, in nats,
        without C/2 ln(2 pi).
    nll
        The same mean with that constant.
    normalized_nll
        That of c / G, in nats per spectrum, whatever the scaling
        (`xpscale.model.scaling.Scaling.log_volume`): comparable between all models.
    kl
        Mean KL divergence, nats.
    alive, n_latents
        Number of latents of at least half a nat, and of all.
    redundancy
        R^2 with which the other latents predict the most redundant one.
    residual_std
        Width of the standardized residuals at one draw of z.
    worst_magnitude_bin, worst_colour_bin
        The same in the bin where it is farthest from 1.
    scatter_ratio, scatter_ratio_range
        Predicted over planted scatter: median over coefficients, and the range of nine tenths of
        them; NaN on real stars.
    scatter_within
        Number of coefficients whose predicted scatter is within 10 % of the planted one, and number
        of coefficients that were compared.
    scatter_ratios
        The ratio of each of these, by name: ``"BP 0"``.
    alpha_mcc
        See `xpscale.evaluation.labels`; NaN without labels.
    encoded_per_s
        Spectra encoded per second, latents only, one thread.
    trained_per_s
        Training spectra per second.
    """

    name: str
    loss: float
    median_loss: float
    nll: float
    normalized_nll: float
    kl: float
    alive: int
    n_latents: int
    redundancy: float
    residual_std: float
    worst_magnitude_bin: float
    worst_colour_bin: float
    scatter_ratio: float
    scatter_ratio_range: tuple[float, float]
    scatter_within: tuple[int, int]
    scatter_ratios: dict[str, float]
    alpha_mcc: float
    encoded_per_s: float
    trained_per_s: float


def score(
    name: str,
    model: TrainedModel,
    batch: SpectraBatch,
    *,
    planted_scatter: NDArray[np.floating] | None = None,
    alpha_mcc: float = math.nan,
    seed: int = 0,
) -> Scores:
    """The figures of merit of a model.

    Parameters
    ----------
    name
        What the model is called.
    model
        The model.
    batch
        Held-out spectra with usable errors.
    planted_scatter
        In the archive's units, with shape (N, C), if it is known.
    alpha_mcc
        Its score on labels, if there are some.
    seed
        Seed of the draws of z.
    """
    judged = evidence(model, batch, seed)
    drawn, at_mean = predict(model, batch, seed), predict(model, batch)
    ratios = np.full(model.n_coefficients, np.nan)
    if planted_scatter is not None:
        unit = model.scaling.std * batch.phot_g_mean_flux[:, None]
        ratios = scatter_ratio(at_mean, planted_scatter / unit)
    known = ratios[np.isfinite(ratios)]
    middle, low, high = np.percentile(known, (50, 5, 95)) if len(known) else (math.nan,) * 3
    nll = judged.loss + model.n_coefficients / 2 * math.log(2 * math.pi)
    return Scores(
        name=name,
        loss=judged.loss,
        median_loss=judged.median_loss,
        nll=nll,
        normalized_nll=nll + model.scaling.log_volume,
        kl=judged.kl,
        alive=n_alive(judged.kl_per_latent),
        n_latents=model.n_latents,
        redundancy=float(redundancy(at_mean.latents).max()),
        residual_std=float(drawn.residuals.std(dtype=np.float64)),
        worst_magnitude_bin=by_magnitude(drawn.residuals, batch).worst,
        worst_colour_bin=by_colour(drawn.residuals, batch).worst,
        scatter_ratio=float(middle),
        scatter_ratio_range=(float(low), float(high)),
        scatter_within=(int((np.abs(known - 1) <= 0.1).sum()), len(known)),
        scatter_ratios=_by_name(ratios, model),
        alpha_mcc=alpha_mcc,
        encoded_per_s=encoded_per_s(model, batch),
        trained_per_s=float(model.card.metrics.get("spectra_per_s", math.nan)),
    )


def _by_name(ratios: NDArray[np.float64], model: TrainedModel) -> dict[str, float]:
    known = np.flatnonzero(np.isfinite(ratios)).tolist()
    return {model.bands.label(j): float(ratios[j]) for j in known}


def _colour_and_magnitude(
    batch: SpectraBatch,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return colour_and_magnitude(batch.coefficients, batch.phot_g_mean_flux, batch.bands)


def by_magnitude(residuals: NDArray[np.float32], batch: SpectraBatch) -> Calibration:
    """Width of the standardized residuals in bins of G.

    Parameters
    ----------
    residuals
        With shape (N, C).
    batch
        The N spectra.
    """
    return calibration(residuals, _colour_and_magnitude(batch)[1], MAGNITUDES)


def by_colour(residuals: NDArray[np.float32], batch: SpectraBatch) -> Calibration:
    """Width of the standardized residuals in eight bins of BP - RP with equal numbers of stars.

    Parameters
    ----------
    residuals
        With shape (N, C).
    batch
        The N spectra.
    """
    colour = _colour_and_magnitude(batch)[0]
    edges = np.quantile(colour[np.isfinite(colour)], np.linspace(0, 1, N_COLOURS + 1))
    edges[-1] = np.nextafter(edges[-1], np.inf)
    return calibration(residuals, colour, edges)


def encoded_per_s(model: TrainedModel, batch: SpectraBatch, repeats: int = 3) -> float:
    """Spectra encoded per second: latents alone, one thread, nothing read or written.

    Parameters
    ----------
    model
        The model.
    batch
        The spectra.
    repeats
        Number of measurements, of which the best counts.
    """
    encode = ScatterVAEEncoder(model, ("latents",), "cpu")
    seconds = []
    for _ in range(repeats):
        clock = time.perf_counter()
        encode(batch)
        seconds.append(time.perf_counter() - clock)
    return len(batch) / min(seconds)


HEADS: dict[str, Callable[[Scores], str]] = {
    "model": lambda s: s.name,
    "loss": lambda s: f"{s.loss:.1f}",
    "median": lambda s: f"{s.median_loss:.1f}",
    "NLL": lambda s: f"{s.nll:.1f}",
    "NLL of c/G": lambda s: f"{s.normalized_nll:.1f}",
    "KL": lambda s: f"{s.kl:.1f}",
    "alive": lambda s: f"{s.alive} of {s.n_latents}",
    "max R2": lambda s: f"{s.redundancy:.2f}",
    "residual std": lambda s: f"{s.residual_std:.3f}",
    "worst G bin": lambda s: f"{s.worst_magnitude_bin:.3f}",
    "worst colour bin": lambda s: f"{s.worst_colour_bin:.3f}",
    "scatter / planted": lambda s: (
        f"{s.scatter_ratio:.2f} ({s.scatter_ratio_range[0]:.2f} to {s.scatter_ratio_range[1]:.2f})"
    ),
    "within 10 %": lambda s: "{} of {}".format(*s.scatter_within) if s.scatter_within[1] else "nan",
    "alpha MCC": lambda s: f"{s.alpha_mcc:.2f}",
    "encoded/s": lambda s: f"{s.encoded_per_s:,.0f}",
    "trained/s": lambda s: f"{s.trained_per_s:,.0f}",
}


def table(scores: Sequence[Scores]) -> str:
    """The scores as a Markdown table; columns that are NaN for all models are left out."""
    rows = [{head: text(one) for head, text in HEADS.items()} for one in scores]
    heads = [head for head in HEADS if any("nan" not in row[head] for row in rows)]
    lines = [heads, ["---"] * len(heads), *([row[head] for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def scatter_lines(scores: Iterable[Scores]) -> str:
    """Predicted over planted scatter, coefficient by coefficient, a line a model."""
    return "\n".join(
        f"{one.name}: "
        + ", ".join(f"{name} {ratio:.2f}" for name, ratio in one.scatter_ratios.items())
        for one in scores
    )


def as_records(scores: Iterable[Scores]) -> list[dict[str, object]]:
    """The scores as JSON can hold them."""
    return [asdict(one) for one in scores]
