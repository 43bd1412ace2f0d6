"""How many labels does it take?  Labels from latents against labels from coefficients.

    python -m pipelines.label_curves CATALOG STORE TABLE OUT [--columns A,B]

For 100, 1,000 and 10,000 labelled stars: the robust error (1.4826 times the median absolute
residual) of each label on a fifth of the sky, by `xpscale labels` from the catalogue's latents, and
by usual methods from latents, from all coefficients and from their first principal components; each
number is the mean over three draws of labelled stars.  OUT gets label_curves.json and .md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xpscale as xps
from xpscale.labels.label_model import fit_model
from xpscale.labels.label_table import label_columns, values_and_errors
from xpscale.labels.star_latents import StarLatents
from xpscale.labels.workflow import posterior_of
from xpscale.model.scaling import normalized
from xpscale.query.user_table import read_table
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.sky import INDEX_ORDER, healpix_29

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_COMPONENTS = 6
PIXEL_ORDER = 5


def methods(seed: int) -> dict[str, Callable[[], Any]]:
    """Usual regressions, by name.

    Parameters
    ----------
    seed
        Of those that draw at random.
    """
    return {
        "ridge": lambda: RidgeCV(np.logspace(-3, 4, 15)),
        "neighbours": lambda: KNeighborsRegressor(10, weights="distance"),
        "boosted trees": lambda: HistGradientBoostingRegressor(random_state=seed),
        "network": lambda: MLPRegressor(
            hidden_layer_sizes=(128, 128),
            alpha=1e-3,
            early_stopping=True,
            max_iter=300,
            random_state=seed,
        ),
    }


def main(arguments: list[str] | None = None) -> None:
    """Fit, judge, write."""
    options = _options(arguments)
    features, stars, pixel, known = _read(options)
    held_out = HeldOutSplit(0.2, 3, PIXEL_ORDER)
    judged = held_out.is_held_out(*_positions(options.catalog))
    found = []
    for n in options.sizes:
        for draw in range(options.draws):
            taught = np.random.default_rng([n, draw]).permutation(np.flatnonzero(~judged))[:n]
            if len(taught) < n:
                continue
            for name, (values, errors) in known.items():
                rows = {"n": n, "draw": draw, "label": name}
                pair = (values, errors)
                errors_of = _errors(features, stars, pixel, pair, taught, judged, draw)
                found += [rows | {"method": how, "robust": e} for how, e in errors_of.items()]
            print(f"{n:,} labels, draw {draw + 1} of {options.draws}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "label_curves.json").write_text(json.dumps(found, indent=1))
    text = table(found)
    (options.out / "label_curves.md").write_text(text)
    print(text)


def _errors(
    features: dict[str, NDArray[np.float64]],
    stars: StarLatents,
    pixel: NDArray[np.int64],
    known: tuple[NDArray[np.float64], NDArray[np.float64]],
    taught: NDArray[np.int64],
    judged: NDArray[np.bool_],
    seed: int,
) -> dict[str, float]:
    """Robust error by method."""
    values, errors = known
    usable = np.isfinite(values) & np.isfinite(errors)
    taught, asked = taught[usable[taught]], np.flatnonzero(judged & usable)

    def robust(predicted: NDArray[np.float64]) -> float:
        return float(1.4826 * np.median(np.abs(predicted - values[asked])))

    model = fit_model(
        stars.take(taught), {"x": (values[taught], errors[taught])}, pixel[taught], ""
    )
    found = {"latents, xpscale labels": robust(model.predict(stars.take(asked))["x"][0])}
    center, spread = values[taught].mean(), values[taught].std()
    for kind, columns in features.items():
        for name, make in methods(seed).items():
            regression = make_pipeline(StandardScaler(), make())
            regression.fit(columns[taught], (values[taught] - center) / spread)
            found[f"{kind}, {name}"] = robust(center + spread * regression.predict(columns[asked]))
    return found


def _read(
    options: argparse.Namespace,
) -> tuple[
    dict[str, NDArray[np.float64]],
    StarLatents,
    NDArray[np.int64],
    dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
]:
    """Features, latents, pixels and labels of the stars in the order of the catalogue."""
    rows = xps.open_catalog(options.catalog).select()
    table = rows.columns("source_id", "ra", "dec", *posterior_of(rows)).to_table()
    source_id = table["source_id"].to_numpy()
    store = xps.open_store(options.store)
    batches = [store.read(partition) for partition in store.partitions]
    ids = np.concatenate([batch.source_id for batch in batches])
    raw = np.concatenate([normalized(batch) for batch in batches])
    order = np.argsort(ids)
    raw = raw[order[np.searchsorted(ids[order], source_id)]].astype(np.float64)
    stars = StarLatents.of(table)
    scaled = (raw - raw.mean(0)) / raw.std(0)
    components = np.linalg.svd(np.cov(scaled, rowvar=False))[0][:, :N_COMPONENTS]
    features = {"latents": stars.mean, "coefficients": raw, "PCA-6": scaled @ components}
    mine = read_table(options.table)
    place = {int(one): i for i, one in enumerate(mine["source_id"].to_numpy())}
    at = np.array([place.get(int(one), -1) for one in source_id])
    known = {}
    for name, errors in label_columns(mine, options.columns, options.table).items():
        pair = values_and_errors(mine, name, errors)
        known[name] = tuple(np.where(at >= 0, each[at], np.nan) for each in pair)
    pixel = healpix_29(table["ra"].to_numpy(), table["dec"].to_numpy())
    return features, stars, pixel >> 2 * (INDEX_ORDER - PIXEL_ORDER), known  # type: ignore[return-value]


def _positions(catalog: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = xps.open_catalog(catalog).select().columns("ra", "dec").to_table()
    return table["ra"].to_numpy(), table["dec"].to_numpy()


def table(found: list[dict[str, Any]]) -> str:
    """Mean robust errors as Markdown, a row a method, a column a label and number.

    Parameters
    ----------
    found
        ``n``, ``draw``, ``label``, ``method``, ``robust`` of each fit.
    """
    labels = list(dict.fromkeys(one["label"] for one in found))
    sizes = sorted({one["n"] for one in found})
    heads = ["method", *(f"{label}, {n:,}" for label in labels for n in sizes)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for method in dict.fromkeys(one["method"] for one in found):
        cells = [
            np.mean([o["robust"] for o in found if (o["method"], o["label"], o["n"]) == key])
            for key in ((method, label, n) for label in labels for n in sizes)
        ]
        lines.append(f"| {method} | {' | '.join(f'{cell:.3g}' for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("catalog", help="a derived catalogue")
    parser.add_argument("store", help="the spectra that it was made of")
    parser.add_argument("table", help="a table with source_id, labels and their errors")
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument(
        "--columns", type=lambda text: text.split(","), default=[], help="labels: A,B"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 1_000, 10_000], help="numbers of labels"
    )
    parser.add_argument("--draws", type=int, default=3, help="sets of labelled stars of each size")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
