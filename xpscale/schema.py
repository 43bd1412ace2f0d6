"""The columns of the derived catalogue: Arrow type, unit, UCD and meaning, in one place.

Two products share their rows.  ``latents`` is the main catalogue, small, for queries; ``spectra`` is its extension, joined
on ``source_id``, with two arrays a source.  Units are VOUnits; ``""`` is dimensionless.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import pyarrow as pa

from xpscale.errors import InvalidInputError

__all__ = ["COEFFICIENT_UNIT", "SCHEMA_VERSION", "Column", "Flag", "columns", "conform", "schema"]

SCHEMA_VERSION = "1"
"""Version of these columns; part of what resume compares."""

COEFFICIENT_UNIT = "electron.s**-1"
"""Unit of coefficients, their errors, reconstruction and scatter: that of ``phot_g_mean_flux``."""


class Flag(enum.IntFlag):
    """Bits of the column ``flags``; 0 means nothing to remark."""

    ERRORS_UNUSABLE = 1
    """A coefficient error is missing, not finite or not positive: ``nll`` and ``reduced_chi2`` are NaN."""
    OUTSIDE_TRAINING_DOMAIN = 2
    """A standardized coefficient lies outside the range seen in training, widened by half; the model extrapolates."""
    LATENT_VARIANCE_CLAMPED = 4
    """A latent log variance ran against its bound."""
    SCATTER_AT_BOUND = 8
    """The intrinsic scatter of a coefficient is above 0.99 of the sigmoid's ceiling."""
    POOR_FIT = 16
    """``reduced_chi2`` is above 10: the reconstruction misses the spectrum."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: name, Arrow type, VOUnit, UCD1+ and a sentence."""

    name: str
    type: pa.DataType
    unit: str
    ucd: str
    description: str

    @property
    def field(self) -> pa.Field:
        """The column as an Arrow field; unit, UCD and description travel as metadata."""
        meta = {"unit": self.unit, "ucd": self.ucd, "description": self.description}
        return pa.field(self.name, self.type, nullable=False, metadata=meta)


def columns(product: str, n_latents: int, n_coefficients: int) -> tuple[Column, ...]:
    """The columns of a product.

    Parameters
    ----------
    product
        ``"latents"`` or ``"spectra"``.
    n_latents, n_coefficients
        L and C of the model.
    """
    identity = (
        Column("_healpix_29", pa.int64(), "", "pos.healpix", "HEALPix NESTED index of order 29 of ra, dec"),
        Column("source_id", pa.int64(), "", "meta.id;meta.main", "Gaia DR3 source identifier"),
        Column("ra", pa.float64(), "deg", "pos.eq.ra;meta.main", "Right ascension, ICRS, epoch J2016.0"),
        Column("dec", pa.float64(), "deg", "pos.eq.dec;meta.main", "Declination, ICRS, epoch J2016.0"),
    )
    if product == "spectra":
        array = pa.list_(pa.field("element", pa.float32(), nullable=False), n_coefficients)
        return (
            *identity,
            Column(
                "reconstruction",
                array,
                COEFFICIENT_UNIT,
                "spect;stat.mean",
                "Reconstructed coefficients, BP then RP, decoded at the posterior mean",
            ),
            Column(
                "scatter",
                array,
                COEFFICIENT_UNIT,
                "spect;stat.stdev",
                "Intrinsic scatter of each coefficient beyond its measurement error",
            ),
        )
    if product != "latents":
        raise InvalidInputError(f"no product is called {product!r}", "Products are 'latents' and 'spectra'")
    means = (
        Column(f"latent_mean_{i}", pa.float32(), "", "stat.param;stat.mean", f"Posterior mean of latent {i}")
        for i in range(n_latents)
    )
    log_vars = (
        Column(f"latent_log_var_{i}", pa.float32(), "", "stat.variance", f"Natural log of the variance of latent {i}")
        for i in range(n_latents)
    )
    return (
        *identity,
        Column("phot_g_mean_flux", pa.float64(), "electron.s**-1", "phot.flux;em.opt", "Mean flux in the G band"),
        *means,
        *log_vars,
        Column(
            "reduced_chi2",
            pa.float32(),
            "",
            "stat.fit.chi2",
            "Mean over coefficients of (x - reconstruction)^2 / (error^2 + scatter^2)",
        ),
        Column(
            "nll",
            pa.float32(),
            "",
            "stat.likelihood",
            "Negative log likelihood at the posterior mean, standardized units, without C/2 ln(2 pi)",
        ),
        Column(
            "kl", pa.float32(), "", "stat.value", "Kullback-Leibler divergence of the posterior from the prior, nats"
        ),
        Column("n_coefficients", pa.int16(), "", "meta.number", "Number of finite coefficients used"),
        Column("flags", pa.int32(), "", "meta.code.qual", "Quality bits, 0 is good; see xpscale.schema.Flag"),
        Column(
            "training_density",
            pa.float32(),
            "",
            "stat.probability",
            "Training objects in this source's cell of the two leading coefficients, as a fraction of the sample per "
            "unit area; NaN if the model does not know its training sample",
        ),
    )


def schema(product: str, n_latents: int, n_coefficients: int) -> pa.Schema:
    """The Arrow schema of a product."""
    return pa.schema([column.field for column in columns(product, n_latents, n_coefficients)])


def conform(table: pa.Table, target: pa.Schema) -> pa.Table:
    """The table's columns of ``target``, in its order and types; refuses missing columns and nulls."""
    missing = [name for name in target.names if name not in table.column_names]
    if missing:
        raise InvalidInputError(f"the table lacks the columns {', '.join(missing)}")
    for field in target:
        if table[field.name].null_count:
            raise InvalidInputError(f"column {field.name} has {table[field.name].null_count} nulls, and may have none")
    return table.select(target.names).cast(target)
