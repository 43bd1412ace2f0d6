"""What DuckDB reads objects by, where it cannot reach them itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpscale.storage.address import inside

if TYPE_CHECKING:
    import duckdb

    from xpscale.errors import XpscaleError
    from xpscale.storage import Storage
    from xpscale.storage.fsspec_files import Objects

__all__ = ["duckdb_name", "open_to"]


def open_to(
    storage: Storage, objects: Objects, connection: duckdb.DuckDBPyConnection
) -> list[XpscaleError]:
    """Let a DuckDB connection read the objects of a place by their `duckdb_name`.

    Returns
    -------
    list of XpscaleError
        Errors of reading, as they come; DuckDB's own words for them are a traceback.

    Parameters
    ----------
    storage
        The place.
    objects
        What reads them, where DuckDB cannot.
    connection
        Where to read them.
    """
    if _is_plain_path(storage):
        return []
    from xpscale.storage.fsspec_files import ObjectFiles  # not for local files: it takes a while

    files = ObjectFiles(storage.url, objects)
    connection.register_filesystem(files)
    return files.failures


def duckdb_name(storage: Storage, key: str) -> str:
    """What DuckDB calls an object: its path, or a name in which no character is a pattern.

    Parameters
    ----------
    storage, key
        The place, and the object.
    """
    address = f"{storage.url}/{inside(key, storage.url)}"
    return address if _is_plain_path(storage) else f"xpscale://{address}"


def _is_plain_path(storage: Storage) -> bool:
    """Whether DuckDB reads it as quickly without us."""
    return storage.folder is not None and not set("*?[") & set(storage.url)
