"""The report on reconstruction: how far observed spectra are from a model's, by magnitude, colour,
density of training objects, coefficient and wavelength, and beside simpler models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from xpscale.errors import PermanentError
from xpscale.evaluation.baselines import Fit, LabelModel, LinearModel
from xpscale.evaluation.bootstrap import Estimate, of_rows
from xpscale.evaluation.fit_sums import BINS, COEFFICIENT, bin_name
from xpscale.evaluation.flux_residuals import flux_drawings
from xpscale.evaluation.reconstruction import predict, standardized
from xpscale.evaluation.sections import Drawing, Section, Table
from xpscale.model.scaling import Scaling
from xpscale.plots.estimates import binned, curves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.fit_sums import FitSums
    from xpscale.evaluation.judged_stars import Stars
    from xpscale.model.checkpoint import TrainedModel

__all__ = ["compared_fits", "fit_section"]

N_COMPONENTS = 6


def fit_section(
    sums: Mapping[str, FitSums], training: Stars, judged: Stars, seed: int = 0
) -> Section:
    """How well spectra are reconstructed.

    Parameters
    ----------
    sums
        Of each model on all held-out stars, by the model's name; the first is the one in question.
    training, judged
        Stars outside and inside of the held-out sky.
    seed
        Of all that is random.
    """
    name, first = next(iter(sums.items()))
    tables = {"overall": _overall(sums, seed), "bins": _bins(first, seed)}
    panels = {}
    for quantity, edges in BINS.items():
        chi = {one: found.mean("chi", quantity, seed).map(np.sqrt) for one, found in sums.items()}
        panels[quantity] = edges, {one: found.parts for one, found in chi.items()}
    drawings = {
        "chi_by_bins": Drawing(
            binned(panels, "rms of (x − x̂) / √(σ² + s²)", 1.0),
            "Misfit with scatter, by magnitude, colour and density of training objects",
            "At 1 (line) residuals are as large as measurement errors and scatter say; a little"
            " less is expected, because the posterior mean was chosen by looking at the spectrum.",
        ),
        "chi_by_coefficient": _by_coefficient(first, seed),
    }
    models = {label: found.model for label, found in sums.items()}
    fits = compared_fits(models, training, judged, seed)
    tables["baselines"] = _baselines(fits, judged, bool(judged.labels), seed)
    try:
        drawings |= flux_drawings(first.model, judged, seed)
    except PermanentError as error:  # GaiaXPy is an extra
        note = f" Residuals against wavelength are left out: {error.message}."
    else:
        note = ""
    overall = first.mean("chi", seed=seed).map(np.sqrt)
    alone = first.mean("chi0", seed=seed).map(np.sqrt)
    sentence = (
        f"On {first.n_rows:,} held-out spectra the residuals of {name} have an rms of {overall} in"
        f" units of measurement error and scatter together, and {alone} in units of the error"
        f" alone.{note}"
    )
    return Section("reconstruction", "Reconstruction", sentence, tables, drawings)


def _overall(sums: Mapping[str, FitSums], seed: int) -> Table:
    rows = {}
    for name, found in sums.items():
        terms, model = found.per_spectrum(seed), found.model
        constant = model.n_coefficients / 2 * np.log(2 * np.pi) + model.scaling.log_volume
        rows[name] = {
            "loss [nats]": terms["loss"],
            "nll": terms["nll"],
            "KL": terms["kl"],
            "−ln p(c/G) [nats]": _shifted(terms["loss"], constant),
            "chi": found.mean("chi", seed=seed).map(np.sqrt),
            "chi, errors alone": found.mean("chi0", seed=seed).map(np.sqrt),
        }
    return Table(
        "All held-out spectra",
        "The loss is the negative evidence lower bound with one draw of the latents; only"
        " −ln p(c/G) compares models of different scalings, and lower is better.",
        rows,
        "model",
    )


def _shifted(found: Estimate, by: float) -> Estimate:
    return found.map(lambda part: part + by)


def _bins(sums: FitSums, seed: int) -> Table:
    rows = {}
    for quantity, edges in BINS.items():
        kinds = {kind: sums.mean(kind, quantity, seed) for kind in ("chi", "chi0")}
        n = sums.by[quantity][..., 0].sum(0)
        for i in np.flatnonzero(n).tolist():
            rows[bin_name(quantity, edges, i)] = {
                "spectra": f"{n[i] / sums.model.n_coefficients:,.0f}",
                "chi": kinds["chi"][i].map(np.sqrt),
                "chi, errors alone": kinds["chi0"][i].map(np.sqrt),
            }
    return Table(
        "Misfit with and without scatter",
        "Where the errors alone leave a chi far above 1, the scatter carries what six latents do"
        " not; with it chi should be near 1 in every bin.",
        rows,
        "bin",
    )


def _by_coefficient(sums: FitSums, seed: int) -> Drawing:
    found = {
        label: sums.mean(kind, COEFFICIENT, seed).map(np.sqrt).parts
        for label, kind in (("with scatter", "chi"), ("errors alone", "chi0"))
    }
    model, x = sums.model, np.arange(sums.model.n_coefficients)
    return Drawing(
        curves(x, found, ("coefficient: BP, then RP", "chi"), reference=1.0, log=True),
        "Misfit of every coefficient",
        f"BP 0 to {model.bands.n_bp - 1}, then RP from {model.bands.n_bp} on: leading coefficients"
        " are measured best, so there the errors alone explain least.",
    )


def compared_fits(
    models: Mapping[str, TrainedModel], training: Stars, judged: Stars, seed: int = 0
) -> dict[str, Fit]:
    """What models and baselines, trained on the same stars, say of judged stars, in one scaling:
    that of the training stars.

    Parameters
    ----------
    models
        By name.
    training, judged
        Stars; those with labels only, if there are labels.
    seed
        Of networks and draws.
    """
    if judged.labels:
        training, judged = training.labelled, judged.labelled
    scaling = Scaling.fit([training.batch])
    (x, x_err), (y, y_err) = (_in(scaling, stars) for stars in (training, judged))
    fits = {name: _as_fit(model, judged, scaling, seed) for name, model in models.items()}
    linear = LinearModel.train(x, x_err, N_COMPONENTS)
    fits[f"{N_COMPONENTS} linear latents"] = linear.fit_of(y, y_err, {})
    if judged.labels:
        for kind in ("quadratic", "network"):
            by_labels = LabelModel.train(kind, x, x_err, training.labels, seed)
            fits[f"labels, {kind}"] = by_labels.fit_of(y, y_err, judged.labels)
    return fits


def _in(scaling: Scaling, stars: Stars) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, x_err = scaling.standardize(stars.batch)
    assert x_err is not None
    return x.astype(np.float64), np.where(np.isfinite(x_err), x_err, 1e6).astype(np.float64)


def _as_fit(model: TrainedModel, stars: Stars, scaling: Scaling, seed: int) -> Fit:
    """A model's reconstruction at the posterior mean and its loss, in another scaling."""
    import torch

    found = predict(model, stars.batch)
    ratio = model.scaling.std / scaling.std
    mean = found.mean * ratio + (model.scaling.mean - scaling.mean) / scaling.std
    data = tuple(map(torch.from_numpy, standardized(model, stars.batch)))
    with torch.inference_mode():
        posterior = model.network.encode(*data)
        drawn = model.network.decode(posterior.sample(torch.Generator().manual_seed(seed)))
        loss = (drawn.nll(*data) + posterior.kl()).double().numpy()
    constant = model.n_coefficients / 2 * np.log(2 * np.pi)
    return Fit(mean, found.scatter * ratio, loss + constant + np.log(ratio).sum())


def _baselines(fits: Mapping[str, Fit], judged: Stars, labelled: bool, seed: int) -> Table:
    stars = judged.labelled if labelled else judged
    rows = {}
    reference: NDArray[np.float64] | None = None
    for name, fit in fits.items():
        reference = fit.nll if reference is None else reference
        rows[name] = {
            "−ln p(x), mean": of_rows(np.mean, stars.group, fit.nll, seed=seed),
            "−ln p(x), median": of_rows(np.median, stars.group, fit.nll, seed=seed),
            "worse by, median": of_rows(np.median, stars.group, fit.nll - reference, seed=seed),
        }
    return Table(
        f"Beside simpler models, {len(stars):,} held-out stars",
        "Nats per spectrum in one common scaling, lower is better; the last column is star by star"
        " against the first model. Models with latents are given the spectrum and pay for it by"
        " their prior; models by labels are given the labels and not the star's extinction.",
        rows,
        "model",
    )
