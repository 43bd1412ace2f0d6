"""Reconstructed spectra of sources, from the catalogue's spectra product or decoded from its
latents.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.bands import Bands
from xpscale.catalog.layout import MODEL
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.catalog import Catalog
from xpscale.query.convert import array
from xpscale.query.engine import ARRAYS
from xpscale.query.posterior import (
    PosteriorSpread,
    latent_covariance,
    posterior_columns,
    total_error,
)
from xpscale.query.version import CatalogVersion, stated_origin, words_of
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from xpscale.model.checkpoint import TrainedModel
    from xpscale.model.decoder import Decoder
    from xpscale.query.frames import Result
    from xpscale.query.selection import Selection
    from xpscale.query.wavelength import SampledSpectra

__all__ = ["Spectra", "reconstruct"]


@dataclass(frozen=True, slots=True, eq=False)
class Spectra:
    """Reconstructed spectra as basis coefficients, in the archive's units (electron/s).

    Parameters
    ----------
    source_id
        Gaia identifiers, int64, with shape (N,).
    mean
        Reconstructed coefficients, BP then RP, with shape (N, C).
    scatter
        Intrinsic scatter of each coefficient beyond its measurement error, one standard deviation,
        with shape (N, C).
    bands
        The numbers of BP and RP coefficients.
    release
        The data release of the sources.
    spread
        How far the reconstruction itself is known; ``None`` if the posterior is not.

    Raises
    ------
    InvalidInputError
        If the shapes do not fit.
    """

    source_id: NDArray[np.int64]
    mean: NDArray[np.floating[Any]]
    scatter: NDArray[np.floating[Any]]
    bands: Bands
    release: Release
    spread: PosteriorSpread | None = None

    def __post_init__(self) -> None:
        expected = (len(self.source_id), self.bands.n_coefficients)
        if self.mean.shape != expected or self.scatter.shape != expected:
            raise InvalidInputError(
                f"mean has shape {self.mean.shape} and scatter {self.scatter.shape}, expected"
                f" {expected} for both: {self.bands}"
            )

    def __len__(self) -> int:
        return len(self.source_id)

    def take(self, rows: NDArray[Any] | slice) -> Spectra:
        """The spectra of some rows: an index array, a boolean mask with shape (N,), or a slice."""
        return replace(
            self,
            source_id=self.source_id[rows],
            mean=self.mean[rows],
            scatter=self.scatter[rows],
            spread=None if self.spread is None else self.spread.take(rows),
        )

    @property
    def posterior_error(self) -> NDArray[np.float32] | None:
        """The part of the error that comes from the latents, which are known to their posterior
        only: one standard deviation of each coefficient, with shape (N, C); ``None`` without
        `spread`.  Computed when it is first asked for, in about 0.2 ms a spectrum.
        """
        return None if self.spread is None else self.spread.error

    @property
    def total_error(self) -> NDArray[np.floating[Any]]:
        """sqrt(posterior_error^2 + scatter^2), with shape (N, C): how far true coefficients lie
        from ``mean``.

        Raises
        ------
        InvalidInputError
            If the posterior is not known.
        """
        return total_error(self.posterior_error, self.scatter)

    def photometry(self, system: str) -> Result:
        """Synthetic magnitudes and fluxes through GaiaXPy; errors are those of ``total_error``, or
        of ``scatter`` where the posterior is not known, without correlations.

        Parameters
        ----------
        system
            A photometric system of GaiaXPy, such as ``"Gaia_DR3_Vega"`` or ``"SDSS_Std"``.

        Raises
        ------
        InvalidInputError
            If GaiaXPy has no such system, or no calibration of these bands and this release.
        PermanentError
            If GaiaXPy is not installed.
        """
        from xpscale.query.synthetic_photometry import photometry

        deviations = self.scatter if self.spread is None else self.total_error
        spectra = (self.source_id, self.mean, deviations, self.bands, self.release)
        return photometry(*spectra, system)

    def at_wavelengths(self) -> SampledSpectra:
        """The spectra as flux against wavelength (W m-2 nm-1, nm), through GaiaXPy.

        Raises
        ------
        InvalidInputError
            If GaiaXPy has no calibration of these bands and this release.
        PermanentError
            If GaiaXPy is not installed.
        """
        from xpscale.query.wavelength import calibration, sample

        found = sample(self.source_id, self.mean, self.scatter, self.bands, self.release)
        if self.spread is None:
            return found
        return replace(found, posterior_error=self.spread.propagated(calibration().matrix))


def reconstruct(
    rows: Selection | Catalog | pa.Table,
    model: TrainedModel | Decoder | None = None,
    *,
    from_latents: bool = False,
) -> Spectra:
    """The reconstructed spectra of some rows.

    They are read where the catalogue holds both reconstruction and scatter.  Where it does not, or
    lies on a server, they are decoded at the posterior mean of the latents by the model stored in
    the catalogue: its decoder is smaller than the spectra that one request brings.  Both agree to
    the rounding of float32, and to the catalogue's precision if that is lower.  How far the latents
    are known, and the spectra with them, follows from the columns ``latent_mean_*``,
    ``latent_log_var_*`` and ``latent_correlation_*``: `Spectra.posterior_error`, beside the
    intrinsic ``scatter``, and `Spectra.total_error` of both.

    Parameters
    ----------
    rows
        A selection (its columns do not matter), a catalogue, or a table with either the columns
        ``reconstruction`` and ``scatter``, or ``phot_g_mean_flux`` and all ``latent_mean_*``;
        ``source_id`` in any case, and for the posterior's error all columns of the latents.
    model
        The model to decode a table of latents with, or its decoder
        (`xpscale.model.decoder.load_decoder`, which needs no torch); a selection finds the model of
        its catalogue.
    from_latents
        Decode, even where spectra are stored.

    Raises
    ------
    InvalidInputError
        If a table lacks columns, or has latents and no model is given.
    """
    import pyarrow as pa

    if not isinstance(rows, pa.Table):
        selection = rows.select() if isinstance(rows, Catalog) else rows
        identity, catalog = selection.catalog.identity, selection.catalog
        known = catalog.known_columns
        is_stored = {*ARRAYS} <= {*known} and not from_latents
        if is_stored and catalog.storage.folder is None and model is None:
            with contextlib.suppress(NotFoundError):  # published without its model
                model, is_stored = _decoder_of(catalog), False
        stored = ARRAYS if is_stored else ()
        latents = [name for name in posterior_columns(identity.n_latents) if name in known]
        table = selection.columns("source_id", "phot_g_mean_flux", *latents, *stored).to_table()
        load = cache(lambda: _decoder_of(model or catalog))
        return _stored(table, load) if stored else _decode(table, load())
    if {"source_id", *ARRAYS} <= set(rows.column_names) and not from_latents:
        return _stored(rows, (lambda: _decoder_of(model)) if model else None)
    if model is None:
        raise InvalidInputError(
            "the table lacks source_id, reconstruction or scatter, and there is no model to decode"
            " latents with",
            "Give a selection, or reconstruct(table, model=load_model(...))",
        )
    return _decode(rows, _decoder_of(model))


def _stored(table: pa.Table, model: Callable[[], Decoder] | None) -> Spectra:
    """The spectra that a table holds; ``model`` gives the one that made them, if it is known."""
    ids, mean, scatter = (array(table[name]) for name in ("source_id", *ARRAYS))
    return Spectra(ids, mean, scatter, *_origin(table, model), _spread(table, model))


def _spread(table: pa.Table, model: Callable[[], Decoder] | None) -> PosteriorSpread | None:
    """The posterior's, if the table has its columns."""
    n_latents = sum(name.startswith("latent_mean_") for name in table.column_names)
    wanted = {"phot_g_mean_flux", *posterior_columns(n_latents)}
    if model is None or n_latents == 0 or not wanted <= {*table.column_names}:
        return None
    z = np.stack([array(table[f"latent_mean_{i}"]) for i in range(n_latents)], 1)
    return PosteriorSpread(z, latent_covariance(table), array(table["phot_g_mean_flux"]), model)


def _decoder_of(source: TrainedModel | Decoder | CatalogVersion) -> Decoder:
    """The decoder of a model, or of the one stored in a catalogue; refuses one that did not make
    the catalogue.
    """
    from xpscale.model.decoder import Decoder, load_decoder

    if isinstance(source, Decoder):
        return source
    if not isinstance(source, CatalogVersion):
        return source.decoder
    decoder = load_decoder(source.storage / MODEL)
    if decoder.model_id != source.model_id:
        raise InvalidInputError(
            f"{source.storage}/{MODEL} is model {decoder.model_id[:12]}, but the rows are of"
            f" {source.model_id[:12]}",
            "Put the model that made the catalogue back",
        )
    return decoder


def _decode(table: pa.Table, model: Decoder) -> Spectra:
    names = [f"latent_mean_{i}" for i in range(model.n_latents)]
    lacking = [
        name for name in ("source_id", "phot_g_mean_flux", *names) if name not in table.column_names
    ]
    if lacking:
        raise InvalidInputError(
            f"the table lacks {', '.join(lacking)}", "Keep these columns in the selection"
        )
    z = np.stack([array(table[name]) for name in names], 1)  # (N, L)
    mean, scatter = model.decode(z, array(table["phot_g_mean_flux"]))
    return Spectra(
        array(table["source_id"]),
        mean,
        scatter,
        *_origin(table, lambda: model),
        _spread(table, lambda: model),
    )


def _origin(table: pa.Table, model: Callable[[], Decoder] | None) -> tuple[Bands, Release]:
    """Bands and release of a table's spectra: as its metadata say, or by the model or the width."""
    if stated := stated_origin(words_of(table.schema)):
        return stated
    if model is not None:
        return model().bands, model().release
    n_coefficients = array(table["reconstruction"]).shape[1]
    if n_coefficients != DR3.known_bands.n_coefficients:
        raise InvalidInputError(
            "the table does not say how many of its coefficients are BP",
            "Give a selection, or the model: reconstruct(table, model=load_model(...))",
        )
    return DR3.known_bands, DR3
