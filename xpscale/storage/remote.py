"""A prefix in a bucket, or an address on the web, which is read only.

Buckets are those of `xpscale.storage.clouds`.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from xpscale.errors import InvalidInputError
from xpscale.storage import s3_settings
from xpscale.storage.backend import Backend, require_size
from xpscale.storage.clouds import cloud_of, open_store

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore
    from upath import UPath

__all__ = ["RemoteBackend"]


class RemoteBackend(Backend):
    """Objects of a server, through obstore, which repeats refused requests (503) for minutes.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``, or that of another cloud, or ``https://host/prefix``.
    """

    parquet_options = MappingProxyType({"pre_buffer": True})  # few large ranges
    create_delays_s = (0.2, 1.0, 5.0)

    def __init__(self, url: str) -> None:
        self._url = url
        self._cloud = cloud_of(url)
        self._is_web = self._cloud is None

    @property
    def upath(self) -> UPath:
        """The place as hats and lsdb take it."""
        from upath import UPath

        if self._url.startswith(("gs://", "az://", "abfss://")):
            from xpscale.storage.cloud_files import object_path

            return object_path(self._url)
        path: UPath = UPath(self._url, **({} if self._is_web else s3_settings.for_fsspec()))
        return path

    def read(self, key: str, at_most: int | None = None) -> bytes:
        """A whole object."""
        import obstore

        found = obstore.get(self._store, key)
        require_size(f"{self._url}/{key}", found.meta["size"], at_most)
        return bytes(found.bytes())

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
                # the marker of a folder, "name/", is listed without its stroke
                if meta["size"] or (meta["path"] and self.size(meta["path"]) is not None):
                    yield meta["path"], int(meta["size"]), meta["last_modified"].timestamp()

    def first_key(self, begun: str) -> str:
        """Key of one object."""
        return next((key for key, *_ in self.objects("")), "")

    def create(self, key: str, data: bytes) -> bool:
        """Write it if there is none."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            obstore.put(self._writable, key, data, mode="create", **_put_options(key))
        except AlreadyExistsError:
            return False
        return True

    def read_version(self, key: str) -> tuple[bytes, str]:
        """A whole object, and its entity tag or generation."""
        import obstore

        found = obstore.get(self._store, key)
        version = found.meta[self._cloud.VERSION] if self._cloud else ""
        return bytes(found.bytes()), version or ""

    def replace(self, key: str, data: bytes, version: str) -> bool:
        """Write it over what is there, if that is the version."""
        import obstore
        from obstore.exceptions import PreconditionError

        mode: UpdateVersion | Literal["overwrite"] = "overwrite"
        if version and self._cloud:
            mode = {"version": version} if self._cloud.VERSION == "version" else {"e_tag": version}
        try:
            obstore.put(self._writable, key, data, mode=mode, **_put_options(key))
        except PreconditionError:
            return False
        return True

    def delete(self, key: str) -> None:
        """Remove it."""
        import obstore

        obstore.delete(self._writable, key)

    def remove(self) -> None:
        """Remove every object."""
        for key, *_ in list(self.objects("")):
            self.delete(key)

    @cached_property
    def _store(self) -> ObjectStore:
        if not self._is_web:
            return open_store(self._url)
        from obstore.store import HTTPStore

        is_plain = self._url.startswith("http://")
        return HTTPStore.from_url(self._url, client_options={"allow_http": is_plain})

    @property
    def _writable(self) -> ObjectStore:
        if self._is_web:
            raise InvalidInputError(
                f"{self._url} is read only", "Write to a local path or a bucket"
            )
        return self._store


def _put_options(key: str) -> dict[str, Any]:
    """One request, as a multipart upload that was cut off would stay there, invisible and paid for;
    with the type by which a browser knows a page or a picture from a file to save.
    """
    kind, _ = mimetypes.guess_type(key)
    return {"use_multipart": False, "attributes": {"Content-Type": kind} if kind else None}
