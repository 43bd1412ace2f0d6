"""The data of the tutorials: a small `demo-out`, of simulated stars, made in some seconds.

    python docs/example.py

`make demo` makes the same folders of 39,410 real stars; if there is a `demo-out` next to README.md
the tutorials use that one.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import xpscale as xps
from xpscale.demo.synthetic import synthetic_stars
from xpscale.errors import ConflictError
from xpscale.spectra import SpectraBatch
from xpscale.training.settings import TrainingSettings


def make_example(folder: Path, n_stars: int = 6_000, epochs: int = 8) -> None:
    """Spectra, labels, store, model and catalogue in a folder; what is there is kept.

    Parameters
    ----------
    folder
        Where they go.
    n_stars
        Number of simulated stars.
    epochs
        Passes of the training over them.
    """
    spectra, labels = synthetic_stars(n_stars)
    if not (folder / "spectra").exists():
        (folder / "spectra").mkdir(parents=True)
        pq.write_table(_table(spectra), folder / "spectra" / "part-000.parquet")
        pq.write_table(labels, folder / "labels.parquet")
    store, model, catalog = (str(folder / name) for name in ("store", "model", "catalog"))
    xps.run_ingest(xps.plan_ingest(str(folder / "spectra"), store))
    reader = xps.open_spectra(store)
    xps.train(reader, model, replace(TrainingSettings(), epochs=epochs))
    xps.infer(reader, model, catalog)


def _table(spectra: SpectraBatch) -> pa.Table:
    columns = {name: getattr(spectra, name) for name in ("source_id", "ra", "dec")}
    columns["phot_g_mean_flux"] = spectra.phot_g_mean_flux
    for name in ("coefficients", "coefficient_errors"):
        for band in ("bp", "rp"):
            values = getattr(spectra, name)[:, getattr(spectra.bands, band)]
            columns[f"{band}_{name}"] = list(values)
    return pa.table(columns)


if __name__ == "__main__":
    docs = Path(__file__).resolve().parent
    place, real = docs / "tutorials" / "demo-out", docs.parent / "demo-out"
    if not place.exists() and (real / "catalog").exists():
        place.symlink_to(real)
    if not place.is_symlink():
        try:
            make_example(place)
        except ConflictError:  # another version of xpscale made what is there
            shutil.rmtree(place)
            make_example(place)
