"""Sphinx configuration: everything that can be generated from the code is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.request import urlopen

import typer
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click
from typer.core import TyperCommand, TyperGroup

import xpscale
from xpscale.cli.main import app
from xpscale.flags import Flag
from xpscale.release import DR3
from xpscale.schema import TableLayout

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
CHANGES = ROOT / "CHANGELOG.md"
NOTES = sorted((ROOT / "xpscale/design").glob("*.md"))

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
html_sidebars = {page: [] for page in ("install", "benchmarks/index", "comparison", "changes")}
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
try:  # without the network, names of other packages are words, not links
    urlopen("https://docs.python.org/3/objects.inv", timeout=10).close()
except OSError:
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


def _commands() -> str:
    """What ``xpscale ... --help`` says, of all commands, without the title."""
    for kind in (
        TyperCommand,
        TyperGroup,
    ):  # in lists of commands, too, the sentence is not cut off
        kind.get_short_help_str = lambda self, limit=0: " ".join(self.help.split("\n\n")[0].split())
    command = typer.main.get_command(app)
    context = command.make_context("xpscale", [], resilient_parsing=True)
    return get_docs_for_click(obj=command, ctx=context, name="xpscale").partition("\n")[2]


def _write(name: str, text: str) -> None:
    path = DOCS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:  # an unchanged file is not built again
        path.write_text(text)


def _links(text: str, file: Path, page: Path) -> str:
    """A file's text as a page: its links lead to other pages; without one, only words are left."""
    pages = {ROOT / "deploy/README.md": "howto/cluster.md", ROOT / "CHANGELOG.md": "changes.md"}
    pages |= {note: f"explanation/design/{note.name}" for note in NOTES}

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found.groups()
        to = (file.parent / target).resolve()
        if not to.is_relative_to(DOCS) and to not in pages:
            return words
        there = os.path.relpath(DOCS / pages.get(to, to), page.parent)
        return f"[{words}]({there}{anchor})"

    return re.sub(r"(?<!!)\[([^]]+)\]\(([^)#:\s]+)((?:#[^)\s]+)?)\)", link, text)


def _generate() -> None:
    for note in NOTES:
        page = f"explanation/design/{note.name}"
        _write(page, _links(note.read_text(), note, DOCS / page))
    _write("_build/generated/columns.md", _columns())
    _write("_build/generated/flags.md", _flags())
    _write("_build/generated/commands.md", _commands())
    for file, page in ((ROOT / "deploy/README.md", "howto/cluster.md"), (CHANGES, "changes.md")):
        name = f"_build/generated/{Path(page).name}"
        _write(name, _links(file.read_text(), file, DOCS / page))


def setup(app: Sphinx) -> None:
    """Links of pages to files outside of docs/ are good on the web pages of a repository, too."""

    def read(app: Sphinx, name: str, source: list[str]) -> None:
        page = Path(app.env.doc2path(name))
        source[0] = _links(source[0], page, page)

    app.connect("source-read", read)


_generate()
