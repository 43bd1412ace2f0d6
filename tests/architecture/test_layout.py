"""The documents are true: the README's tree, the glossary, the public names; and importing stays
light.
"""

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xpscale
import xpscale.formatting

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "pyarrow",
    "zarr",
    "astropy",
    "hats",
    "lsdb",
    "duckdb",
    "matplotlib",
    "distributed",
    "numpy",
)


def test_readme_tree_is_the_repository():
    readme = (ROOT / "README.md").read_text()
    tree = readme.split("## Layout")[1].split("## ")[0]
    rooms = set(re.findall(r"^      (\w+)/", tree, re.M))
    there = {path.parent.name for path in (ROOT / "xpscale").glob("*/__init__.py")} | {"design"}
    assert rooms == there
    files = set(re.findall(r"\b(\w+\.py)\b", tree))
    assert files == {path.name for path in (ROOT / "xpscale").glob("*.py")} - {"__init__.py"}


def test_glossary_names_exist():
    code = "\n".join(path.read_text() for path in (ROOT / "xpscale").rglob("*.py"))
    columns = {name for product in ("latents", "spectra") for name in _column_names(product)}
    terms = re.findall(r"^\| (.+?) \|", (ROOT / "xpscale/GLOSSARY.md").read_text(), re.M)
    names = [name for term in terms for name in re.findall(r"`(\w+)`", term)]
    assert len(names) > 20
    missing = [
        name for name in names if name not in columns and not re.search(rf"\b{name}\b", code)
    ]
    assert missing == []


def _column_names(product):
    from xpscale.schema import columns

    return [column.name for column in columns(product, 6, 110)]


def test_public_names_are_there_and_documented():
    for name in xpscale.__all__:
        value = getattr(xpscale, name)
        assert name == "__version__" or value.__doc__, name


@pytest.mark.parametrize(
    "command",
    ["import xpscale", "import sys; sys.argv = ['xpscale', '--help']; import xpscale.cli.main"],
)
def test_start_up_is_light(command):
    code = f"{command}; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_no_file_holds_two_ideas():
    long = {
        str(path.relative_to(ROOT)): n
        for path in [*(ROOT / "xpscale").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]
        if (n := len(path.read_text().splitlines())) > 350
    }
    assert long == {}


def test_every_module_says_what_it_is_for():
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "xpscale").rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_examples_in_docstrings_hold():
    result = doctest.testmod(xpscale.formatting)
    assert result.attempted > 0
    assert result.failed == 0
