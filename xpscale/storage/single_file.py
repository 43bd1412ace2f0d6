"""Single files that a command writes: whole or not at all, and over nothing unless allowed."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from xpscale.errors import ConflictError, InvalidInputError
from xpscale.storage.failures import explained
from xpscale.storage.local import give_name
from xpscale.storage.value import Storage

__all__ = ["new_file", "put_file", "require_free"]


def require_free(destination: str | Path, *, overwrite: bool) -> None:
    """Refuse a destination where something is, before the work for it starts.

    Parameters
    ----------
    destination
        Path or URL of a file to be.
    overwrite
        Whether a file may be replaced; a folder never is.

    Raises
    ------
    ConflictError
        Something is there.
    InvalidInputError
        It is no file and no folder, such as ``/dev/null``, which must not be replaced by one.
    """
    folder, name = _folder_and_name(destination)
    path = folder.folder and folder.folder / name
    if (path and path.is_dir()) or (not overwrite and folder.exists(name)):
        raise _taken(destination)


def put_file(destination: str | Path, data: bytes | memoryview, *, overwrite: bool) -> None:
    """Write a file whose content is in memory.

    Parameters
    ----------
    destination
        Path or URL of the file.
    data
        Its content.
    overwrite
        Replace what is there.

    Raises
    ------
    ConflictError
        Another file is there, and ``overwrite`` is false.
    InvalidInputError
        As of `require_free`.
    """
    folder, name = _folder_and_name(destination)
    if overwrite:
        folder.replace(name, data)
    elif not folder.create(name, data):
        raise _taken(destination)


@contextlib.contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary local file that becomes ``path`` if the block succeeds, else vanishes.

    Parameters
    ----------
    path
        The file to be.
    overwrite
        Replace what is there.

    Raises
    ------
    ConflictError
        Something is there, and ``overwrite`` is false.
    InvalidInputError, TryAgainError
        The place cannot be written, or is full.
    """
    temporary = path.with_name(f".xpscale-{secrets.token_hex(6)}{path.suffix}")
    try:
        with explained(str(path)):
            yield temporary
            if overwrite:
                temporary.replace(path)
            elif not give_name(temporary, path):
                raise _taken(path)
    finally:
        temporary.unlink(missing_ok=True)


def _taken(destination: str | Path) -> ConflictError:
    return ConflictError(
        f"{destination} is already there",
        "Choose another name, or allow overwriting (--overwrite, overwrite=True)",
    )


def _folder_and_name(destination: str | Path) -> tuple[Storage, str]:
    """The folder of a file to be.  A device, such as ``/dev/null``, must not become a file."""
    folder, _, name = Storage(str(destination)).url.rpartition("/")
    path = None if "://" in folder else Path(folder, name)
    if path and path.exists() and not (path.is_file() or path.is_dir()):
        raise InvalidInputError(f"{destination} is a device or a pipe", "Give the name of a file")
    return Storage(folder or "/"), name
