"""The documents are true: the tree of the architecture, the glossary, the public names; importing
stays light.
"""

import doctest
import pkgutil
import re
import subprocess
import sys

import pytest

import xpscale
from tests.architecture import source
from tests.architecture.source import ROOT

KINDS = (".py", ".md", ".toml")  # of files, without what an interpreter leaves behind
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


def test_tree_of_the_architecture_is_the_repository():
    tree = (ROOT / "docs/explanation/architecture.md").read_text()
    rooms = set(re.findall(r"^      (\w+)/", tree, re.M))
    there = {path.parent.name for path in (ROOT / "xpscale").glob("*/*") if path.suffix in KINDS}
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


def test_documents_name_files_and_objects_that_exist():
    documents = [
        *ROOT.glob("*.md"),
        *ROOT.glob("deploy/*.md"),
        *ROOT.glob("xpscale/*.md"),
        *ROOT.glob("xpscale/design/*.md"),
        *ROOT.glob("docs/[!_]*/*.md"),
    ]
    missing = []
    for document in documents:
        text, homes = document.read_text(), (ROOT, ROOT / "xpscale", document.parent)
        files = set(re.findall(r"[\w./]*\w/\w+\.(?:py|toml|md|png)", text))
        made = {name for name in files if "_build/" in name}  # by `make docs`
        missing += [
            name for name in files - made if not any((home / name).exists() for home in homes)
        ]
        names = set(re.findall(r"`(xpscale(?:\.\w+)+)`", text))
        missing += [name for name in names if not can_resolve(name)]
    assert missing == []


def can_resolve(name):
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def _column_names(product):
    from xpscale.release import DR3
    from xpscale.schema import TableLayout

    return [column.name for column in TableLayout(6, 110, DR3).columns(product)]


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


@pytest.mark.parametrize("rule", source.RULES)
def test_the_code_keeps_to_the_rule(rule):
    assert source.RULES[rule]() == []


def test_every_module_says_what_it_is_for():
    silent = [
        str(path.relative_to(ROOT))
        for path in source.python_files("xpscale")
        if not source.docstring(source.tree_of(path))
    ]
    assert silent == []


def test_examples_in_docstrings_hold():
    runner = doctest.DocTestRunner()
    for path in source.python_files("xpscale"):
        for example in source.examples(path):
            runner.run(example)
    assert runner.tries > 0
    assert runner.failures == 0, "printed above"


BAD = '''
def documented(a, b):
    """Do.

    Parameters
    ----------
    a
        One.
    """
    n_bp = n_coefficients // 2
    return 55, n * (n - 1) // 2


def long(a):
    """Do not count me
    or me."""
'''


def test_the_rules_find_what_they_name(tmp_path, monkeypatch):
    for name, text in (
        ("archive/parts.py", BAD + "    pass\n" * 39),
        ("store/parts.py", BAD + "    pass\n" * 300),
    ):
        path = tmp_path / "xpscale" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    gpu_test = tmp_path / "tests/inference/test_on_gpu.py"
    gpu_test.parent.mkdir(parents=True)
    gpu_test.write_text("trainer._records, trainer.__class__")
    monkeypatch.setattr(source, "ROOT", tmp_path)
    archive, store = "xpscale/archive/parts.py", "xpscale/store/parts.py"
    assert {rule: find() for rule, find in source.RULES.items()} == {
        "files over 300 lines": [f"{store}: long: {len(BAD.splitlines()) + 300} lines"],
        "functions over 40 lines": [f"{store}: long: 301 lines"],
        "undocumented parameters": [f"{path}: documented: b" for path in (archive, store)],
        "assumed widths": [
            line
            for path in (archive, store)
            for line in (f"{path}: n_coefficients // 2: line 10", f"{path}: 55: line 11")
        ],
        "one name for different things": ["parts: archive, store"],
        "private attributes in GPU tests": ["tests/inference/test_on_gpu.py: _records"],
    }
