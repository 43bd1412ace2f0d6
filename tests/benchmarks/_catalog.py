"""A catalogue of any size in the likeness of a small one, such as that of ``make demo``.

``python -m tests.benchmarks._catalog SMALL OUT N_SOURCES`` writes it: sources all over a sky of
realistic densities, each with the latents of one of the small catalogue's within their errors and
with the spectrum that its model decodes from them.  Identifiers carry positions that are wrong by
an arcsecond, so some sources are movers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

import xpscale as xps
from xpscale.catalog.commit import commit
from xpscale.catalog.identity import claim
from xpscale.catalog.layout import MODEL
from xpscale.catalog.manifest import Manifest, RunIdentity
from xpscale.catalog.sink import BLOCK_ROWS, ParquetSink
from xpscale.model.checkpoint import load_model
from xpscale.model.decoder import Decoder
from xpscale.query.convert import array
from xpscale.query.posterior import latent_covariance
from xpscale.sky import Pixel, healpix_29
from xpscale.storage import Storage
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions
from xpscale.testing.sky_density import DENSITY_ORDER, pixel_centers_deg, source_counts
from xpscale.types import Part

ERROR_DEG = 1 / 3600
SEED = 3


def write_catalog(small: str, out: str, n_sources: int) -> None:
    """Write and publish the catalogue."""
    given, storage = xps.open_catalog(small), Storage(out)
    model = load_model(given.storage / MODEL)
    rng = np.random.default_rng(SEED)
    index = positions(n_sources, rng)
    counts = np.bincount(index >> 2 * (29 - COUNT_ORDER), minlength=12 * 4**COUNT_ORDER)
    partitions = adaptive_partitions(counts)
    identity = replace(given.identity, n_tasks=len(partitions))
    claim(storage, identity)
    model.save(storage / MODEL)
    sink, parts = ParquetSink(storage, identity.layout), list[Part]()
    likeness = given.select().to_table()
    for partition in partitions:
        start, stop = np.searchsorted(index, partition.pixel.index_range)
        filling = sink.open(partition.pixel)
        for block in range(start, stop, BLOCK_ROWS):
            there = index[block : min(block + BLOCK_ROWS, stop)]
            filling.append(rows(there, likeness, model.decoder, identity, rng))
        parts += filling.finish()
        print(f"{partition.pixel}: {stop - start:,} rows", flush=True)
    commit(storage, Manifest(identity, tuple(parts), n_sources), f"in the likeness of {small}")


def positions(n_sources: int, rng: np.random.Generator) -> np.ndarray:
    """``_healpix_29`` of the sources, sorted."""
    counts, width = source_counts(n_sources, SEED), Pixel(DENSITY_ORDER, 0).index_range[1]
    pixels = np.repeat(np.arange(len(counts)), counts)
    return np.sort(pixels * width + rng.integers(0, width, n_sources))


def rows(
    index: np.ndarray,
    likeness: pa.Table,
    decoder: Decoder,
    identity: RunIdentity,
    rng: np.random.Generator,
) -> pa.Table:
    """The columns of all outputs for sources at some positions."""
    n, latents = len(index), range(identity.n_latents)
    table = likeness.take(rng.integers(0, likeness.num_rows, n))
    root = np.linalg.cholesky(latent_covariance(table))
    z = np.stack([array(table[f"latent_mean_{i}"]) for i in latents], 1)
    z = (z + (root @ rng.normal(size=(n, len(latents), 1)))[..., 0]).astype(np.float32)
    flux = array(table["phot_g_mean_flux"]) * rng.uniform(0.8, 1.25, n)
    mean, scatter = decoder.decode(z, flux)
    ra, dec = pixel_centers_deg(index, 29)
    early = healpix_29(ra, np.clip(dec + rng.normal(0, ERROR_DEG, n), -90, 90))
    values = {
        "_healpix_29": index,
        "source_id": (early >> 34 << 35) + rng.permutation(n) * 2**15 + rng.integers(0, 2**15, n),
        "ra": ra,
        "dec": dec,
        "phot_g_mean_flux": flux,
        **{f"latent_mean_{i}": z[:, i] for i in latents},
        "reconstruction": mean,
        "scatter": scatter,
    }
    columns = {c.name: c for product in identity.products for c in identity.columns(product)}
    return pa.table(
        {
            name: _column(
                values.get(name, table[name] if name in likeness.column_names else None),
                column.type,
                rng,
            )
            for name, column in columns.items()
        }
    )


def _column(values: object, kind: pa.DataType, rng: np.random.Generator) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = array(values)
        if values.dtype.kind == "f":  # numbers of other last digits, or they would compress
            values = values * rng.uniform(0.999, 1.001, len(values))
    assert isinstance(values, np.ndarray)
    if values.ndim == 1:
        return pa.array(values).cast(kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel().astype(np.float32)), type=kind)


def main(arguments: Iterator[str]) -> None:
    """Write the catalogue that the command line names."""
    small, out, n_sources = arguments
    write_catalog(small, out, int(n_sources))


if __name__ == "__main__":
    main(iter(sys.argv[1:]))
