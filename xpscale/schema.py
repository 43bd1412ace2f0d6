"""The columns of the derived catalogue: Arrow type, unit, UCD and meaning, in one place.

A run computes `OUTPUTS` of its choice, in two products that share their rows.  ``latents`` is the
main catalogue, small, for queries, and has the ``correlations`` and ``magnitudes``, too;
``spectra`` is its extension, joined on ``source_id``, with an array a source for each of
``reconstruction`` and ``scatter`` that was chosen.  A run with neither has no decoder, so no
``nll`` and no ``reduced_chi2``.  Units are VOUnits; ``""`` is dimensionless.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import pyarrow as pa

from xpscale.companions import COMPANIONS
from xpscale.errors import InvalidInputError
from xpscale.flags import Flag
from xpscale.magnitudes import G_MAGNITUDE, SYNTHETIC, has_band_weights
from xpscale.release import Release

__all__ = [
    "COEFFICIENT_UNIT",
    "FULL_PRECISION",
    "IDENTITY_COLUMNS",
    "OUTPUTS",
    "SCHEMA_VERSION",
    "Column",
    "TableLayout",
    "checked_outputs",
    "checked_precision",
    "correlation_columns",
    "products_of",
    "spectra_outputs",
]

SCHEMA_VERSION = "3"
"""Version of these columns; part of what resume compares."""

OUTPUTS = ("latents", "correlations", "magnitudes", "reconstruction", "scatter")
"""What a run can compute, in the order in which choices are written down; latents always."""

FULL_PRECISION = "float32"
"""The precision of a reconstruction that is stored as it was computed."""

IDENTITY_COLUMNS = ("_healpix_29", "source_id", "ra", "dec")
"""Columns that all products share, row by row."""

COEFFICIENT_UNIT = "electron.s**-1"
"""Unit of coefficients, their errors, reconstruction and scatter: that of ``phot_g_mean_flux``."""
LIKENESS = (
    "Fraction of training objects of like signal-to-noise that are at least as odd, near 0 for an"
    " object that the model does not know; NaN without such a count or without usable errors"
)
LONG, FLOAT, DOUBLE = pa.int64(), pa.float32(), pa.float64()


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

    @staticmethod
    def of_field(field: pa.Field) -> Column:
        """The column that an Arrow field describes, as `field` does."""
        meta = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        words = (meta.get(name, "") for name in ("unit", "ucd", "description"))
        return Column(field.name, field.type, *words)


def checked_outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    """A choice of `OUTPUTS` in their order.

    Raises
    ------
    InvalidInputError
        One is not known, or latents are missing.
    """
    unknown = [output for output in outputs if output not in OUTPUTS]
    if unknown or "latents" not in outputs:
        problem = (
            f"no output is called {unknown[0]!r}" if unknown else "the outputs must hold 'latents'"
        )
        raise InvalidInputError(
            problem, f"Give some of {','.join(OUTPUTS)}: latents, and what else is wanted"
        )
    return tuple(output for output in OUTPUTS if output in outputs)


def checked_precision(precision: str) -> str:
    """A precision of reconstructions: ``"float32"``, or the largest rounding error as a fraction of
    the total error.

    Raises
    ------
    InvalidInputError
        It is neither, or the fraction is not above 0 and at most 0.5.
    """
    try:
        fraction = float(precision) if precision != FULL_PRECISION else 0.5
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 0.5:
        raise InvalidInputError(
            f"the reconstruction precision {precision!r} is neither {FULL_PRECISION!r} nor a"
            " fraction of the error",
            "Give float32, or a number above 0 and at most 0.5, such as 0.01",
        )
    return precision if precision == FULL_PRECISION else f"{fraction:g}"


def spectra_outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    """Those of the outputs that are arrays of coefficients, which a decoder is needed for."""
    return tuple(output for output in outputs if output in ("reconstruction", "scatter"))


def products_of(outputs: Sequence[str]) -> tuple[str, ...]:
    """The products that hold these outputs: ``latents``, and ``spectra`` for a reconstruction or a
    scatter.
    """
    return ("latents", "spectra") if spectra_outputs(outputs) else ("latents",)


def correlation_columns(n_latents: int) -> tuple[str, ...]:
    """Names of the columns with the posterior's correlations, for each pair i < j of latents.

    >>> correlation_columns(3)
    ('latent_correlation_0_1', 'latent_correlation_0_2', 'latent_correlation_1_2')
    """
    pairs = itertools.combinations(range(n_latents), 2)
    return tuple(f"latent_correlation_{i}_{j}" for i, j in pairs)


@dataclass(frozen=True, slots=True)
class TableLayout:
    """What determines the columns of a catalogue's tables.

    Parameters
    ----------
    n_latents, n_coefficients
        L and C of the model.
    release
        The data release that the sources are of.
    outputs
        What the run computes; from `checked_outputs`.
    precision
        To what reconstruction and scatter are rounded; from `checked_precision`.
    companions, pixel_positions
        As of `xpscale.spectra.SpectraReader`.
    kept_products, kept_columns
        Of a copy that holds a share of a catalogue: its products, and its columns besides
        `IDENTITY_COLUMNS`; empty for all.
    """

    n_latents: int
    n_coefficients: int
    release: Release
    outputs: tuple[str, ...] = OUTPUTS
    precision: str = FULL_PRECISION
    companions: tuple[str, ...] = ()
    pixel_positions: bool = False
    kept_products: tuple[str, ...] = ()
    kept_columns: tuple[str, ...] = ()

    @property
    def products(self) -> tuple[str, ...]:
        """The products that hold the outputs, ``latents`` first."""
        made = products_of(self.outputs)
        return tuple(name for name in made if not self.kept_products or name in self.kept_products)

    def columns(self, product: str) -> tuple[Column, ...]:
        """The columns of ``"latents"`` or ``"spectra"``.

        Raises
        ------
        InvalidInputError
            The run has no product of that name.
        """
        if product not in self.products:
            known = ", ".join(self.products)
            raise InvalidInputError(f"no product is called {product!r}", f"Products are {known}")
        kept = {*IDENTITY_COLUMNS, *self.kept_columns}
        return tuple(
            column for column in self._made(product) if not self.kept_columns or column.name in kept
        )

    def _made(self, product: str) -> tuple[Column, ...]:
        """The columns that a run writes."""
        shared = _identity_columns(self)
        if product == "spectra":
            return (*shared, *_spectra_columns(self.n_coefficients, self.outputs, self.precision))
        more = (astuple(COMPANIONS[name]) for name in self.companions)
        companions = (Column(name, pa.type_for_alias(kind), *rest) for name, kind, *rest in more)
        latents = (*_latents_columns(self.n_latents, self.outputs), *self._magnitudes())
        return (*shared, *latents, *companions)

    def _magnitudes(self) -> tuple[Column, ...]:
        """G, unless it comes as a companion, and BP and RP if they can be synthesized."""
        if "magnitudes" not in self.outputs:
            return ()
        g = "Mean magnitude in G (Vega), of phot_g_mean_flux with the archive's zero point"
        of_g = Column(G_MAGNITUDE, FLOAT, "mag", "phot.mag;em.opt", g)
        synthesized = "magnitude (Vega), synthesized from the coefficients of the spectrum, not the"
        found: tuple[Column, ...] = () if G_MAGNITUDE in self.companions else (of_g,)
        if has_band_weights(self.release, self.n_coefficients):
            found += tuple(
                Column(
                    name,
                    FLOAT,
                    "mag",
                    f"phot.mag;em.opt.{band[0]};meta.modelled",
                    f"{band} {synthesized} archive's; NaN if it is seen in part",
                )
                for name, band in SYNTHETIC.items()
            )
        return found


def _identity_columns(layout: TableLayout) -> tuple[Column, ...]:
    release, at = layout.release, layout.release.position_text(layout.pixel_positions)
    index = "HEALPix NESTED index of order 29 of ra, dec"
    return (
        Column("_healpix_29", LONG, "", "pos.healpix", index),
        Column("source_id", LONG, "", "meta.id;meta.main", f"{release} source identifier"),
        Column("ra", DOUBLE, "deg", "pos.eq.ra;meta.main", f"Right ascension, {at}"),
        Column("dec", DOUBLE, "deg", "pos.eq.dec;meta.main", f"Declination, {at}"),
    )


def _spectra_columns(
    n_coefficients: int, outputs: Sequence[str], precision: str
) -> tuple[Column, ...]:
    array = pa.list_(pa.field("element", FLOAT, nullable=False), n_coefficients)
    mean = "Reconstructed coefficients, BP then RP, decoded at the posterior mean"
    scatter = "Intrinsic scatter of each coefficient beyond its measurement error"
    if precision != FULL_PRECISION:
        mean += f"; rounded to within {precision} of sqrt(error^2 + scatter^2)"
        scatter += f"; rounded to within {precision} of itself"
    both = (
        Column("reconstruction", array, COEFFICIENT_UNIT, "spect;stat.mean", mean),
        Column("scatter", array, COEFFICIENT_UNIT, "spect;stat.stdev", scatter),
    )
    return tuple(column for column in both if column.name in outputs)


def _latents_columns(n_latents: int, outputs: Sequence[str]) -> tuple[Column, ...]:
    latents = range(n_latents)
    mean, var = "Posterior mean of latent", "Natural log of the variance of latent"
    pairs = correlation_columns(n_latents) if "correlations" in outputs else ()
    correlation = "Correlation of two latents given the spectrum"
    chi2 = "Mean over coefficients of (x - reconstruction)^2 / (error^2 + scatter^2)"
    nll = "Negative log likelihood at the posterior mean, standardized units, without C/2 ln(2 pi)"
    kl = "Kullback-Leibler divergence of the posterior from the prior, nats"
    density = (
        "Training objects in this source's cell of the two leading coefficients, as a fraction"
        " of the sample per unit area; NaN if it or the sample is unknown"
    )
    flags = f"Quality bits, 0 is good; {', '.join(f'{flag.value}: {flag.words}' for flag in Flag)}"
    fit = (
        Column("reduced_chi2", FLOAT, "", "stat.fit.chi2", chi2),
        Column("nll", FLOAT, "", "stat.likelihood", nll),
        Column("in_distribution_score", FLOAT, "", "stat.probability", LIKENESS),
    )
    return (
        Column("phot_g_mean_flux", DOUBLE, COEFFICIENT_UNIT, "phot.flux;em.opt", "Mean G flux"),
        *(
            Column(f"latent_mean_{i}", FLOAT, "", "stat.param;stat.mean", f"{mean} {i}")
            for i in latents
        ),
        *(Column(f"latent_log_var_{i}", FLOAT, "", "stat.variance", f"{var} {i}") for i in latents),
        *(Column(name, FLOAT, "", "stat.correlation", correlation) for name in pairs),
        *(fit if spectra_outputs(outputs) else ()),
        Column("kl", FLOAT, "", "stat.value", kl),
        Column("n_coefficients", pa.int16(), "", "meta.number", "Number of coefficients used"),
        Column("flags", pa.int32(), "", "meta.code.qual", flags),
        Column("training_density", FLOAT, "", "stat.probability", density),
    )
