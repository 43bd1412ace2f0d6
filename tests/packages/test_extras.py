"""Every extra of the package can be installed with the constraints file."""

import subprocess
import sys
import tomllib

import pytest

from tests.architecture.source import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
NO_NETWORK = ("error sending request", "Failed to fetch", "dns error")


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_extra_can_be_resolved(extra):
    arguments = ["pip", "compile", "--quiet", "--constraint", "constraints.txt", "pyproject.toml"]
    resolved = subprocess.run(
        [sys.executable, "-m", "uv", *arguments, "--extra", extra, "--no-header"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if any(words in resolved.stderr for words in NO_NETWORK):
        pytest.skip(f"no package index answers: {resolved.stderr.splitlines()[0]}")
    assert resolved.returncode == 0, resolved.stderr
    assert "astropy==" in resolved.stdout
