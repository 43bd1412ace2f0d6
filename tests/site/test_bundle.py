"""The bundle that is committed is what its sources make."""

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from tests.debian import debian_command

WEB = Path(str(files("xpscale.site"))) / "web"
STATIC = Path(str(files("xpscale.site"))) / "static"


def test_the_bundle_is_made_of_the_sources(tmp_path):
    npm = debian_command("npm")
    web = tmp_path / "web"
    shutil.copytree(WEB, web, ignore=shutil.ignore_patterns("node_modules"))
    made = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund"], cwd=web, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"npm ci failed: {made.stderr.strip()[-300:]}")
    subprocess.run([npm, "run", "build", "--", tmp_path / "static"], cwd=web, check=True)
    names = {path.name for path in STATIC.iterdir()}
    assert names == {path.name for path in (tmp_path / "static").iterdir()}
    differing = [
        n for n in names if (tmp_path / "static" / n).read_bytes() != (STATIC / n).read_bytes()
    ]
    assert differing == [], "run: cd xpscale/site/web && npm ci && npm run build"


def test_sources_name_no_address_from_which_packages_came():
    lock = (WEB / "package-lock.json").read_text()
    assert "://" not in lock
    assert lock.count('"integrity": "sha512-') >= 3
