"""Columns as people name them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError
from xpscale.query.engine import ARRAYS, unknown_column

if TYPE_CHECKING:
    from xpscale.query.version import CatalogVersion

__all__ = ["columns_called"]


def columns_called(version: CatalogVersion, name: str) -> tuple[str, ...]:
    """The columns that a user means: one, in large or small letters as in SQL, or all of a kind
    that are no arrays, ``latent_mean_*``.

    Parameters
    ----------
    version
        The catalogue.
    name
        What the user wrote.

    Raises
    ------
    InvalidInputError
        There is no such column; the message has the nearest.
    """
    if name in version.known_columns:
        return (name,)
    if name in ARRAYS:
        raise InvalidInputError(
            f"{version.storage.url} was made without {name!r}",
            "Decode them from the latents with xpscale.reconstruct(selection)",
        )
    plain = [each for each in version.column_names if "*" not in name or each not in ARRAYS]
    found = [each for each in plain if fnmatchcase(each.casefold(), name.casefold())]
    if not found:
        raise unknown_column(name, version.column_names)
    return tuple(found)
