"""HDF5 files of others: what they hold themselves is read, and nothing that they refer to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from xpscale.errors import InvalidInputError
from xpscale.expansion import require_expansion

if TYPE_CHECKING:
    import h5py

__all__ = ["hdf5_groups", "open_hdf5"]


@contextmanager
def open_hdf5(stream: BinaryIO, name: str, n_stored: int) -> Iterator[h5py.File]:
    """An HDF5 file, all of which must lie in the file itself and be of a size that fits it.

    Parameters
    ----------
    stream
        The file, seekable.
    name
        What to call it in errors.
    n_stored
        Its bytes.

    Raises
    ------
    InvalidInputError
        It refers to other files, or an array would take far more memory than the file has bytes.
    """
    import h5py

    links: list[str] = []
    arrays: list[tuple[str, h5py.Dataset]] = []
    with h5py.File(stream, "r") as file:
        # h5py loses errors that its visitors raise
        file.visititems_links(
            lambda path, link: links.append(path) if isinstance(link, h5py.ExternalLink) else None
        )
        file.visititems(
            lambda path, item: arrays.append((path, item)) if hasattr(item, "shape") else None
        )
        links += [path for path, item in arrays if item.external or item.is_virtual]
        if links:
            raise InvalidInputError(
                f"{name}: {links[0]} lies in another file, which is not read",
                "Write a file that holds all its data",
            )
        for path, item in arrays:
            n_bytes = (item.size or 0) * item.dtype.itemsize
            require_expansion(f"{name}: {path}", n_bytes, n_stored)
        yield file


def hdf5_groups(stream: BinaryIO, name: str) -> list[str]:
    """The groups that hold a table each (MyGaiaDB's file of all ranges); ``[""]`` if the root does
    (Flatiron's).

    Parameters
    ----------
    stream
        The file.
    name
        What to call it in errors.
    """
    import h5py

    with open_hdf5(stream, name, stream.seek(0, io.SEEK_END)) as file:
        groups = [
            name
            for name, item in file.items()
            if isinstance(item, h5py.Group) and "source_id" in item
        ]
        return [""] if "source_id" in file or not groups else groups
