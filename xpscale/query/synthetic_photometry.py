"""Synthetic photometry of spectra in any system that GaiaXPy knows."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.query.frames import Result
from xpscale.query.wavelength import calibration
from xpscale.release import Release

__all__ = ["photometry"]

ROWS_AT_ONCE = 2_000


def photometry(
    source_id: NDArray[np.int64],
    coefficients: NDArray[np.floating[Any]],
    deviations: NDArray[np.floating[Any]],
    bands: Bands,
    release: Release,
    system: str,
) -> Result:
    """Magnitudes, fluxes and their errors as GaiaXPy's ``generate`` gives them.

    Parameters
    ----------
    source_id
        With shape (N,).
    coefficients, deviations
        Coefficients, BP then RP, and their independent standard deviations, in electron/s, with
        shape (N, C).
    bands, release
        Numbers of BP and RP coefficients, and the release that they are of.
    system
        As of `xpscale.query.reconstructed_spectra.Spectra.photometry`.
    """
    import pandas as pd

    calibration().require(bands, release)
    from gaiaxpy import PhotometricSystem, generate

    known = {each.name.casefold(): each for each in PhotometricSystem}
    if system.casefold() not in known:
        names = ", ".join(each.name for each in PhotometricSystem)
        raise InvalidInputError(f"no photometric system is called {system!r}", f"Known are {names}")
    found = []
    for start in range(0, len(source_id), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        frame = _frame(source_id[rows], coefficients[rows], deviations[rows], bands)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it draws a progress bar, and warns of no correlations
            found.append(
                generate(frame, photometric_system=known[system.casefold()], save_file=False)
            )
    table = pa.Table.from_pandas(pd.concat(found), preserve_index=False) if found else pa.table({})
    fields = [
        field.with_metadata({"unit": "mag"}) if "_mag_" in field.name else field
        for field in table.schema
    ]
    return Result(table.cast(pa.schema(fields)), {"query": f"photometry({system})"})


def _frame(
    source_id: NDArray[np.int64],
    coefficients: NDArray[np.floating[Any]],
    deviations: NDArray[np.floating[Any]],
    bands: Bands,
) -> Any:
    """Spectra as GaiaXPy takes them, with no correlations."""
    import pandas as pd

    columns: dict[str, Any] = {"source_id": source_id}
    split = {"bp": slice(None, bands.n_bp), "rp": slice(bands.n_bp, None)}
    for band, part in split.items():
        n = coefficients[:1, part].shape[1]
        columns[f"{band}_coefficients"] = [*coefficients[:, part].astype(np.float64)]
        columns[f"{band}_coefficient_errors"] = [*deviations[:, part].astype(np.float64)]
        none = np.zeros(len(np.tril_indices(n, -1)[0]))
        columns[f"{band}_coefficient_correlations"] = [none] * len(source_id)
        columns[f"{band}_n_parameters"] = columns[f"{band}_n_relevant_bases"] = n
        columns[f"{band}_standard_deviation"] = 1.0
    return pd.DataFrame(columns)
