"""The demo's figures: sky, latents against labels, spectra, training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError, PermanentError
from xpscale.plots.colour import Colour
from xpscale.plots.latents import latents
from xpscale.plots.sky import sky
from xpscale.plots.spectra import spectra
from xpscale.plots.style import save
from xpscale.plots.training import training_curve
from xpscale.query.aggregate import sky_map
from xpscale.query.reconstruct import reconstruct

if TYPE_CHECKING:
    import pyarrow as pa

    from xpscale.query.catalog import Catalog
    from xpscale.store.reader import SpectraStore

__all__ = ["draw_figures"]

# Four kinds of stars to show a spectrum of: name, and the labels (Teff in K, logg in dex) nearest
# to which one is chosen.
KINDS = {
    "hot dwarf": (7000, 4.1),
    "solar type": (5770, 4.4),
    "red clump giant": (4800, 2.4),
    "cool dwarf": (3700, 4.7),
}


def draw_figures(
    catalog: Catalog, store: SpectraStore, labels: pa.Table, folder: Path
) -> list[Path]:
    """Write four figures below ``folder/figures``; returns their paths.

    Parameters
    ----------
    catalog
        The derived catalogue.
    store
        The spectra store that it was made from.
    labels
        ``source_id``, ``teff`` in K, ``logg`` and ``fe_h`` in dex; NaN where unknown.
    folder
        The demo's folder, with the model in ``model``.
    """
    (folder / "figures").mkdir(exist_ok=True)
    provenance = catalog.provenance("")
    drawn: dict[str, Any] = {
        "sky": _sky(catalog, provenance),
        "latents": _latents(catalog, labels, provenance),
        "spectra": _spectra(catalog, store, labels, provenance),
        "training": training_curve(folder / "model" / "history.csv")[0],
    }
    paths = []
    for name, figure in drawn.items():
        paths.append(folder / "figures" / f"{name}.png")
        save(figure, paths[-1])
    return paths


def _sky(catalog: Catalog, provenance: dict[str, str]) -> Any:
    counts = sky_map(catalog)
    return sky(counts.pixels, counts.values, counts.order, provenance=provenance)[0]


def _latents(catalog: Catalog, labels: pa.Table, provenance: dict[str, str]) -> Any:
    table = catalog.select().to_table()
    ids = labels["source_id"].to_numpy()
    teff = Colour(labels["teff"].to_numpy(), "$T_\\mathrm{eff}$ [K]", ids, "plasma")
    fe_h = Colour(labels["fe_h"].to_numpy(), "[Fe/H]", ids, "viridis")
    return latents(table, teff, fe_h, provenance=provenance)[0]


def _spectra(
    catalog: Catalog, store: SpectraStore, labels: pa.Table, provenance: dict[str, str]
) -> Any:
    chosen = _one_of_each_kind(labels)
    found = reconstruct(catalog.at(list(chosen.values())))
    observed = store.find(chosen.values())
    words = list(chosen)
    try:
        from xpscale.query.wavelength import sample_batch

        return spectra(
            found.at_wavelengths(),
            sample_batch(observed, store.release),
            labels=words,
            provenance=provenance,
        )[0]
    except (PermanentError, InvalidInputError):
        # no GaiaXPy, or no calibration for these bases: draw the coefficients
        return spectra(found, observed, labels=words, provenance=provenance)[0]


def _one_of_each_kind(labels: pa.Table) -> dict[str, int]:
    """source_id of the star nearest to each of `KINDS`."""
    teff, logg, ids = (labels[name].to_numpy() for name in ("teff", "logg", "source_id"))
    known = np.isfinite(teff) & np.isfinite(logg)
    chosen = {}
    for name, (kind_teff, kind_logg) in KINDS.items():
        distance = np.where(
            known, np.hypot((teff - kind_teff) / 200, (logg - kind_logg) / 0.2), np.inf
        )
        chosen[name] = int(ids[np.argmin(distance)])
    return chosen
