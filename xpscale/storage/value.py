"""Objects at a URL, through one interface: a local folder, a bucket (``s3://``, ``gs://``,
``az://``), a web address.

Every object is written whole.  `Storage.create` is a conditional PUT (``If-None-Match: *``; on a
local disk a hard link of a finished temporary file), so of several writers exactly one wins and
nobody ever sees half an object.  `Storage.replace` overwrites what its caller says is ours.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.errors import ConflictError, NotFoundError, TryAgainError
from xpscale.storage.readable import ReadableStorage

if TYPE_CHECKING:
    from upath import UPath

__all__ = ["Storage"]

MOST_CHANGES = 20
"""Times that others may change an object between our look at it and our writing."""


@dataclass(frozen=True)
class Storage(ReadableStorage):
    """A prefix in an object store or a folder.  It holds only its URL until it is used, and travels
    to other processes as that.

    Parameters
    ----------
    url
        A local path, ``file://``, ``s3://bucket/prefix``, ``gs://bucket/prefix``,
        ``az://container/prefix`` or ``https://host/prefix`` (read only).
    """

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """Write an object if there is none of that key yet.

        Parameters
        ----------
        key, data
            The object, and what it shall hold.

        Returns
        -------
        bool
            Whether the object holds exactly ``data`` now, because this call or another one wrote
            that; False if a different object was there first.
        """
        # obstore does not repeat a conditional PUT that timed out.  It is safe here, because the
        # object that is there then is read and compared.
        for delay_s in self._backend.create_delays_s:
            try:
                return self._create(key, bytes(data))
            except TryAgainError:
                time.sleep(delay_s)
        return self._create(key, bytes(data))

    def _create(self, key: str, data: bytes) -> bool:
        with self._explained(key):
            if self._backend.create(key, data):
                return True
        try:
            return self.read(key) == data
        except NotFoundError as error:  # S3 refuses while another's PUT of the key is under way
            raise TryAgainError(f"{self.url}/{key} is being written by somebody else") from error

    def replace(
        self, key: str, data: bytes | memoryview, is_ours: Callable[[bytes], bool] | None = None
    ) -> None:
        """Write an object, whole, over an earlier one of ours.

        A bucket refuses it if the object was changed after ``is_ours`` saw it.

        Parameters
        ----------
        key, data
            The object, and what it shall hold.
        is_ours
            Whether what is there may be lost; by default anything may.

        Raises
        ------
        ConflictError
            What is there is not ours; it stays.
        """
        delays_s = list(self._backend.create_delays_s)
        for _ in range(MOST_CHANGES):
            if is_ours is not None and self.create(key, data):
                return
            try:
                if self._replace(key, bytes(data), is_ours):
                    return
            except TryAgainError:  # as in `create`: a conditional PUT is not repeated below us
                if not delays_s:
                    raise
                time.sleep(delays_s.pop(0))
        raise TryAgainError(f"{self.url_of(key)} is being written by others all the time")

    def _replace(self, key: str, data: bytes, is_ours: Callable[[bytes], bool] | None) -> bool:
        """Whether what was there was replaced, and not another's newer object found instead."""
        version = ""
        with contextlib.suppress(NotFoundError), self._explained(key):
            if is_ours is not None:
                there, version = self._backend.read_version(key)
                if not is_ours(there):
                    raise ConflictError(
                        f"{self.url_of(key)} is there, and xpscale did not write it",
                        "Move it elsewhere, or choose another place",
                    )
            return self._backend.replace(key, data, version)
        return False

    def delete(self, *keys: str) -> None:
        """Remove objects; one that is not there is no error."""
        for key in keys:
            with contextlib.suppress(NotFoundError), self._explained(key):
                self._backend.delete(key)

    def remove(self) -> None:
        """Remove everything, and on a disk the folder, and the one above if it is empty then."""
        with self._explained():
            self._backend.remove()

    # -- for other libraries

    @property
    def upath(self) -> UPath:
        """This prefix as a `upath.UPath`, as hats and lsdb take it."""
        return self._backend.upath
