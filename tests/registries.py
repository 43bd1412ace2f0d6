"""Programs and files of packages that only some tests need: installed from the registries into a
folder of this machine, pinned, or the test is skipped with the reason.
"""

import contextlib
import fcntl
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

AZURITE = "azurite@3.37.0"


def azurite_program():
    """Path of ``azurite-blob``, from npm."""
    if found := shutil.which("azurite-blob"):
        return found
    if not shutil.which("npm"):
        pytest.skip("no azurite-blob, and no npm to install it with")
    flags = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    place = _place(AZURITE)
    _install(place, "npm", "install", *flags, "--prefix", place, AZURITE)
    return str(place / "node_modules" / ".bin" / "azurite-blob")


def pypi_files(pin):
    """The folder with the files of a package of PyPI, without what it depends on."""
    place = _place(pin)
    uv = Path(sys.executable).parent / "uv"
    pip = [uv, "pip"] if uv.exists() else [sys.executable, "-m", "pip"]
    _install(place, *pip, "install", "--quiet", "--no-deps", "--target", place, pin)
    return place


def _place(pin):
    return Path(tempfile.gettempdir()) / f"xpscale-{pin.replace('==', '@')}"


@contextlib.contextmanager
def _alone(place):
    with Path(f"{place}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes share it
        yield


def _install(place, *command):
    done = place / ".installed"
    with _alone(place):
        if done.exists():
            return
        result = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if result.returncode:
            pytest.skip(f"{command[-1]} cannot be installed: {result.stderr.strip()[-200:]}")
        done.touch()
