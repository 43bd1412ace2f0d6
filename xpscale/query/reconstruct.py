"""Reconstructed spectra of sources, from the catalogue's spectra product or decoded from its
latents.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

from xpscale.bands import Bands
from xpscale.catalog.layout import MODEL
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.catalog import Catalog
from xpscale.query.convert import array
from xpscale.query.engine import ARRAYS
from xpscale.query.posterior import (
    PosteriorSpread,
    latent_covariance,
    latent_means,
    posterior_columns,
)
from xpscale.query.reconstructed_spectra import Spectra
from xpscale.query.version import CatalogVersion, stated_origin, words_of
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.model.decoder import Decoder
    from xpscale.query.selection import Selection

__all__ = ["Spectra", "reconstruct"]


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
    ``latent_log_var_*`` and ``latent_correlation_*``: `Spectra.posterior_error`, next to the
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
    z, flux = latent_means(table, n_latents), array(table["phot_g_mean_flux"])
    return PosteriorSpread(z, latent_covariance(table), flux, model)


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
    latents = posterior_columns(model.n_latents)[: model.n_latents]
    names = ("source_id", "phot_g_mean_flux", *latents)
    if lacking := [name for name in names if name not in table.column_names]:
        raise InvalidInputError(
            f"the table lacks {', '.join(lacking)}", "Keep these columns in the selection"
        )
    z, flux = latent_means(table, model.n_latents), array(table["phot_g_mean_flux"])
    origin, spread = _origin(table, lambda: model), _spread(table, lambda: model)
    return Spectra(array(table["source_id"]), *model.decode(z, flux), *origin, spread)


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
