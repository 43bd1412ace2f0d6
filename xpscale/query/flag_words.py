"""Quality bits as words, for people who look at rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from xpscale.errors import InvalidInputError
from xpscale.flags import Flag
from xpscale.query.frames import ExtendedRows, Rows

__all__ = ["WORDS_COLUMN", "flags_in_words"]

WORDS_COLUMN = "flags_in_words"

GOOD = "good"
"""Stands for no words: file formats take an empty text for a missing one."""


def flags_in_words(rows: Rows) -> Rows:
    """Rows with one column more, ``flags_in_words``: ``poor fit; partly seen``, or ``good``.

    >>> flags_in_words(cat.where("flags > 0")).to_pandas()  # doctest: +SKIP

    Parameters
    ----------
    rows
        Rows with the column ``flags``: a selection, or another result.

    Raises
    ------
    InvalidInputError
        They have no such column, or have one with the name of the new one.
    """
    names = rows.schema.names
    if "flags" not in names or WORDS_COLUMN in names:
        problem = f"already a column {WORDS_COLUMN}" if "flags" in names else "no column flags"
        raise InvalidInputError(
            f"the rows have {problem}", "Choose the column 'flags' as well, and no other such"
        )
    words: dict[Any, Any] = {
        "unit": "",
        "ucd": "meta.code.qual",
        "description": "The bits of flags that are set, in words",
    }
    return ExtendedRows(rows, [pa.field(WORDS_COLUMN, pa.string(), metadata=words)], _words)


def _words(batch: pa.RecordBatch) -> list[pa.Array]:
    bits, place = np.unique(np.asarray(batch["flags"]), return_inverse=True)
    words = pa.array([Flag(int(each)).words or GOOD for each in bits], pa.string())
    return [words.take(pa.array(place))]
