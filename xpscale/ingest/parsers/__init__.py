"""Parsers of what people have: each recognises its format, lists its fragments, and reads one."""

from __future__ import annotations

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.ingest.parsers import archive, row_groups, tabular
from xpscale.ingest.parsers.contents import Contents, Fragment, FragmentRows, Parser
from xpscale.ingest.parsers.input import Input

__all__ = ["Contents", "Fragment", "FragmentRows", "Input", "Parser", "recognise"]

FORMATS = (archive, row_groups, tabular)
"""In the order in which they are tried."""


def recognise(given: Input) -> Contents:
    """What an input holds, in fragments.

    Raises
    ------
    NotFoundError
        It holds nothing that can be ingested.
    InvalidInputError
        It cannot be ingested as it is; the message says what is missing.
    """
    for format_ in FORMATS:
        contents: Contents | None = format_.recognise(given)
        if contents is None:
            continue
        if given.correlations and not contents.has_correlations:
            raise InvalidInputError(
                f"correlations are kept from the bulk archive only, and {given.url} is none",
                "Leave out --correlations",
            )
        return contents
    raise NotFoundError(
        f"{given.url} holds no archive file, and no table of spectra",
        "Give a folder with xp_continuous_mean_spectrum/ and gaia_source/, DataLink products, HDF5"
        " or Parquet files",
    )
