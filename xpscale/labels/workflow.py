"""From a catalogue and a table of known labels to labels of every star."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.flags import LabelFlag
from xpscale.labels.label_model import LabelModel, fit_model
from xpscale.labels.label_table import label_columns, values_and_errors
from xpscale.labels.star_latents import StarLatents
from xpscale.query.catalog_rows import CatalogRows
from xpscale.query.crossmatch import crossmatch
from xpscale.query.frames import ExtendedRows, Rows
from xpscale.query.posterior import posterior_columns
from xpscale.query.selection import Selection
from xpscale.query.user_table import known_rows, name_of
from xpscale.schema import Column

__all__ = [
    "apply_labels",
    "fit_labels",
    "label_columns_of",
    "posterior_of",
    "require_same_model",
]

FLAGS = "; ".join(f"{flag.value}: {flag.meaning}" for flag in LabelFlag)

UCDS = {
    **dict.fromkeys(("teff", "t_eff"), "phys.temperature.effective"),
    **dict.fromkeys(("logg", "log_g"), "phys.gravity"),
    **dict.fromkeys(("fe_h", "feh", "m_h", "mh", "met"), "phys.abund.Z"),
    **dict.fromkeys(("alpha_m", "alpha_fe", "mg_fe", "c_fe", "n_fe"), "phys.abund"),
    **dict.fromkeys(("mass", "m_star"), "phys.mass"),
    **dict.fromkeys(("age",), "time.age"),
    **dict.fromkeys(("ebv", "a_v", "av", "a_g"), "phys.absorption.gal"),
}
"""UCDs of labels by the names that surveys give them."""

PIXEL_SHIFT = 2 * (29 - 5)
"""From ``_healpix_29`` to pixels of order 5, 3.4 square degrees: those of `HeldOutSplit`."""


def fit_labels(
    rows: Selection,
    table: Any,
    labels: Sequence[str] = (),
    source_id: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> LabelModel:
    """Fit labels to the latents of the stars of which they are known.

    Parameters
    ----------
    rows
        The catalogue, or a selection of it: only its stars teach.
    table
        A file or table with ``source_id`` and labels, as `xpscale.query.crossmatch` takes; of a
        star that comes several times the first row with the label counts.
    labels
        Columns of the table; by default those that have a column of errors (``teff_err``,
        ``e_teff``).
    source_id
        What its column of identifiers is called, if it is not found by its usual names.
    tell
        Called with the name of the label that is being fitted.

    Raises
    ------
    NotFoundError
        No star of the table is in the catalogue.
    InvalidInputError
        A column is missing, or a label is known of fewer than 50 stars or the same for all.
    """
    rows = rows.select()
    wanted = rows.columns("source_id", "_healpix_29", *posterior_of(rows))
    found = crossmatch(wanted, table, columns={"source_id": source_id}).to_table()
    where = name_of(table)
    if not len(found):
        raise NotFoundError(
            f"none of the stars of {where} is in {rows.catalog.storage.url}",
            "Check that both are of the same release: identifiers differ from one to the next",
        )
    chosen = label_columns(found, labels, where)
    source_id_of = found["source_id"].to_numpy()
    known = {}
    for name, errors in chosen.items():
        values, deviations = values_and_errors(found, name, errors)
        rows_of = known_rows(source_id_of, values)
        known[name] = values[rows_of], deviations[rows_of]
    found = found.take(np.unique(source_id_of, return_index=True)[1])
    units = {
        name: (found.schema.field(name).metadata or {}).get(b"unit", b"").decode()
        for name in chosen
    }
    pixel = found["_healpix_29"].to_numpy() >> PIXEL_SHIFT
    model_id = rows.catalog.identity.model_id
    return fit_model(StarLatents.of(found), known, pixel, model_id, units, tell)


def apply_labels(rows: Selection, model: LabelModel) -> Rows:
    """Rows of a catalogue with three columns more for each label, made piece by piece as they are
    read: ``teff``, ``teff_error``, ``teff_flags``.

    Parameters
    ----------
    rows
        The catalogue or a selection of it.
    model
        From `fit_labels`, of a catalogue that the same model of spectra made.

    Raises
    ------
    InvalidInputError
        The catalogue's latents are those of another model.
    """
    rows = rows.select()
    require_same_model(rows, model)
    fields = [column.field for column in label_columns_of(model)]
    names = ", ".join(model.labels)

    def compute(batch: pa.RecordBatch) -> list[pa.Array]:
        stars = StarLatents.of(pa.Table.from_batches([batch]))
        found = itertools.chain(*model.predict(stars).values())
        return [pa.array(each).cast(field.type) for each, field in zip(found, fields, strict=True)]

    return ExtendedRows(
        rows,
        fields,
        compute,
        rows.columns(*dict.fromkeys([*rows.column_names, *posterior_of(rows)])),
        lambda query: f"labels({query}: {names} of {model.n_stars} known stars)",
    )


def require_same_model(rows: CatalogRows, model: LabelModel) -> None:
    """Refuse labels that were fitted to other latents.

    Parameters
    ----------
    rows, model
        As of `apply_labels`.

    Raises
    ------
    InvalidInputError
        The catalogue's latents are those of another model.
    """
    theirs = rows.catalog.identity.model_id
    if model.model_id != theirs:
        raise InvalidInputError(
            f"the labels were fitted to latents of model {model.model_id[:12]},"
            f" {rows.catalog.storage.url} has those of {theirs[:12]}",
            "Fit them to this catalogue: xpscale labels fit",
        )


def label_columns_of(model: LabelModel) -> list[Column]:
    """The columns that a model of labels fills: of each label its value, error and flags.

    Parameters
    ----------
    model
        The labels.
    """
    columns = []
    for name, label in model.labels.items():
        what, ucd = f"{name}, predicted from the latents", UCDS.get(name.lower(), "")
        error = f"stat.error;{ucd}" if ucd else "stat.error"
        columns += [
            Column(name, pa.float32(), label.unit, ucd or "stat.param", what),
            Column(f"{name}_error", pa.float32(), label.unit, error, f"Error of {name}"),
            Column(f"{name}_flags", pa.int32(), "", "meta.code.qual", FLAGS),
        ]
    return columns


def posterior_of(rows: CatalogRows) -> list[str]:
    """The columns that hold the whole posterior of the latents.

    Raises
    ------
    InvalidInputError
        The catalogue lacks one of them.
    """
    identity = rows.catalog.identity
    held = {column.name for column in identity.columns("latents")}
    names = posterior_columns(identity.n_latents)
    if lacking := [name for name in names if name not in held]:
        raise InvalidInputError(
            f"{rows.catalog.storage.url} lacks {lacking[0]}, and labels need the whole posterior",
            "Take a catalogue that was made with --outputs latents,correlations",
        )
    return list(names)
