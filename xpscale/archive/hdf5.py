"""HDF5 files of others: what they hold themselves is read, and nothing that they refer to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from xpscale.errors import InvalidInputError
from xpscale.expansion import require_expansion

if TYPE_CHECKING:
    import h5py

__all__ = ["hdf5_groups", "open_hdf5"]


MOST_ARRAYS = 10_000
"""In a group; each is looked at before any is read."""


@contextmanager
def open_hdf5(
    stream: BinaryIO, name: str, n_stored: int, group: str = ""
) -> Iterator[h5py.File | h5py.Group]:
    """A group of an HDF5 file, all of which must lie in the file itself and be of a size that fits
    it.

    Parameters
    ----------
    stream
        The file, seekable.
    name
        What to call it in errors.
    n_stored
        Its bytes.
    group
        The group; the root if empty.  Nothing is looked at outside it.

    Raises
    ------
    InvalidInputError
        It refers to other files, has too many arrays, or one would take far more memory than the
        file has bytes.
    """
    import h5py

    links: list[str] = []
    arrays: list[tuple[str, h5py.Dataset]] = []
    with h5py.File(stream, "r") as whole:
        file = _inside(whole, group, name)
        # h5py loses errors that its visitors raise
        file.visititems_links(
            lambda path, link: links.append(path) if isinstance(link, h5py.ExternalLink) else None
        )

        def visit(path: str, item: Any) -> bool | None:
            if hasattr(item, "shape"):
                arrays.append((path, item))
            return True if len(arrays) > MOST_ARRAYS else None

        if file.visititems(visit):
            raise InvalidInputError(f"{name} has more than {MOST_ARRAYS:,} arrays", "Split it")
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


def _inside(file: h5py.File, group: str, name: str) -> h5py.File | h5py.Group:
    """A group that lies in the file itself."""
    import h5py

    if group and not isinstance(file.get(group, getlink=True), h5py.HardLink):
        raise InvalidInputError(
            f"{name}: {group} is a link, which is not read", "Write a file that holds all its data"
        )
    return file[group] if group else file


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

    with h5py.File(stream, "r") as file:
        if file.get("source_id", getlink=True):
            return [""]
        found = ((group, _inside(file, group, name)) for group in file)
        groups = [
            group
            for group, item in found
            if isinstance(item, h5py.Group) and item.get("source_id", getlink=True)
        ]
        return groups or [""]
