"""Files on this machine that the user names."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from xpscale.errors import InvalidInputError, NotFoundError

__all__ = ["local_path", "read_local"]


def local_path(path: str | Path) -> Path:
    """A path with ``~`` for the home folder; ``~NAME`` of nobody known stays as it is.

    Parameters
    ----------
    path
        As the user writes it.
    """
    return Path(os.path.expanduser(path))


def read_local(path: str | Path, at_most: int = -1) -> bytes:
    """The content of a file, or of a pipe.

    Parameters
    ----------
    path
        As the user writes it.
    at_most
        Bytes to read.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It cannot be read; the message has the reason.
    """
    try:
        with local_path(path).open("rb") as file:
            kind = os.fstat(file.fileno()).st_mode
            if stat.S_ISBLK(kind) or (stat.S_ISCHR(kind) and not file.isatty()):
                raise InvalidInputError(f"{path} is a device, and no file", "Check the path")
            return file.read(at_most)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NotFoundError(f"there is no file {path}", "Check the path") from error
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror}", "Check the path, and who may read it"
        ) from error
