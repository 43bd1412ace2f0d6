"""From the archive's coefficients to the network's input and back.

Letters: N sources, C coefficients.  With c a coefficient and e its error in the archive's units, G
the source's ``phot_g_mean_flux``, m and d the training sample's mean and standard deviation of c /
G::

    normalized    c / G
    standardized  x = (c / G - m) / d              sigma = e / (G d)
    back          c_model = (x_hat d + m) G        scatter = s d G

The scaling is part of the model: it is fitted on the training sample only, in one pass that holds
one batch at a time.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.expansion import zip_member
from xpscale.row_rules import judge, truncated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.spectra import SpectraBatch

__all__ = [
    "Scaling",
    "trainable_rows",
]


def trainable_rows(batch: SpectraBatch) -> NDArray[np.bool_]:
    """Rows fit for training: no rule rejects them, and they have errors; with shape (N,)."""
    if batch.coefficient_errors is None:
        return np.zeros(len(batch), bool)
    return judge(batch)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Mean and standard deviation of the normalized coefficients.

    Parameters
    ----------
    mean, std
        float64, with shape (C,) each; NaN if the scaling is unknown.
    bands
        Which coefficients are BP and RP.

    Raises
    ------
    InvalidInputError
        If a standard deviation is zero or a value is not finite; the message names the coefficient.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    bands: Bands

    def __post_init__(self) -> None:
        mean, std = (np.array(value, np.float64) for value in (self.mean, self.std))
        if {mean.shape, std.shape} != {(self.bands.n_coefficients,)}:
            raise InvalidInputError(
                f"a scaling of {self.bands} coefficients has mean and std of shapes {mean.shape}"
                f" and {std.shape}",
                "Give one value for each coefficient",
            )
        known = not (np.isnan(mean).all() and np.isnan(std).all())
        bad = np.flatnonzero(~np.isfinite(mean) | ~np.isfinite(std) | (std <= 0))
        if known and len(bad):
            j = int(bad[0])
            raise InvalidInputError(
                f"the scaling of coefficient {j} ({self.bands.label(j)}) is mean {mean[j]}, std"
                f" {std[j]} ({len(bad)} such coefficients)",
                "A standard deviation must be finite and above zero: fit on more rows, or correct"
                " the scaling file",
            )
        for name, value in (("mean", mean), ("std", std)):
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    @staticmethod
    def unknown(bands: Bands) -> Scaling:
        """The scaling of a model that came without one; it refuses to standardize."""
        nan = np.full(bands.n_coefficients, np.nan)
        return Scaling(nan, nan, bands)

    @staticmethod
    def fit(batches: Iterable[SpectraBatch]) -> Scaling:
        """Mean and (population) standard deviation over the trainable rows of all batches, in one
        pass.

        Moments of batches are merged pairwise, which is stable where sums of squares are not (Chan,
        Golub & LeVeque 1983, The American Statistician 37, 242).
        """
        n, mean, squares = 0, np.zeros(0), np.zeros(0)
        bands: Bands | None = None
        for batch in batches:
            if bands not in (None, batch.bands):
                raise InvalidInputError(
                    f"spectra with {bands} and {batch.bands} do not go together"
                )
            bands = batch.bands
            rows = batch.take(trainable_rows(batch))
            if len(rows) == 0:
                continue
            values = normalized(rows)
            batch_mean = values.mean(0)
            batch_squares = np.square(values - batch_mean).sum(0)
            if n == 0:
                n, mean, squares = len(rows), batch_mean, batch_squares
                continue
            shift, total = batch_mean - mean, n + len(rows)
            squares = squares + batch_squares + shift**2 * (n * len(rows) / total)
            mean = mean + shift * (len(rows) / total)
            n = total
        if bands is None or n < 2:
            raise InvalidInputError(
                f"only {n} usable rows to fit a scaling on",
                "Rows need finite coefficients, finite positive errors and a positive"
                " phot_g_mean_flux",
            )
        return Scaling(mean, np.sqrt(squares / n), bands)

    @staticmethod
    def from_npz(path: str | Path, bands: Bands) -> Scaling:
        """The scaling in the authors' ``apogee_norm.npz``, or any file like it.

        Parameters
        ----------
        path
            A file with the arrays ``mu`` and ``sig`` of normalized coefficients.
        bands
            Which of these are BP and RP.

        Raises
        ------
        NotFoundError
            There is no such file.
        InvalidInputError
            It is another kind of file, or has another number of coefficients.
        """
        if not Path(path).is_file():
            raise NotFoundError(
                f"{path} does not exist", "Give a .npz file with the arrays mu and sig"
            )
        try:
            with zipfile.ZipFile(path) as file:
                members = [zip_member(file, name, str(path)) for name in ("mu.npy", "sig.npy")]
            mean, std = (np.load(io.BytesIO(member)) for member in members)
            return Scaling(mean, std, bands)
        except (KeyError, ValueError, MemoryError, OSError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, InvalidInputError):
                raise
            raise InvalidInputError(
                f"{path} holds no arrays mu and sig", "Give a .npz file that does"
            ) from error

    @property
    def is_known(self) -> bool:
        """Whether there is a scaling at all."""
        return not bool(np.isnan(self.std).any())

    @property
    def log_volume(self) -> float:
        """``sum_j ln d_j``: what a loss in standardized units lacks to one of c / G, in nats.

        With p(c / G) = p(x) / prod_j d_j, two models of different scalings can be compared::

            -ln p(c / G) = -ln p(x) + sum_j ln d_j
        """
        return float(np.log(self.std).sum())

    def standardize(
        self, batch: SpectraBatch, rows: slice | NDArray[Any] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Standardized coefficients and errors, float32, with shape (N, C); errors are None if the
        batch has none, and infinite where `xpscale.row_rules.truncated`.

        The arithmetic is float64; the result is rounded once.

        Parameters
        ----------
        batch
            Spectra in the archive's units; rows that are not finite stay so.
        rows
            Which rows, if not all.

        Raises
        ------
        InvalidInputError
            If the batch has another number of coefficients, or the scaling is unknown.
        """
        batch = batch if rows is None else batch.take(rows)
        self.require(batch.bands)
        flux, x_err = np.ascontiguousarray(batch.phot_g_mean_flux, np.float64), None
        x = self._standardized(batch.coefficients, flux, self.mean)
        if batch.coefficient_errors is not None:
            x_err = self._standardized(batch.coefficient_errors, flux, np.zeros_like(self.mean))
            x_err[truncated(batch)] = np.inf  # no measurements
        return x, x_err

    def _standardized(
        self, values: NDArray[Any], flux: NDArray[np.float64], shift: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        from xpscale.model.kernels import standardize_rows

        values = np.ascontiguousarray(values, np.float32)
        out = np.empty_like(values)
        standardize_rows(values, flux, shift, self.std, out)
        return out

    def coefficients(self, x: NDArray[Any], phot_g_mean_flux: NDArray[Any]) -> NDArray[np.float64]:
        """Coefficients in the archive's units, (x d + m) G, float64 with shape (N, C).

        Parameters
        ----------
        x
            Standardized coefficients, with shape (N, C).
        phot_g_mean_flux
            Mean G flux in electron/s, with shape (N,).
        """
        self._require_known()
        return (x * self.std + self.mean) * np.asarray(phot_g_mean_flux, np.float64)[:, None]

    def widths(self, s: NDArray[Any], phot_g_mean_flux: NDArray[Any]) -> NDArray[np.float64]:
        """Errors or scatter in the archive's units, s d G, float64 with shape (N, C).

        Parameters
        ----------
        s
            Standardized errors or scatter, with shape (N, C).
        phot_g_mean_flux
            Mean G flux in electron/s, with shape (N,).
        """
        self._require_known()
        return s * self.std * np.asarray(phot_g_mean_flux, np.float64)[:, None]

    def require(self, bands: Bands) -> None:
        """Refuse spectra of other bands, and any if the scaling is unknown.

        Raises
        ------
        InvalidInputError
            The message names both bands.
        """
        if bands != self.bands:
            raise InvalidInputError(
                f"the model takes {self.bands} coefficients, the spectra have {bands}",
                "Use a model trained on spectra of these bands",
            )
        self._require_known()

    def _require_known(self) -> None:
        if not self.is_known:
            raise InvalidInputError(
                "the model has no scaling, so it cannot be applied to spectra",
                "Import it again with a scaling: a .npz file with mu and sig, or one fitted on a"
                " store",
            )


def normalized(batch: SpectraBatch) -> NDArray[np.float64]:
    """Coefficients divided by ``phot_g_mean_flux``, with shape (N, C)."""
    return batch.coefficients / batch.phot_g_mean_flux[:, None]
