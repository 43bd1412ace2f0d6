"""Objects at a URL: a local folder, ``s3://bucket/prefix`` or ``https://...``, through one small
door.

Every object is written whole.  `Storage.create` is a conditional PUT (``If-None-Match: *``; on a
local disk a hard link of a finished temporary file), so of several writers exactly one wins and
nobody ever sees half an object.  `Storage.replace` overwrites, for what may be written twice with
the same meaning.

S3 is configured by the standard AWS environment, the same for every library used here:
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, and ``AWS_ENDPOINT_URL`` for
servers other than Amazon's; a public bucket is read with ``AWS_SKIP_SIGNATURE=true``.
``AWS_TIMEOUT`` (``300s``) ends a request that hangs.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from xpscale.errors import ConflictError, InvalidInputError, NotFoundError, TryAgainError
from xpscale.storage.ranges import RangeFile

if TYPE_CHECKING:
    import fsspec
    from obstore.store import ObjectStore
    from upath import UPath

__all__ = ["Storage"]

REMOTE = ("s3://", "https://", "http://")

CREATE_DELAYS_S = (0.2, 1.0, 5.0)
"""Pauses before a PUT whose answer did not come is sent again; refused ones (503) obstore repeats
by itself, for minutes.
"""

TIMEOUT = "300s"  # of one request: a part of 200 MB at 0.7 MB/s


@dataclass(frozen=True)
class Storage:
    """A prefix in an object store or a folder.  Holds only its URL until used, so it travels to
    workers as it is.

    Parameters
    ----------
    url
        A local path, ``file://``, ``s3://bucket/prefix`` or ``https://host/prefix`` (read only).
    """

    url: str
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        url = os.fspath(self.url)
        if "://" not in url or url.startswith("file://"):
            url = str(Path(url.removeprefix("file://")).expanduser().absolute())
        elif not url.startswith(REMOTE):
            raise InvalidInputError(
                f"{url} has a scheme xpscale cannot open",
                "Use a local path, s3://, https:// or http://",
            )
        object.__setattr__(self, "url", url.rstrip("/") or "/")

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "_cache": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, key: str) -> Storage:
        return Storage(f"{self.url}/{key.strip('/')}")

    @property
    def is_local(self) -> bool:
        """Whether this is a folder on a local (or mounted) file system."""
        return not self.url.startswith(REMOTE)

    @property
    def name(self) -> str:
        """The last word of the URL."""
        return self.url.rsplit("/", 1)[-1]

    @cached_property
    def store(self) -> ObjectStore:
        """The obstore handle behind this prefix; a local folder is made at the first write, not
        here.
        """
        from obstore.store import HTTPStore, LocalStore, S3Store

        if self.is_local:
            return LocalStore(self.url if Path(self.url).is_dir() else None, mkdir=False)
        if self.url.startswith("s3://"):
            endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
            options = {
                "timeout": os.environ.get("AWS_TIMEOUT", TIMEOUT),
                "allow_http": endpoint.startswith("http://"),
            }
            return S3Store.from_url(self.url, client_options=options)  # type: ignore[arg-type]
        return HTTPStore.from_url(
            self.url, client_options={"allow_http": self.url.startswith("http://")}
        )

    def _local(self, key: str) -> Path:
        return Path(self.url) / key

    # -- reading

    def read(self, key: str) -> bytes:
        """The whole object."""
        import obstore

        with self._explained(key):
            if self.is_local:
                return self._local(key).read_bytes()
            return bytes(obstore.get(self.store, key).bytes())

    def read_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Part of an object; shorter than ``n_bytes`` only where the object ends."""
        if n_bytes == 0:
            return b""
        try:
            return self._read_range(key, start, n_bytes)
        except TryAgainError as error:  # or is the object damaged, and what pointed here, too?
            size = self.size(key)
            if size is None or 0 <= start < size:
                raise
            raise InvalidInputError(
                f"{self.url}/{key} has {size} bytes and is asked for byte {start}: it is cut off or"
                " damaged",
                "Restore it from a copy",
            ) from error

    def _read_range(self, key: str, start: int, n_bytes: int) -> bytes:
        import obstore

        with self._explained(key):
            if self.is_local:
                with self._local(key).open("rb") as file:
                    file.seek(start)
                    return file.read(n_bytes)
            return bytes(obstore.get_range(self.store, key, start=start, length=n_bytes))

    def open(self, key: str) -> BinaryIO:
        """An object, open for reading at any offset; each read of a remote one is one range
        request.
        """
        if self.is_local:
            with self._explained(key):
                return self._local(key).open("rb")
        size = self.size(key)
        if size is None:
            raise NotFoundError(f"{self.url}/{key} does not exist", "Check the address")
        return cast(
            BinaryIO, RangeFile(lambda start, n_bytes: self.read_range(key, start, n_bytes), size)
        )

    def exists(self, key: str) -> bool:
        """Whether an object of exactly this key is there."""
        return self.size(key) is not None

    def size(self, key: str) -> int | None:
        """Size of an object in bytes, or ``None`` if it is not there."""
        import obstore

        if self.is_local:
            path = self._local(key)
            return path.stat().st_size if path.is_file() else None
        try:
            with self._explained(key):
                return int(obstore.head(self.store, key)["size"])
        except NotFoundError:
            return None

    def list(self, prefix: str = "") -> dict[str, int]:
        """Keys below a folder-like prefix and their sizes in bytes, sorted by key; empty if there
        is nothing.
        """
        return {
            key: size
            for key, (size, _) in self.objects(prefix).items()
            if not _is_unfinished(key, self.is_local)
        }

    def objects(self, prefix: str = "") -> dict[str, tuple[int, float]]:
        """As `list`, with the time of the last change (seconds since 1970, UTC), and what killed
        writers left unfinished.
        """
        import obstore

        found: dict[str, tuple[int, float]] = {}
        if self.is_local:
            for folder, _, names in os.walk(self._local(prefix)):
                for name in names:
                    path = Path(folder, name)
                    with contextlib.suppress(
                        FileNotFoundError
                    ):  # a temporary file that just became an object
                        stat = path.stat()
                        found[path.relative_to(self.url).as_posix()] = (stat.st_size, stat.st_mtime)
        else:
            with self._explained(prefix):
                for chunk in obstore.list(self.store, prefix or None):
                    found.update(
                        {m["path"]: (int(m["size"]), m["last_modified"].timestamp()) for m in chunk}
                    )
        return dict(sorted(found.items()))

    def is_empty(self) -> bool:
        """Whether nothing at all is stored here."""
        return not self.first_key()

    def first_key(self) -> str:
        """The key of one object, without listing a whole bucket; empty if there is none."""
        import obstore

        if self.is_local:
            files = (
                Path(folder, name)
                for folder, _, names in os.walk(self.url)
                for name in sorted(names)
            )
            keys = (path.relative_to(self.url).as_posix() for path in files)
            # what a killed process left of the first object is nothing, nor are folders without
            # objects
            return next((key for key in keys if not _is_unfinished(key, True)), "")
        with self._explained(""):
            return next(
                (
                    str(meta["path"])
                    for chunk in obstore.list(self.store, chunk_size=1)
                    for meta in chunk
                ),
                "",
            )

    # -- writing

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """Write an object if there is none of that key yet.

        Returns
        -------
        bool
            True if the object now there holds exactly ``data`` because this call (or an attempt of
            it whose answer was lost) wrote it or an equal one; False if somebody else's different
            object was there first.
        """
        for delay_s in (*CREATE_DELAYS_S, None):
            try:
                return self._create(key, bytes(data))
            except TryAgainError:
                # obstore does not repeat a conditional PUT that timed out: it may have been stored.
                # It is safe here, because what is there is read back and compared.
                if delay_s is None or self.is_local:
                    raise
                time.sleep(delay_s)
        raise AssertionError  # the last round returns or raises

    def _create(self, key: str, data: bytes) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._explained(key):
            try:
                obstore.put(self._writable(), key, data, mode="create", use_multipart=False)
            except AlreadyExistsError as error:
                try:
                    return self.read(key) == data
                except (
                    NotFoundError
                ):  # S3 also says so while another's PUT of the same key is under way
                    raise TryAgainError(
                        f"{self.url}/{key} is being written by somebody else"
                    ) from error
            except FileNotFoundError as error:
                if not self.is_local:  # the bucket
                    raise
                raise TryAgainError(
                    f"{self.url}/{key}: its temporary file was removed before it was linked"
                ) from error
        return True

    def replace(self, key: str, data: bytes | memoryview) -> None:
        """Write an object, whole, over whatever was there."""
        import obstore

        with self._explained(key):
            # in one request: the pieces of a multipart upload that was cut off would lie there,
            # invisible and paid for
            obstore.put(self._writable(), key, bytes(data), use_multipart=False)

    def delete(self, *keys: str) -> None:
        """Remove objects; one that is not there is no error."""
        import obstore

        for key in keys:
            with contextlib.suppress(NotFoundError), self._explained(key):
                if self.is_local:
                    self._local(key).unlink()
                else:
                    obstore.delete(self._writable(), key)

    def unfinished(self, prefix: str = "") -> dict[str, tuple[int, float]]:
        """What killed processes were writing below a prefix: size and time of each, as in
        `objects`.

        On a local disk such an object lies beside its place as ``NAME#1``, and `list` does not show
        it; S3 keeps none.
        """
        objects = self.objects(prefix) if self.is_local else {}
        return {key: found for key, found in objects.items() if _is_unfinished(key, True)}

    def _writable(self) -> ObjectStore:
        if self.url.startswith(("https://", "http://")):
            raise InvalidInputError(f"{self.url} is read only", "Write to a local path or s3://")
        if self.is_local and "local" not in self._cache:
            from obstore.store import LocalStore

            self._cache["local"] = LocalStore(self.url, mkdir=True, automatic_cleanup=False)
        return self._cache.get("local") or self.store

    # -- doors for other libraries

    @property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """The fsspec file system of this URL; `path` is the path on it."""
        import fsspec

        protocol = "file" if self.is_local else self.url.split("://")[0]
        return fsspec.filesystem(protocol, **self._fsspec_options)

    @property
    def path(self) -> str:
        """This prefix as a path on `filesystem`."""
        return self.url.removeprefix("s3://")

    @property
    def upath(self) -> UPath:
        """This prefix as a `upath.UPath`, as hats and lsdb take it."""
        from upath import UPath

        path: UPath = UPath(self.url, **self._fsspec_options)
        return path

    @property
    def _fsspec_options(self) -> dict[str, Any]:
        if not self.url.startswith("s3://"):
            return {}
        # hats opens an s3:// string anonymously unless told otherwise
        return {"anon": os.environ.get("AWS_SKIP_SIGNATURE", "").lower() == "true"}

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turn the libraries' errors into ours, naming the object."""
        from obstore import exceptions as obs

        where = f"{self.url}/{key}".rstrip("/")
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, obs.NotFoundError) as error:
            if isinstance(error, NotFoundError):
                raise
            raise NotFoundError(f"{where} does not exist", "Check the address") from error
        except (obs.PermissionDeniedError, obs.UnauthenticatedError, PermissionError) as error:
            raise InvalidInputError(
                f"no permission for {where}",
                "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the file's owner",
            ) from error
        except (ConflictError, InvalidInputError, TryAgainError):
            raise
        except (
            IsADirectoryError,
            obs.InvalidPathError,
            obs.NotSupportedError,
            obs.UnknownConfigurationKeyError,
        ) as error:
            raise InvalidInputError(
                f"{where}: {_first_line(error)}", "Check the address"
            ) from error
        except (obs.BaseError, OSError) as error:
            text = _first_line(error)
            full = "No space left" in text or "quota" in text.lower()
            remedy = "Make room" if full else "If it stays, check the network and AWS_ENDPOINT_URL"
            raise TryAgainError(f"{where}: {text}", f"{remedy}, then try again") from error


def _is_unfinished(key: str, is_local: bool) -> bool:
    return is_local and key.rpartition("#")[2].isdigit() and "#" in key.rpartition("/")[2]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
