"""The numerics contract as a table: how far float32, TF32 and bfloat16 are from float64, on genuine
and on hostile rows.

Genuine are the 2,051 usable spectra of the archive's mirror and 32,388 of APOGEE stars, where
``$XPSCALE_DATA`` or ../shared/data has them; the published weights, their scaling fitted on the
APOGEE stars.  TF32 and bfloat16 are emulated: what goes into matrix products is rounded to 10 and 7
bits of mantissa.  Where there is a GPU, so are its numbers: as xpscale uses it, and with TF32
switched on behind the encoder's back."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from tests.support.exact import column_arrays, exact_columns, hostile_rows, rounded_products
from tests.support.numerics import MAX_DEVIATION, MAX_DEVIATION_HOSTILE, deviations
from xpscale.bands import Bands
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.published import import_published
from xpscale.model.scaling import Scaling, trainable_rows
from xpscale.spectra import SpectraBatch

DATA = Path(os.environ.get("XPSCALE_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
N_HOSTILE = 20_000
UNITS = {
    "latent_mean": "relative, absolute below 1",
    "latent_mean_sigmas": "posterior sigmas",
    "latent_log_var": "absolute",
    "reconstruction": "sqrt(err^2 + s^2)",
    "scatter": "sqrt(err^2 + s^2)",
    "nll": "relative, absolute below 1",
    "reduced_chi2": "relative, absolute below 1",
    "kl": "relative, absolute below 1",
}


def main() -> None:
    """Print the table."""
    if not DATA.is_dir():
        print("skipped: no ../shared/data and no $XPSCALE_DATA")
        return
    library = _library()
    model = import_published(DATA / "published_model/weight.pt", Scaling.fit([library]))
    rows = {"archive": _archive(), "library": library, "hostile": hostile_rows(library, N_HOSTILE)}
    encoder = ScatterVAEEncoder(model, ("latents", "reconstruction", "scatter"), "cpu")
    table = {name: _deviations(model, encoder, batch) for name, batch in rows.items()}
    both = library.take(slice(0, None, 4))
    for name, n_bits in (("TF32", 10), ("bfloat16", 7)):
        with rounded_products(n_bits):
            table[name] = _deviations(model, encoder, both)
    if torch.cuda.is_available():
        on_gpu = ScatterVAEEncoder(model, ("latents", "reconstruction", "scatter"), "cuda")
        table |= {f"{name}, GPU": _deviations(model, on_gpu, batch) for name, batch in rows.items()}
        torch.set_float32_matmul_precision("high")
        table["TF32, GPU"] = _deviations(model, on_gpu, both)
        torch.set_float32_matmul_precision("highest")
    print(
        ", ".join(f"{name}: {len(batch):,} rows" for name, batch in rows.items())
        + f"; TF32, bfloat16: {len(both):,}\n"
    )
    print(
        f"| {'column':18} | {'unit':26} | "
        + " | ".join(f"{name:>17}" for name in table)
        + " | contract | hostile |"
    )
    print("|---" * (len(table) + 4) + "|")
    for column, unit in UNITS.items():
        cells = [
            f"{found[column].max():.1e} ({np.percentile(found[column], 99):.1e})"
            for found in table.values()
        ]
        limits = f"{MAX_DEVIATION[column]:.0e} | {MAX_DEVIATION_HOSTILE.get(column, np.nan):.0e}"
        print(f"| {column:18} | {unit:26} | " + " | ".join(cells) + f" | {limits} |")


def _deviations(
    model: TrainedModel, encoder: ScatterVAEEncoder, batch: SpectraBatch
) -> dict[str, np.ndarray]:
    return deviations(
        column_arrays(encoder(batch)), exact_columns(model, batch), batch.coefficient_errors
    )


def _library() -> SpectraBatch:
    table = pq.read_table(DATA / "apogee_library.parquet")
    c, e = (
        table[name].combine_chunks().flatten().to_numpy().reshape(len(table), -1).astype(np.float32)
        for name in ("coefficients", "coefficient_errors")
    )
    nowhere, flux = np.zeros(len(table)), table["phot_g_mean_flux"].to_numpy().astype(np.float64)
    batch = SpectraBatch(table["source_id"].to_numpy(), nowhere, nowhere, flux, c, e, Bands(55, 55))
    return batch.take(trainable_rows(batch))


def _archive() -> SpectraBatch:
    with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder:
        store, _ = run_ingest(plan_ingest(str(DATA / "archive"), f"{folder}/store"))
        batch = SpectraBatch.concatenate([store.read(partition) for partition in store.partitions])
    return batch.take(trainable_rows(batch))


if __name__ == "__main__":
    main()
