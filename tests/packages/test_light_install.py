"""What works, and what is said, where only the packages of ``pip install xpscale`` are there."""

import os
import subprocess
import sys
import tomllib

import pytest

from tests.architecture.source import ROOT
from xpscale.extras import EXTRA_OF

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

WITHOUT = f"""
from importlib.machinery import PathFinder

found = PathFinder.find_spec

def find_spec(name, path=None, target=None):
    missing = name.partition(".")[0] in {set(EXTRA_OF)!r}
    return None if missing else found(name, path, target)

PathFinder.find_spec = find_spec
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Variables for a Python in which no package of an extra can be imported."""
    place = tmp_path_factory.mktemp("without")
    (place / "sitecustomize.py").write_text(WITHOUT)
    return {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}


def run(environment, *arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True
    )


def test_query_and_reconstruct_need_no_extra(environment, small_demo):
    code = f"""
import xpscale as xps
cat = xps.open_catalog({str(small_demo / "demo-out/catalog")!r})
rows = cat.where("flags >= 0").to_table()
spectra = xps.reconstruct(cat.at(rows["source_id"][:3].to_pylist()), from_latents=True)
cat.select().to_astropy(), cat.select().to_pandas(), cat.sql("SELECT count(*) FROM latents")
print(len(spectra), spectra.mean.shape[1])
"""
    result = run(environment, "-c", code)
    assert result.stdout.split() == ["3", "110"], result.stderr


def test_a_copy_needs_no_extra_and_gets_what_hats_needs_later(environment, small_demo, tmp_path):
    arguments = ("download", small_demo / "demo-out/catalog", tmp_path / "copy")
    result = run(environment, "-m", "xpscale", *arguments)
    assert result.returncode == 0, result.stderr
    assert "lsdb cannot open it yet" in result.stdout
    code = "import sys, xpscale as xps; print(xps.open_catalog(sys.argv[1]).n_rows)"
    assert run(environment, "-c", code, tmp_path / "copy").stdout.strip() == "3000"
    again = run(os.environ, "-m", "xpscale", *arguments)
    assert "0 B read" in again.stdout, again.stderr
    check = run(os.environ, "-m", "xpscale", "catalog", "check", tmp_path / "copy")
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(("train", "STORE", "MODEL"), "infer"), (("ingest", "FILES", "STORE"), "infer")],
)
def test_what_needs_more_names_the_extra(environment, arguments, extra, tmp_path):
    result = run(environment, "-m", "xpscale", *arguments)
    assert result.returncode in (3, 20)
    if result.returncode == 20:
        assert f"pip install 'xpscale[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_python_names_the_extra(environment):
    code = """
import xpscale
try:
    xpscale.train
except xpscale.errors.PermanentError as error:
    print(error)
"""
    result = run(environment, "-c", "import xpscale.errors" + code)
    assert "which is not installed. Install it with: pip install 'xpscale[infer]'" in result.stdout


def test_every_extra_that_is_named_exists():
    assert set(EXTRA_OF.values()) <= PROJECT["optional-dependencies"].keys()
