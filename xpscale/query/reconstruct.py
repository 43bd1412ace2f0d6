"""Reconstructed spectra of sources, from the catalogue's spectra product or decoded from its
latents.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.bands import Bands
from xpscale.catalog.layout import MODEL
from xpscale.errors import InvalidInputError
from xpscale.query.catalog import Catalog
from xpscale.query.convert import array
from xpscale.query.engine import ARRAYS
from xpscale.query.version import CatalogVersion, stated_origin, words_of
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from xpscale.model.checkpoint import TrainedModel
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
        )

    def at_wavelengths(self) -> SampledSpectra:
        """The spectra as flux against wavelength (W m-2 nm-1, nm), through GaiaXPy.

        Raises
        ------
        InvalidInputError
            If GaiaXPy has no calibration of these bands and this release.
        PermanentError
            If GaiaXPy is not installed.
        """
        from xpscale.query.wavelength import sample

        return sample(self.source_id, self.mean, self.scatter, self.bands, self.release)


def reconstruct(
    rows: Selection | Catalog | pa.Table,
    model: TrainedModel | None = None,
    *,
    from_latents: bool = False,
) -> Spectra:
    """The reconstructed spectra of some rows.

    They are read where the catalogue holds both reconstruction and scatter.  Where it does not,
    they are decoded at the posterior mean of the latents, by the model stored in the catalogue;
    both agree to the rounding of float32.

    Parameters
    ----------
    rows
        A selection (its columns do not matter), a catalogue, or a table with either the columns
        ``reconstruction`` and ``scatter``, or ``phot_g_mean_flux`` and all ``latent_mean_*``;
        ``source_id`` in any case.
    model
        The model to decode a table of latents with; a selection finds the model of its catalogue.
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
        identity = selection.catalog.identity
        if {*ARRAYS} <= {*identity.outputs} and not from_latents:
            return reconstruct(selection.columns("source_id", *ARRAYS).to_table())
        latents = [f"latent_mean_{i}" for i in range(identity.n_latents)]
        table = selection.columns("source_id", "phot_g_mean_flux", *latents).to_table()
        return _decode(table, model or _model_of(selection.catalog))
    if {"source_id", *ARRAYS} <= set(rows.column_names) and not from_latents:
        ids, mean, scatter = (array(rows[name]) for name in ("source_id", *ARRAYS))
        return Spectra(ids, mean, scatter, *_origin(rows, model))
    if model is None:
        raise InvalidInputError(
            "the table lacks source_id, reconstruction or scatter, and there is no model to decode"
            " latents with",
            "Give a selection, or reconstruct(table, model=load_model(...))",
        )
    return _decode(rows, model)


def _model_of(catalog: CatalogVersion) -> TrainedModel:
    """The model stored in a catalogue; refuses one that did not make it."""
    from xpscale.model.checkpoint import load_model

    model = load_model(catalog.storage / MODEL)
    if model.model_id != catalog.model_id:
        raise InvalidInputError(
            f"{catalog.storage}/{MODEL} is model {model.model_id[:12]}, but the rows are of"
            f" {catalog.model_id[:12]}",
            "Put the model that made the catalogue back",
        )
    return model


def _decode(table: pa.Table, model: TrainedModel) -> Spectra:
    import torch

    names = [f"latent_mean_{i}" for i in range(model.n_latents)]
    lacking = [
        name for name in ("source_id", "phot_g_mean_flux", *names) if name not in table.column_names
    ]
    if lacking:
        raise InvalidInputError(
            f"the table lacks {', '.join(lacking)}", "Keep these columns in the selection"
        )
    z = np.stack([array(table[name]) for name in names], 1).astype(np.float32)  # (N, L)
    decoded = model.decode(torch.from_numpy(z), array(table["phot_g_mean_flux"]))
    return Spectra(
        array(table["source_id"]),
        decoded.mean.numpy(),
        decoded.scatter.numpy(),
        *_origin(table, model),
    )


def _origin(table: pa.Table, model: TrainedModel | None) -> tuple[Bands, Release]:
    """Bands and release of a table's spectra: as its metadata say, or by the model or the width."""
    if stated := stated_origin(words_of(table.schema)):
        return stated
    if model is not None:
        return model.bands, model.release
    n_coefficients = array(table["reconstruction"]).shape[1]
    if n_coefficients != DR3.known_bands.n_coefficients:
        raise InvalidInputError(
            "the table does not say how many of its coefficients are BP",
            "Give a selection, or the model: reconstruct(table, model=load_model(...))",
        )
    return DR3.known_bands, DR3
