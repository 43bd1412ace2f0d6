"""The root group of a finished spectra store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.store.layout import FORMAT, FORMAT_VERSION, INGEST

if TYPE_CHECKING:
    from xpscale.storage import Storage

__all__ = ["root_attributes"]


def root_attributes(storage: Storage) -> dict[str, Any]:
    """What the root group says: format, counts, digest, provenance.

    Raises
    ------
    NotFoundError
        Nothing is there.
    InvalidInputError
        Something else is there, the ingest has not finished, or another version of xpscale made it.
    """
    try:
        root = json.loads(storage.read("zarr.json"))
    except NotFoundError:
        if storage.exists(INGEST):
            raise InvalidInputError(
                f"{storage.url} is a spectra store whose ingest has not finished",
                "Run the same 'xpscale ingest' again",
            ) from None
        raise NotFoundError(
            f"{storage.url} is not a spectra store: it has no zarr.json",
            "Check the address, or make one: 'xpscale ingest'",
        ) from None
    except ValueError as error:
        raise InvalidInputError(
            f"{storage.url}/zarr.json is not JSON ({error})", "The store is damaged"
        ) from error
    attributes: dict[str, Any] = root.get("attributes", {})
    if attributes.get("format") != FORMAT:
        raise InvalidInputError(
            f"{storage.url} is a Zarr group, but no spectra store",
            "Give the store that 'xpscale ingest' made",
        )
    if attributes.get("format_version") != FORMAT_VERSION:
        raise InvalidInputError(
            f"{storage.url} has store format version {attributes.get('format_version')}; this"
            f" xpscale reads version {FORMAT_VERSION}",
            "Ingest the archive again, or use the xpscale that made it",
        )
    return attributes
