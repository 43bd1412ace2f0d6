"""Parsers of what people have: each recognises its format, lists its fragments, and reads one."""

from __future__ import annotations

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.ingest.parsers import archive, row_groups, tabular
from xpscale.ingest.parsers.contents import Contents, Fragment, FragmentRows, Parser
from xpscale.ingest.parsers.input import Input
from xpscale.ingest.parsers.other_tables import set_apart
from xpscale.packed_files import packed_kind

__all__ = ["Contents", "Fragment", "FragmentRows", "Input", "Parser", "recognise"]


def recognise(given: Input) -> Contents:
    """What an input holds, in fragments.

    Raises
    ------
    NotFoundError
        It holds nothing that can be ingested.
    InvalidInputError
        It cannot be ingested as it is; the message says what is missing.
    """
    contents = archive.recognise(given)
    if contents is None:
        given = set_apart(given)
        contents = row_groups.recognise(given) or tabular.recognise(given)
    if contents is None:
        if packed := next(filter(packed_kind, sorted(given.files)), ""):
            raise InvalidInputError(
                f"{given.storage.url_of(packed)} is a {packed_kind(packed)}",
                "Unpack it, and give the folder",
            )
        raise NotFoundError(
            f"{given.url} holds no archive file, and no table of spectra",
            "Give a folder with xp_continuous_mean_spectrum/ and gaia_source/, DataLink products,"
            " HDF5 or Parquet files",
        )
    if given.correlations and not contents.has_correlations:
        raise InvalidInputError(
            f"correlations are not read from Parquet with positions, as {given.url} is",
            "Leave out --correlations, or give the positions as a table of their own: --sources",
        )
    return contents
