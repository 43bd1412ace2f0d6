"""XP spectra in memory.

Letters in shapes: N sources, C coefficients (BP, then RP; see `xpscale.bands`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.bands import Bands
from xpscale.companions import filled
from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SpectraBatch"]

ALWAYS = ("source_id", "ra", "dec", "phot_g_mean_flux", "coefficients")
"""The arrays of a batch that are there whether or not errors were read."""


@dataclass(frozen=True, slots=True, eq=False)
class SpectraBatch:
    """XP spectra as basis coefficients, in the archive's units.

    Parameters
    ----------
    source_id
        Gaia identifiers, int64, with shape (N,).
    ra, dec
        ICRS position in degrees, at the epoch of the release, float64, with shape (N,).
    phot_g_mean_flux
        Mean G flux in electron/s, float64, with shape (N,); NaN where the archive has none.
    coefficients
        BP then RP coefficients, float32, with shape (N, C); NaN where missing.
    coefficient_errors
        Their standard deviations, float32, with shape (N, C); ``None`` where a reader was not asked
        for them.
    bands
        How many of the C coefficients are BP, and how many RP.
    companions
        Columns of ``gaia_source`` that came along, by name, each with shape (N,); NaN where
        missing; see `xpscale.companions.COMPANIONS`.
    """

    source_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    phot_g_mean_flux: NDArray[np.float64]
    coefficients: NDArray[np.float32]
    coefficient_errors: NDArray[np.float32] | None
    bands: Bands
    companions: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.source_id)
        for name in ("ra", "dec", "phot_g_mean_flux"):
            if getattr(self, name).shape != (n,):
                raise InvalidInputError(
                    f"{name} has shape {getattr(self, name).shape}, source_id has ({n},)"
                )
        if self.coefficients.shape != (n, self.bands.n_coefficients):
            raise InvalidInputError(
                f"coefficients have shape {self.coefficients.shape}, expected"
                f" ({n}, {self.bands.n_coefficients}) for {self.bands}"
            )
        errors = self.coefficient_errors
        if errors is not None and errors.shape != self.coefficients.shape:
            raise InvalidInputError(
                f"coefficient_errors have shape {errors.shape}, coefficients"
                f" {self.coefficients.shape}"
            )

    @staticmethod
    def of(arrays: Mapping[str, NDArray[Any]], bands: Bands) -> SpectraBatch:
        """The batch of arrays by name, companions among them; errors may lack.

        Parameters
        ----------
        arrays, bands
            As of the batch.
        """
        own: dict[str, Any] = {n: arrays.get(n) for n in (*ALWAYS, "coefficient_errors")}
        companions = {n: values for n, values in arrays.items() if n not in own}
        return SpectraBatch(**own, bands=bands, companions=companions)

    def __len__(self) -> int:
        return len(self.source_id)

    @property
    def n_coefficients(self) -> int:
        """C, the number of coefficients of a source."""
        return self.bands.n_coefficients

    @property
    def n_bytes(self) -> int:
        """Bytes of memory that the arrays take."""
        arrays = (getattr(self, each.name) for each in fields(self))
        own = sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
        return own + sum(array.nbytes for array in self.companions.values())

    def missing_bands(self) -> dict[str, NDArray[np.bool_]]:
        """Whether a row has no coefficient of a band, with shape (N,): ``missing_bp``,
        ``missing_rp``.
        """
        is_missing = np.isnan(self.coefficients)
        return {
            "missing_bp": np.asarray(is_missing[:, self.bands.bp].all(1)),
            "missing_rp": np.asarray(is_missing[:, self.bands.rp].all(1)),
        }

    def take(self, rows: NDArray[Any] | slice) -> SpectraBatch:
        """The batch of some rows: an index array, a boolean mask with shape (N,), or a slice."""
        errors = self.coefficient_errors
        taken: dict[str, Any] = {name: getattr(self, name)[rows] for name in ALWAYS}
        its_errors = None if errors is None else errors[rows]
        more = {name: values[rows] for name, values in self.companions.items()}
        return SpectraBatch(
            **taken, coefficient_errors=its_errors, bands=self.bands, companions=more
        )

    @staticmethod
    def concatenate(batches: Iterable[SpectraBatch]) -> SpectraBatch:
        """One batch of the rows of several, in their order."""
        parts = list(batches)
        if len({part.bands for part in parts}) > 1:
            widths = " and ".join(sorted({str(part.bands) for part in parts}))
            raise InvalidInputError(f"spectra with {widths} coefficients do not go together")
        errors = [part.coefficient_errors for part in parts]
        present = [e for e in errors if e is not None]
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in ALWAYS
        }
        both = np.concatenate(present) if len(present) == len(parts) else None
        names = dict.fromkeys(name for part in parts for name in part.companions)
        each = [filled(part.companions, names, len(part)) for part in parts]
        more = {name: np.concatenate([part[name] for part in each]) for name in names}
        return SpectraBatch(
            **joined, coefficient_errors=both, bands=parts[0].bands, companions=more
        )
