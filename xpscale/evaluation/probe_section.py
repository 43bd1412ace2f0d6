"""The report on labels: what probes read from latents, beside the same probes on all coefficients
and on principal components.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpscale.evaluation.bootstrap import Estimate, of_rows
from xpscale.evaluation.fit_sums import BINS
from xpscale.evaluation.probes import METHODS, METRICS, errors_of, probe
from xpscale.evaluation.sections import Drawing, Section, Table
from xpscale.plots.estimates import binned, whiskers

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from xpscale.evaluation.features import Features

__all__ = ["PUBLISHED", "probe_section"]

ROBUST = METRICS.index("robust σ")
LEAST_IN_BIN = 30
UNITS = {"teff": "K"}

PUBLISHED: dict[str, dict[str, str]] = {
    "Leung & Bovy 2023": {
        "teff": "47 K",
        "logg": "0.11",
        "fe_h": "0.07",
        "metric": '"accuracy", abstract',
        "sample": "APOGEE labels",
        "source": "arXiv:2308.10944",
    },
    "McKay 2025 (MSA)": {
        "teff": "92 K",
        "logg": "0.08",
        "fe_h": "0.09",
        "alpha_m": "0.05",
        "metric": "MAE",
        "sample": "XP with six photometric surveys",
        "source": "thesis, abstract",
    },
    "Zhang, Green & Rix 2023": {
        "teff": "90 K",
        "logg": "0.15",
        "fe_h": "0.15",
        "metric": "typical error",
        "sample": "XP with 2MASS and WISE",
        "source": "talk",
    },
    "Hattori 2025": {
        "fe_h": "0.089",
        "alpha_m": "0.044",
        "metric": "RMSE",
        "sample": "low-extinction regions",
        "source": "arXiv:2404.01269v2",
    },
}
"""What others state, as they state it."""

Residuals = dict[tuple[str, str, str], "NDArray[np.float64]"]


def probe_section(
    features: Features, seed: int = 0, tell: Callable[[str, float], None] | None = None
) -> Section:
    """What probes read.

    Parameters
    ----------
    features
        Of labelled stars; the first ones are those in question.
    seed
        Of probes and bootstrap.
    tell
        Called with what is being done and the fraction of it that is done.
    """
    residuals = _residuals(features, seed, tell)
    group, labels = features.others.group, features.others.labels
    found = {key: of_rows(errors_of, group, values, seed=seed) for key, values in residuals.items()}
    names = list(features.sets)
    tables = {name: _table(name, names, found) for name in labels}
    tables["against_coefficients"] = _ratios(features, residuals, seed)
    tables["published"] = Table(
        "What others state",
        "Their own metric on their own sample, as they state it: not to be ranked with the numbers"
        " above nor with each other.",
        PUBLISHED,
        "work",
    )
    best = {name: _best(name, names[0], found) for name in labels}
    said = "; ".join(f"{name} {estimate} ({method})" for name, (method, estimate) in best.items())
    sentence = (
        f"The best of four probes, chosen on these stars, reads from the {names[0]} of"
        f" {len(group):,} held-out stars, robust sigma: {said}."
    )
    drawings = {
        "robust": _overview(names, list(labels), found),
        **_by_magnitude(features, residuals, seed),
    }
    return Section("labels", "Labels by probes", sentence, tables, drawings)


def _residuals(
    features: Features, seed: int, tell: Callable[[str, float], None] | None
) -> Residuals:
    """Predicted minus true labels of the held-out stars, by label, features and method."""
    found: Residuals = {}
    steps = [(name, method) for name in features.sets for method in METHODS]
    for number, (name, method) in enumerate(steps):
        if tell:
            tell("labels by probes", number / len(steps))
        ours, theirs = features.sets[name]
        predicted = probe(method, ours, features.stars.labels, theirs, seed)
        for label, values in predicted.items():
            found[label, name, method] = values - features.others.labels[label]
    return found


def _table(label: str, names: list[str], found: dict[tuple[str, str, str], Estimate]) -> Table:
    rows = {
        f"{name}: {method}": {
            metric: found[label, name, method][i] for i, metric in enumerate(METRICS)
        }
        for name in names
        for method in METHODS
    }
    unit = f" [{UNITS[label]}]" if label in UNITS else ""
    return Table(
        f"{label}{unit}",
        "Errors over held-out stars, which include the errors of the labels themselves; lower is"
        " better, and bias is the median of predicted minus true.",
        rows,
        "features: probe",
    )


def _best(
    label: str, name: str, found: dict[tuple[str, str, str], Estimate]
) -> tuple[str, Estimate]:
    """The probe with the smallest robust sigma."""
    each = {method: found[label, name, method][ROBUST] for method in METHODS}
    method = min(each, key=lambda one: float(each[one].value))
    return method, each[method]


def _ratios(features: Features, residuals: Residuals, seed: int) -> Table:
    """Robust sigma of each kind of features over that of all coefficients, star by star."""
    names = list(features.sets)
    reference = names[-1]

    def ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
        return float(errors_of(ours)[ROBUST] / errors_of(theirs)[ROBUST])

    rows = {
        f"{name}: {method}": {
            label: of_rows(
                ratio,
                features.others.group,
                residuals[label, name, method],
                residuals[label, reference, method],
                seed=seed,
            )
            for label in features.others.labels
        }
        for name in names[:-1]
        for method in METHODS
    }
    return Table(
        f"Robust sigma over that of the {reference}",
        "Below 1 the features tell the label better than all coefficients do by the same probe; an"
        " interval that holds 1 means that no difference is seen.",
        rows,
        "features: probe",
    )


def _overview(
    names: list[str], labels: list[str], found: dict[tuple[str, str, str], Estimate]
) -> Drawing:
    panels = {
        f"{label}{f' [{UNITS[label]}]' if label in UNITS else ''}": {
            f"{name}: {method}": found[label, name, method][ROBUST].parts
            for name in names
            for method in METHODS
        }
        for label in labels
    }
    return Drawing(
        whiskers(panels),
        "Robust sigma of labels",
        "Lower is better; a whisker is the interval of one line, and the table of ratios compares"
        " lines star by star, which is sharper.",
    )


def _by_magnitude(features: Features, residuals: Residuals, seed: int) -> dict[str, Drawing]:
    edges, stars = BINS["G [mag]"], features.others
    number = np.digitize(stars.magnitude, edges[1:-1])
    drawings = {}
    for label in stars.labels:
        lines = {}
        for name in features.sets:
            each = [
                of_rows(
                    lambda d: errors_of(d)[ROBUST],
                    stars.group[inside],
                    residuals[label, name, "network"][inside],
                    seed=seed,
                ).parts
                if (inside := number == i).sum() >= LEAST_IN_BIN
                else (np.nan,) * 3
                for i in range(len(edges) - 1)
            ]
            low_to_high = np.array(each, np.float64).T
            lines[name] = (low_to_high[0], low_to_high[1], low_to_high[2])
        drawings[f"{label}_by_magnitude"] = Drawing(
            binned({"G [mag]": (edges, lines)}, f"robust σ of {label}"),
            f"{label} by magnitude, network probe",
            "Faint stars are measured worse; bins of fewer than 30 stars are left out.",
        )
    return drawings
