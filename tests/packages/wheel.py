"""A wheel in fresh environments: what a user gets, its size, and how long it takes.

    python -m tests.packages.wheel dist/xpscale-X.Y.Z-py3-none-any.whl

Run by ``make wheel``.  The catalogue that is queried is made by the environment of this process.
That everything installs without a compiler on each Python and system is resolved, not installed.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.architecture.source import ROOT

TRIES = {
    "": """
import importlib.util, sys, xpscale as xps
assert "site-packages" in xps.__file__, xps.__file__
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
}
PYTHONS = ("3.11", "3.12", "3.13")
SYSTEMS = ("x86_64-unknown-linux-gnu", "aarch64-apple-darwin")
ONLY_PYTHON = ("docopt", "hdfs")  # they come as source, without anything to compile


def main(wheel: str) -> None:
    """Install and try; prints a table, and ends with an error where something fails."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # by its path: gwcs, which specutils needs, installs a package that is called docs
        example = runpy.run_path(str(ROOT / "docs/example.py"))
        example["make_example"](folder / "demo-out", n_stars=3_000, epochs=1)
        print("| install | packages | MB | s |\n|---|---|---|---|")
        for extra, code in TRIES.items():
            print(_row(Path(wheel).resolve(), extra, code, folder), flush=True)
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


def _row(wheel: Path, extra: str, code: str, folder: Path) -> str:
    place = folder / f"env-{extra}"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", str(place)], check=True)
    python, name = place / "bin/python", f"{wheel}[{extra}]" if extra else str(wheel)
    began = time.perf_counter()
    options = ["--quiet", "--python", str(python), "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*uv, "pip", "install", *options, name], check=True)
    seconds = time.perf_counter() - began
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for command in (
        [str(place / "bin/xpscale"), "--help"],
        [str(place / "bin/xpscale"), "catalog", "info", "demo-out/catalog"],
        [str(python), "-c", code],
    ):
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    packages = [*place.glob("lib/*/site-packages/*.dist-info")]
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    shown = f"xpscale[{extra}]" if extra else "xpscale"
    return f"| `{shown}` | {len(packages)} | {size / 1e6:,.0f} | {seconds:.0f} |"


if __name__ == "__main__":
    main(sys.argv[1])
