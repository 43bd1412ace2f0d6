"""Programs that tests need from Debian's packages."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def debian_command(name, package=None):
    """Path of a program, installed from its Debian package if it is missing; skips the test where
    that cannot be done, and says why.
    """
    package = package or name
    lock = Path(tempfile.gettempdir()) / "xpscale-debian.lock"
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # test processes share one package manager
        if not shutil.which(name):
            _install(name, package)
    return shutil.which(name)


def _install(name, package):
    if not shutil.which("apt-get") or os.geteuid() != 0:
        pytest.skip(f"no {name}, and only root can install it: apt-get install {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", package]):
        done = subprocess.run(
            ["apt-get", *arguments], env=environment, capture_output=True, text=True, timeout=600
        )
    if done.returncode or not shutil.which(name):
        pytest.skip(f"no {name}: apt-get install {package} failed: {done.stderr.strip()[-200:]}")
