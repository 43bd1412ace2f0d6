"""Objects of Google's and Azure's stores as paths for hats and lsdb, with the credentials that we
use: through obstore, so that neither gcsfs nor adlfs is needed.

A path travels to other processes as its class, whose module registers the file system there.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import fsspec
from obstore.fsspec import SUPPORTED_PROTOCOLS, BufferedFile, FsspecStore
from upath.implementations.cloud import CloudPath
from upath.registry import register_implementation

from xpscale.storage.clouds import open_store

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["CloudFiles", "ObjectPath", "object_path"]

PREFIX = "xpscale"


class CloudFiles(FsspecStore):
    """The objects of all buckets of one scheme."""

    def _construct_store(self, bucket: str) -> ObjectStore:
        return open_store(f"{self.protocol.removeprefix(PREFIX)}://{bucket}")

    def _split_path(self, path: str) -> tuple[str, str]:
        # FsspecStore would take # and ? for those of a web address
        bucket, _, key = self._strip_protocol(path).partition("/")
        return bucket, key

    def _open(self, path: str, mode: str = "rb", **_: Any) -> _File:  # type: ignore[override]
        if mode != "rb":
            raise PermissionError(path)
        file: _File = _File(self, path)
        return file


class _File(BufferedFile):
    # what a file that could not be opened closes when it is forgotten
    _reader: Any = io.BytesIO()


class ObjectPath(CloudPath):
    """A path on `CloudFiles`."""

    __slots__ = ()


def object_path(url: str) -> ObjectPath:
    """The path of an address.

    Parameters
    ----------
    url
        As `xpscale.storage.address.checked` writes it.
    """
    return ObjectPath(f"{PREFIX}{url}")


def _register(scheme: str) -> None:
    protocol = f"{PREFIX}{scheme}"
    options: dict[str, Any] = {"protocol": protocol}
    files = type(f"CloudFiles_{scheme}", (CloudFiles,), options)
    SUPPORTED_PROTOCOLS.add(protocol)
    fsspec.register_implementation(protocol, files, clobber=True)
    register_implementation(protocol, ObjectPath, clobber=True)


for _scheme in ("gs", "az", "abfss"):
    _register(_scheme)
