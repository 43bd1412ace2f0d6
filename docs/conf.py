"""Sphinx configuration: everything that can be generated from the code is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import xpscale
from xpscale.flags import Flag
from xpscale.release import DR3
from xpscale.schema import TableLayout

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "xpscale"
author = "the xpscale developers"
copyright = "the xpscale developers; Gaia data: ESA/Gaia/DPAC"
version = release = xpscale.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "README.md", "tutorials/*/**"]
templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "xpscale"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_static_path = ["_static"]
html_css_files = ["xpscale.css"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = False
nb_merge_streams = True

autosummary_generate = True
autodoc_typehints = "none"  # the Parameters sections say it in words
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
nitpicky = False

intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "astropy": ("https://docs.astropy.org/en/stable", None),
    "dask": ("https://docs.dask.org/en/stable", None),
    "distributed": ("https://distributed.dask.org/en/stable", None),
    "lsdb": ("https://docs.lsdb.io/en/stable", None),
    "zarr": ("https://zarr.readthedocs.io/en/stable", None),
}
if os.environ.get("XPSCALE_DOCS_OFFLINE"):
    intersphinx_mapping = {}
linkcheck_ignore = [r"http://127\.0\.0\.1.*", r"http://storage\.example.*"]


def _columns() -> str:
    """The columns of the derived catalogue, as tables in Markdown; numbered ones in one row."""
    layout = TableLayout(6, DR3.known_bands.n_coefficients, DR3)
    lines = []
    for product in layout.products:
        lines += [
            f"## {product}",
            "",
            "| column | meaning | unit | type | UCD |",
            "|---|---|---|---|---|",
        ]
        rows: dict[str, list[str]] = {}
        for c in layout.columns(product):
            meaning = re.sub(r"(?<=latent) \d+( and \d+)?", " i", c.description)
            row = f"{meaning} | {c.unit or '–'} | {c.type} | {c.ucd} |"
            rows.setdefault(row, []).append(f"`{c.name}`")
        lines += [
            f"| {' … '.join(dict.fromkeys((n[0], n[-1])))} | {row}" for row, n in rows.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _flags() -> str:
    lines = ["| value | name | meaning |", "|---|---|---|"]
    lines += [f"| {flag.value} | `{flag.name}` | {flag.meaning} |" for flag in Flag]
    return "\n".join(lines)


def _write(name: str, text: str) -> None:
    path = DOCS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:  # an unchanged file is not built again
        path.write_text(text)


def _generate() -> None:
    for note in sorted((ROOT / "xpscale" / "design").glob("*.md")):
        _write(f"explanation/design/{note.name}", note.read_text())
    _write("_build/generated/columns.md", _columns())
    _write("_build/generated/flags.md", _flags())
    cluster = (ROOT / "deploy" / "README.md").read_text()
    for there, here in {
        "(../xpscale/design/": "(../explanation/design/",
        "(../docs/howto/": "(",
        "[an example](../pipelines/settings/prices.toml)": "`pipelines/settings/prices.toml`",
    }.items():
        cluster = cluster.replace(there, here)
    _write("_build/generated/cluster.md", cluster)
    typer = [sys.executable, "-m", "typer", "xpscale.cli.main", "utils", "docs"]
    command = subprocess.run(
        [*typer, "--name", "xpscale"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    _write("_build/generated/commands.md", command.stdout.partition("\n")[2])


_generate()
