"""A finished temporary file gets its name, on every file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["give_name"]

NO_HARD_LINKS = {
    errno.EPERM,
    errno.EACCES,
    errno.EXDEV,
    errno.EMLINK,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
}
"""What file systems answer to `os.link` that have no hard links, or forbid them."""


def give_name(temporary: Path, path: Path) -> bool:
    """Give a finished file its name.  Unlike a rename this refuses what appeared there in the
    meantime; where there are no hard links, the name is reserved by an empty file first.

    Parameters
    ----------
    temporary
        The finished file, in the folder of ``path``; it may or may not be there afterwards.
    path
        Its name.

    Returns
    -------
    bool
        False if the name is taken.
    """
    try:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            temporary.replace(path)
    except FileExistsError:
        return False
    return True
