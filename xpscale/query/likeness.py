"""Sources like one of them, and those that the model knows least.

A source is known to its posterior only: the latents z have the mean m and the covariance S
(`xpscale.query.posterior.latent_covariance`).  With those of the wanted source, m0 and S0::

    d       = m - m0                         C = S + S0
    chi2    = d^T C^-1 d                     about L, the number of latents, for equal stars
    distance = chi2 / 4 + 1/2 ln(|C / 2| / sqrt(|S| |S0|))

The distance is Bhattacharyya's of two normal distributions (Kailath 1967, IEEE Transactions on
Communication Technology 15, 52): zero for equal posteriors, and it grows where the means differ as
much as where one posterior is far wider than the other.  By chi2 alone, the nearest to every star
would be the faintest, whose latents may be anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.catalog_rows import CatalogRows
from xpscale.query.convert import array
from xpscale.query.frames import Result
from xpscale.query.identifiers import read_ids
from xpscale.query.posterior import latent_covariance, latent_means, posterior_columns
from xpscale.schema import correlation_columns

__all__ = ["bhattacharyya", "like", "outliers"]

SCORE = "in_distribution_score"
LIKENESS = {
    "latent_distance": "Bhattacharyya distance of the posterior from that of the source asked for",
    "latent_chi2": "Squared distance of the means over the sum of the covariances",
}
log = logging.getLogger("xpscale")


def like(
    rows: CatalogRows, source_id: Any, n: int, progress: Callable[[int], object] | None = None
) -> Result:
    """The sources nearest in latent space to one of them, the nearest first, itself among them.

    Parameters
    ----------
    rows
        Where to look; read piece by piece, so memory does not grow with their number.
    source_id, n, progress
        As of `Selection.like`.

    Raises
    ------
    NotFoundError
        The catalogue does not have that source.
    InvalidInputError
        It is no identifier, or ``n`` is no number of rows.
    """
    catalog = rows.catalog
    _require_number(n)
    ids = read_ids(source_id, catalog.release)
    if len(ids) != 1:
        raise InvalidInputError(f"{source_id!r} holds {len(ids)} identifiers", "Give one")
    held = {column.name for column in catalog.identity.columns("latents")}
    names = [name for name in posterior_columns(catalog.identity.n_latents) if name in held]
    if len(names) == 2 * catalog.identity.n_latents:
        log.warning("the catalogue has no correlations of the latents: they are taken as zero")
    one = CatalogRows(catalog, source_ids=ids, names=("source_id", *names))
    if len(one.missing):
        raise NotFoundError(f"source_id {ids[0]} is not in {catalog.storage.url}", "Check it")
    mean0, covariance0 = _posterior(one.to_table())
    best, best_ids = np.empty((0, 2)), np.empty(0, np.int64)
    for batch in rows.columns("source_id", *names).batches():
        table = pa.Table.from_batches([batch])
        likeness = bhattacharyya(*_posterior(table), mean0[0], covariance0[0])
        best = np.concatenate([best, likeness])
        best_ids = np.concatenate([best_ids, array(table["source_id"])])
        kept = np.lexsort((best_ids, best[:, 0]))[:n]
        best, best_ids = best[kept], best_ids[kept]
        if progress is not None:
            progress(batch.num_rows)
    known = np.isfinite(best[:, 0])
    found = replace(rows, source_ids=best_ids[known], most=None).to_table()
    for column, (name, text) in zip(best[known].T, LIKENESS.items(), strict=True):
        words = {"unit": "", "ucd": "stat.value", "description": text}
        field = pa.field(name, pa.float64(), nullable=False, metadata=words)
        found = found.append_column(field, pa.array(column))
    return Result(found, {**rows.provenance, "query": f"{rows.query}.like({ids[0]}, {n})"})


def bhattacharyya(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    mean0: NDArray[np.float64],
    covariance0: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The distance and chi2 of normal distributions from one of them, with shape (N, 2).

    Parameters
    ----------
    mean, covariance
        With shapes (N, L) and (N, L, L).
    mean0, covariance0
        Of the one, with shapes (L,) and (L, L).
    """
    total = covariance + covariance0
    difference = mean - mean0
    chi2 = np.einsum("nl,nl->n", difference, np.linalg.solve(total, difference[..., None])[..., 0])
    log_of = (np.linalg.slogdet(matrix)[1] for matrix in (total / 2, covariance, covariance0))
    both, own, its = log_of
    return np.stack([chi2 / 4 + (both - (own + its) / 2) / 2, chi2], 1)


def _posterior(table: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means with shape (N, L) and covariances with shape (N, L, L)."""
    n_latents = sum(name.startswith("latent_mean_") for name in table.column_names)
    mean = latent_means(table, n_latents)
    for name in correlation_columns(n_latents):
        if name not in table.column_names:
            table = table.append_column(name, pa.array(np.zeros(table.num_rows)))
    return mean.astype(np.float64), latent_covariance(table)


def outliers(rows: CatalogRows, n: int) -> Result:
    """The sources with the smallest ``in_distribution_score``; among equal ones first those with
    the largest ``reduced_chi2``.

    Parameters
    ----------
    rows
        Where to look.
    n
        How many.

    Raises
    ------
    InvalidInputError
        The catalogue has no such score, or ``n`` is no number of rows.
    """
    _require_number(n)
    if SCORE not in rows.catalog.known_columns:
        raise InvalidInputError(
            f"{rows.catalog.storage.url} has no {SCORE}: it was made without a reconstruction",
            "Take outliers of a catalogue that has one, or sort by kl or flags in SQL",
        )
    names = ", ".join(f'"{name}"' for name in rows.column_names)
    known = replace(rows, conditions=(*rows.conditions, f"NOT isnan({SCORE})"))
    chi2 = "CASE WHEN isnan(reduced_chi2) THEN -1 ELSE reduced_chi2 END"
    order = f"ORDER BY {SCORE}, {chi2} DESC, source_id LIMIT {n}"
    with known.run(names, order) as found:
        table = found.to_arrow_table().cast(rows.schema)
    return Result(table, {**rows.provenance, "query": f"{rows.query}.outliers({n})"})


def _require_number(n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise InvalidInputError(f"{n!r} sources cannot be given", "Give a number of 1 or more")
