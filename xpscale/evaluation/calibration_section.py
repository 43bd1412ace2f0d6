"""The report on scatter and posterior: whether errors that are stated are errors that are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.evaluation.bootstrap import of_rows
from xpscale.evaluation.fit_sums import BINS, COEFFICIENT, COVERAGES, PIT_BINS, bin_name
from xpscale.evaluation.reconstruction import predict
from xpscale.evaluation.sections import Drawing, Section, Table
from xpscale.evaluation.simulation import simulate
from xpscale.plots.estimates import binned, curves, matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.bootstrap import Estimate
    from xpscale.evaluation.fit_sums import FitSums
    from xpscale.evaluation.judged_stars import Stars
    from xpscale.evaluation.label_tables import LabelTable
    from xpscale.model.checkpoint import TrainedModel

    Parts = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

__all__ = ["calibration_section", "scatter_ratio"]

MIN_ROWS = 30


def calibration_section(
    sums: Mapping[str, FitSums], judged: Stars, labels: LabelTable | None = None, seed: int = 0
) -> Section:
    """Coverage of predicted spectra and of posteriors.

    Parameters
    ----------
    sums
        Of each model on all held-out stars, by name; the first is the one in question.
    judged
        Held-out stars.
    labels
        May hold the planted scatter of a synthetic universe.
    seed
        Of all that is random.
    """
    name, first = next(iter(sums.items()))
    tables = {"coverage": _coverage(sums, seed), "simulation": _simulated(sums, judged, seed)}
    if labels is not None and labels.true_scatter is not None:
        tables["planted_scatter"] = _planted(sums, judged, labels, seed)
    width = {model: found.mean("r2", seed=seed).map(np.sqrt) for model, found in sums.items()}
    sentence = (
        f"Standardized residuals of {name} at one draw of the latents, over all coefficients of"
        f" {first.n_rows:,} held-out spectra, have a width of {width[name]}, where 1 is right;"
        f" {first.mean('within 0.6827', seed=seed)} of them lie within one standard deviation,"
        " where 0.683 is right."
    )
    return Section(
        "calibration", "Scatter and posterior", sentence, tables, _drawings(sums, first, seed)
    )


def _coverage(sums: Mapping[str, FitSums], seed: int) -> Table:
    rows = {
        name: {
            "width": found.mean("r2", seed=seed).map(np.sqrt),
            "mean": found.mean("r", seed=seed),
            **{f"{share:g}": found.mean(f"within {share:g}", seed=seed) for share in COVERAGES},
        }
        for name, found in sums.items()
    }
    return Table(
        "Coverage of standardized residuals",
        "Each column should show the share in its head: more means errors or scatter that are too"
        " large, less that they are too small. Errors and scatter are judged together.",
        rows,
        "model",
    )


def _simulated(sums: Mapping[str, FitSums], judged: Stars, seed: int) -> Table:
    rows: dict[str, dict[str, Estimate]] = {}
    for name, found in sums.items():
        for around, where in ((False, "drawn from the prior"), (True, "like the stars")):
            drawn = simulate(found.model, judged, seed, around)
            shares = {
                share: of_rows(
                    lambda rows: rows.mean(0), judged.group, drawn.covered(share), seed=seed
                )
                for share in (0.6827, 0.9545)
            }
            rows[f"{name}: {where}"] = {
                "all latents, 0.6827": shares[0.6827][0],
                "all latents, 0.9545": shares[0.9545][0],
                **{f"latent {k}, 0.6827": shares[0.6827][1 + k] for k in range(drawn.u.shape[1])},
            }
    return Table(
        "Posterior coverage on simulated spectra",
        "The share of simulated spectra whose true latents lie in the region that should hold 0.683"
        " or 0.955 of them: the encoder against its own decoder (simulation-based calibration).",
        rows,
        "latents",
    )


def _planted(sums: Mapping[str, FitSums], judged: Stars, labels: LabelTable, seed: int) -> Table:
    """Predicted over planted scatter, where the truth is known."""
    assert labels.true_scatter is not None
    stars = judged.take(np.flatnonzero(labels.rows_of(judged.batch.source_id) >= 0))
    planted = labels.true_scatter[labels.rows_of(stars.batch.source_id)]
    rows = {}
    for name, found in sums.items():
        model: TrainedModel = found.model
        unit = model.scaling.std * stars.batch.phot_g_mean_flux[:, None]
        made = predict(model, stars.batch)
        got = of_rows(_ratios, stars.group, made.x_err, made.scatter, planted / unit, seed=seed)
        rows[name] = {
            "predicted / planted, median": got[0],
            "coefficients within 10 %": got[1],
            "coefficients compared": int(got.value[2]),
        }
    return Table(
        "Scatter against the truth",
        "On a synthetic universe the intrinsic scatter is known: 1 is right, over the coefficients"
        " whose scatter exceeds the error in at least 30 stars.",
        rows,
        "model",
    )


def _ratios(
    x_err: NDArray[np.floating], scatter: NDArray[np.floating], planted: NDArray[np.floating]
) -> list[Any]:
    """The median of `scatter_ratio`, the share within 10 %, and how many are known."""
    found = scatter_ratio(x_err, scatter, planted)
    known = found[np.isfinite(found)]
    return [np.median(known), np.mean(np.abs(known - 1) < 0.1), len(known)]


def scatter_ratio(
    x_err: NDArray[np.floating], scatter: NDArray[np.floating], planted: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Predicted over planted scatter of each coefficient, where the planted one exceeds the error,
    with shape (C,); NaN where it does in fewer than 30 spectra.

    Root mean squares over the spectra are compared, since variances add up.

    Parameters
    ----------
    x_err, scatter
        Errors of spectra of a synthetic universe and the predicted scatter, with shape (N, C).
    planted
        Their planted scatter, in the same units, with shape (N, C).
    """
    exceeds = planted > x_err
    above, below = (
        np.where(exceeds, np.asarray(values, np.float64) ** 2, 0).sum(0)
        for values in (scatter, planted)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(exceeds.sum(0) >= MIN_ROWS, np.sqrt(above / below), np.nan)


def _drawings(sums: Mapping[str, FitSums], first: FitSums, seed: int) -> dict[str, Drawing]:
    def widths(by: str) -> dict[str, Parts]:
        return {name: found.mean("r2", by, seed).map(np.sqrt).parts for name, found in sums.items()}

    label = "width of standardized residuals"
    return {
        "pit": _pit(sums, seed),
        "width_by_bins": Drawing(
            binned({name: (edges, widths(name)) for name, edges in BINS.items()}, label, 1.0),
            "Standardized residuals by magnitude, colour and density",
            "1 is right; a trend means that errors or scatter are wrong for some stars.",
        ),
        "width_by_coefficient": Drawing(
            curves(
                np.arange(first.model.n_coefficients),
                widths(COEFFICIENT),
                ("coefficient: BP, then RP", label),
                reference=1.0,
            ),
            "Standardized residuals by coefficient",
            "1 is right; below it the errors of that coefficient are overestimated.",
        ),
        "width_map": _map(first),
    }


def _pit(sums: Mapping[str, FitSums], seed: int) -> Drawing:
    edges = np.linspace(0, 1, PIT_BINS + 1)
    pit = {name: found.pit_histogram(seed).parts for name, found in sums.items()}
    labels = ("Φ(r), quantile of the observed coefficient", "density")
    return Drawing(
        curves(edges, pit, labels, reference=1.0, steps=True),
        "Probability integral transform",
        "Flat at 1 if predicted distributions are right; a hump means errors too large, a bowl"
        " errors too small, peaks at both ends tails that a Gaussian does not have.",
    )


def _map(sums: FitSums) -> Drawing:
    edges = BINS["G [mag]"]
    widths = sums.width_map()
    there = np.flatnonzero(np.isfinite(widths).any(1)).tolist()
    return Drawing(
        matrix(
            widths[there],
            [bin_name("G", edges, i) for i in there],
            [sums.model.bands.label(j) for j in range(sums.model.n_coefficients)],
            "width of standardized residuals",
            limits=(0.5, 1.5),
            printed=False,
            diverging=True,
        ),
        "Standardized residuals by magnitude and coefficient",
        "Red: errors and scatter together are too small there; blue: too large; blank: fewer than"
        " 30 values.",
    )
