"""A prefix in a bucket, or an address on the web, which is read only.

S3 is configured by the standard AWS environment, the same for every library used here:
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, and ``AWS_ENDPOINT_URL`` for
servers other than Amazon's; a public bucket is read with ``AWS_SKIP_SIGNATURE=true``.
``AWS_TIMEOUT`` (``300s``) ends a request that hangs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from xpscale.errors import InvalidInputError
from xpscale.storage.backend import Backend

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["RemoteBackend"]

TIMEOUT = "300s"  # of one request: a part of 200 MB at 0.7 MB/s


class RemoteBackend(Backend):
    """Objects of a server, through obstore, which repeats refused requests (503) for minutes.

    Parameters
    ----------
    url
        ``s3://bucket/prefix`` or ``https://host/prefix``.
    """

    parquet_options = MappingProxyType({"pre_buffer": True})  # few large ranges
    create_delays_s = (0.2, 1.0, 5.0)

    def __init__(self, url: str) -> None:
        self._url = url
        self.protocol = url.split("://")[0]
        self.is_web = self.protocol != "s3"

    @property
    def fsspec_options(self) -> dict[str, Any]:
        """Of its fsspec file system."""
        if self.is_web:
            return {}
        # hats opens an s3:// string anonymously unless the option is given
        return {"anon": os.environ.get("AWS_SKIP_SIGNATURE", "").lower() == "true"}

    def read(self, key: str) -> bytes:
        """A whole object."""
        import obstore

        return bytes(obstore.get(self._store, key).bytes())

    def read_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Part of an object."""
        import obstore

        return bytes(obstore.get_range(self._store, key, start=start, length=n_bytes))

    def size(self, key: str) -> int | None:
        """Its size in bytes, ``None`` if it does not exist."""
        import obstore

        try:
            return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    def objects(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        """Key, size and time of every object."""
        import obstore

        for chunk in obstore.list(self._store, prefix or None):
            for meta in chunk:
                yield meta["path"], int(meta["size"]), meta["last_modified"].timestamp()

    def keys(self) -> Iterator[str]:
        """Keys of finished objects."""
        import obstore

        for chunk in obstore.list(self._store, chunk_size=1):
            for meta in chunk:
                yield meta["path"]

    def create(self, key: str, data: bytes) -> bool:
        """Write it if there is none."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            obstore.put(self._writable, key, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def replace(self, key: str, data: bytes) -> None:
        """Write it over whatever was there."""
        import obstore

        # in one request: a multipart upload that was cut off would stay there, invisible and paid
        # for
        obstore.put(self._writable, key, data, use_multipart=False)

    def delete(self, key: str) -> None:
        """Remove it."""
        import obstore

        obstore.delete(self._writable, key)

    def remove_folders(self) -> None:
        """Nothing to do: a server has no folders."""

    @cached_property
    def _store(self) -> ObjectStore:
        from obstore.store import HTTPStore, S3Store

        if self.is_web:
            return HTTPStore.from_url(
                self._url, client_options={"allow_http": self.protocol == "http"}
            )
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        options = {
            "timeout": os.environ.get("AWS_TIMEOUT", TIMEOUT),
            "allow_http": endpoint.startswith("http://"),
        }
        return S3Store.from_url(self._url, client_options=options)  # type: ignore[arg-type]

    @property
    def _writable(self) -> ObjectStore:
        if self.is_web:
            raise InvalidInputError(f"{self._url} is read only", "Write to a local path or s3://")
        return self._store
