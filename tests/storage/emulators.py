"""Emulators of other clouds, installed from the registries or skipped with the reason."""

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

AZURITE = "azurite@3.37.0"


def azurite_program():
    """Path of ``azurite-blob``, installed by npm into the temporary folder of this machine."""
    if found := shutil.which("azurite-blob"):
        return found
    if not shutil.which("npm"):
        pytest.skip("no azurite-blob, and no npm to install it with")
    place = Path(tempfile.gettempdir()) / f"xpscale-{AZURITE}"
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes share it
        program = place / "node_modules" / ".bin" / "azurite-blob"
        if not program.exists():
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(
                [*command, "--prefix", place, AZURITE], capture_output=True, text=True, timeout=600
            )
            if done.returncode or not program.exists():
                pytest.skip(f"no azurite: npm install failed: {done.stderr.strip()[-200:]}")
    return str(program)
