"""Rows of the two archive tables as ECSV text, fast: columns become text in Arrow, and rows are
joined there.

Numbers are written so that they read back exactly; coefficients with the digits of a double (as in
the archive), errors as float32.  Missing values are ``null``, missing array elements ``NaN``.  What
no reader of ours looks at is a constant.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.support.gaia_columns import GAIA_SOURCE_COLUMNS, XP_COLUMNS, ecsv_head
from xpscale.columns import G_ZERO_POINT
from xpscale.release import DR3, Release
from xpscale.testing.sky_density import galactic_deg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.spectra import SpectraBatch

__all__ = ["SourceRows", "arrays_text", "source_text", "spectrum_text"]

N_CORRELATION_TEXTS = 64
BLOCK_ROWS = 8_192  # rows made into text at a time: bounds memory
SOLUTION_ID = {"xp": "4545469030156206081", "source": "1636148068921376768"}  # those of Gaia DR3


@dataclass(frozen=True, slots=True, eq=False)
class SourceRows:
    """Rows of ``gaia_source``: the columns that vary.

    Parameters
    ----------
    source_id
        int64, with shape (N,), as all.
    ra, dec
        ICRS position in degrees.
    phot_g_mean_flux
        Mean G flux in electron/s; NaN becomes ``null``.
    parallax
        Parallax in mas; NaN becomes ``null``.
    has_xp
        Whether the source has an XP spectrum.
    """

    source_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    phot_g_mean_flux: NDArray[np.float64]
    parallax: NDArray[np.float64]
    has_xp: NDArray[np.bool_]

    def take(self, rows: NDArray[Any] | slice) -> SourceRows:
        """Some of the rows."""
        return SourceRows(*(getattr(self, f.name)[rows] for f in fields(self)))

    def sorted(self) -> SourceRows:
        """The rows by ``source_id``."""
        return self.take(np.argsort(self.source_id, kind="stable"))

    @staticmethod
    def concatenate(parts: list[SourceRows]) -> SourceRows:
        """The rows of several."""
        return SourceRows(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(SourceRows))
        )


def spectrum_text(
    batch: SpectraBatch,
    no_band: NDArray[np.bool_],
    *,
    correlations: bool,
    release: Release = DR3,
) -> bytes:
    """A spectrum file, uncompressed.

    Parameters
    ----------
    batch
        Its spectra, with errors.
    no_band
        Rows without BP, without RP columns, with shape (N, 2).
    correlations
        Whether to fill in the correlations of coefficients; ``null`` otherwise.
    release
        What it calls the columns.
    """
    blocks = [ecsv_head(release.archive.spectra_folder, XP_COLUMNS, release)]
    for start in range(0, len(batch), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        blocks.append(_spectrum_rows(batch.take(rows), no_band[rows], correlations))
    return b"".join(blocks)


def source_text(rows: SourceRows, release: Release = DR3) -> bytes:
    """A source file, uncompressed.

    Parameters
    ----------
    rows
        Its sources.
    release
        What it calls itself and the columns.
    """
    blocks = [ecsv_head(release.archive.sources_folder, GAIA_SOURCE_COLUMNS, release)]
    blocks += [
        _source_rows(rows.take(slice(start, start + BLOCK_ROWS)), release)
        for start in range(0, len(rows.source_id), BLOCK_ROWS)
    ]
    return b"".join(blocks)


def _spectrum_rows(batch: SpectraBatch, no_band: NDArray[np.bool_], correlations: bool) -> bytes:
    errors = batch.coefficient_errors
    assert errors is not None  # a universe's spectra have errors
    pieces: list[pa.Array | str] = [_text(batch.source_id), f",{SOLUTION_ID['xp']}"]
    for band, columns in enumerate((batch.bands.bp, batch.bands.rp)):
        n = batch.bands.n_correlations[band]
        text = _join(
            [
                f",{56 + band},1145,{columns.stop - columns.start},1200,5,1.08,1300.0,",
                arrays_text(batch.coefficients[:, columns].astype(np.float64)),
                ",",
                arrays_text(errors[:, columns]),
                ",",
                _correlation_texts(band, n).take(np.arange(len(batch)) % N_CORRELATION_TEXTS)
                if correlations
                else "null",
                ",5,0.99",
            ]
        )
        pieces.append(pc.if_else(pa.array(no_band[:, band]), _scalar(",null" * 12), text))
    return _lines(pieces)


def _source_rows(rows: SourceRows, release: Release) -> bytes:
    longitude, latitude = galactic_deg(rows.ra, rows.dec)
    source_id = _text(rows.source_id)
    varying = {
        "solution_id": SOLUTION_ID["source"],
        "designation": _join([f'"{release} ', source_id, '"']),
        "source_id": source_id,
        "random_index": _text(rows.source_id % 1_811_709_771),
        "ref_epoch": "2016.0",
        "ra": _text(rows.ra),
        "dec": _text(rows.dec),
        "parallax": _text(rows.parallax),
        "phot_g_mean_flux": _text(rows.phot_g_mean_flux),
        "phot_g_mean_mag": _text(
            (G_ZERO_POINT - 2.5 * np.log10(rows.phot_g_mean_flux)).astype(np.float32)
        ),
        "l": _text(longitude),
        "b": _text(latitude),
        "has_xp_continuous": pc.if_else(
            pa.array(rows.has_xp), _scalar('"True"'), _scalar('"False"')
        ),
    }
    pieces: list[pa.Array | str] = []
    for i, (name, datatype, _) in enumerate(GAIA_SOURCE_COLUMNS):
        piece = varying.get(name, _filler(name, datatype))
        pieces += ["," * (i > 0), piece]
    return _lines(pieces)


def _filler(name: str, datatype: str) -> str:
    if (datatype != "bool" and "gspphot" in name) or name.startswith(
        ("radial_", "rv_", "vbroad", "grvs_", "rvs_", "pseudocolour")
    ):
        return "null"
    return {
        "bool": '"False"',
        "string": '"NOT_AVAILABLE"',
        "float32": "0.12345678",
        "float64": "0.12345678901",
    }.get(datatype, "17")


def _scalar(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def _text(values: NDArray[Any]) -> pa.Array:
    """Numbers as text, NaN as ``null``."""
    text = pa.array(values, from_pandas=True).cast(pa.large_string())
    return text.fill_null("null")


def arrays_text(values: NDArray[Any]) -> pa.Array:
    """Rows of numbers (N, K) as ``"[1.5,2,...]"`` in double quotes."""
    flat = pa.array(np.ascontiguousarray(values).ravel()).cast(pa.large_string())
    offsets = np.arange(0, values.size + 1, values.shape[1])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), flat)
    return _join(['"[', pc.binary_join(lists, _scalar(",")), ']"'])


def _join(pieces: list[pa.Array | str]) -> pa.Array:
    """Columns and constants side by side."""
    merged: list[pa.Array | str] = []
    for piece in pieces:  # neighbouring constants are one
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    columns = [_scalar(piece) if isinstance(piece, str) else piece for piece in merged]
    return pc.binary_join_element_wise(*columns, _scalar(""))


def _lines(pieces: list[pa.Array | str]) -> bytes:
    rows = _join([*pieces, "\n"])
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(rows)]), rows)
    return bytes(pc.binary_join(whole, _scalar(""))[0].as_buffer())


@lru_cache(maxsize=2)
def _correlation_texts(band: int, n_correlations: int) -> pa.Array:
    """Correlations of realistic length, for 64 rows."""
    rng = np.random.default_rng(band)
    values = np.tanh(0.2 * rng.standard_normal((N_CORRELATION_TEXTS, n_correlations)))
    return arrays_text(values.astype(np.float32))
