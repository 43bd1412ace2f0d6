"""Every command on every page is one that exists; Python on pages runs, on a small `demo-out`."""

import re
import shlex
from dataclasses import replace

import matplotlib as mpl
import pyarrow.parquet as pq
import pytest
import typer

import xpscale as xps
from tests.architecture.source import ROOT
from xpscale.cli.main import app
from xpscale.training.settings import TrainingSettings

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "deploy").glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs").glob("[!_]*/*.md"),
        *(ROOT / "xpscale/design").glob("*.md"),
    ]
)
LINE = re.compile(r"^ {4}(?:\$ )?(xpscale (?:.*\\\n)*.*)$", re.M)
COMMAND = typer.main.get_command(app)
FEWER = {
    "!xpscale": "#",  # commands run elsewhere
    '"archive"': '"demo-out/spectra"',
    '"store"': '"docs-store"',
    "n=100_000": "n=2_000",
    "sample=sample)": "sample=sample, settings=FEW)",
    "n=3_000": "n=2_000",
    "epochs=6": "epochs=1",
}


def commands(page):
    """The commands of a page, as words; what follows a pipe, `;` or `&` is the shell's."""
    for line in LINE.findall(page.read_text()):
        words = shlex.split(line.replace("\\\n", " "), comments=True)
        ends = [i for i, word in enumerate(words) if word in {"|", ">", "2>", "&", "&&", "..."}]
        yield words[1 : min([*ends, len(words)])]


def parse(command, words):
    """Let the command's own parser read the words; nothing runs.

    Raises
    ------
    click.UsageError
        There is no such command or option.
    """
    context = typer.Context(command, info_name="xpscale")
    if words and hasattr(command, "commands") and words[0] in command.commands:
        parse(command.commands[words[0]], words[1:])
        return
    assert not (hasattr(command, "commands") and words and not words[0].startswith("-")), words
    command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_exist(page):
    for words in commands(page):
        parse(COMMAND, words)


def test_a_wrong_option_and_a_wrong_command_are_found(tmp_path):
    page = tmp_path / "page.md"
    for line in ("xpscale infer A B C --no-such", "xpscale catalog chek A", "xpscale ifner A"):
        page.write_text(f"# A\n\n    {line}   # why\n")
        (words,) = commands(page)
        with pytest.raises(Exception, match=r"No such option|chek|ifner"):
            parse(COMMAND, words)


def code(page):
    """The Python of a page, made smaller."""
    text = page.read_text()
    cells = re.findall(r"^```(?:python|\{code-cell\})\n(?::[^\n]*\n)*(.*?)^```", text, re.M | re.S)
    for cell in cells:
        for old, new in FEWER.items():
            cell = cell.replace(old, new)
        yield cell


@pytest.mark.parametrize(
    "name",
    ["tutorials/query", "tutorials/cluster", "tutorials/train", "howto/archive"],
)
def test_the_python_of_a_page_runs(name, small_demo, tmp_path, monkeypatch):
    (tmp_path / "demo-out").symlink_to(small_demo / "demo-out")
    monkeypatch.chdir(tmp_path)
    names = {
        "xps": xps,
        "FEW": replace(TrainingSettings(), epochs=1),
        "cat": xps.open_catalog("demo-out/catalog"),
        "table": pq.read_table("demo-out/labels.parquet").slice(0, 150),
    }
    cells = [*code(ROOT / f"docs/{name}.md")]
    assert cells
    assert all(cells)
    with mpl.rc_context({"backend": "agg"}):
        for cell in cells:
            exec(compile(cell, f"{name}.md", "exec"), names)


def test_the_tests_that_pages_name_exist():
    named = {
        name for page in PAGES for name in re.findall(r"`(tests/[\w/]+\.py)", page.read_text())
    }
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_each_row_of_the_comparison_has_a_source_and_a_date():
    rows = re.findall(r"^\| (.+) \|$", (ROOT / "docs/comparison.md").read_text(), re.M)[1:]
    assert len(rows) > 10
    for row in rows:
        cells = row.split(" | ")
        assert len(cells) == 9
        assert re.fullmatch(r"20\d\d-\d\d", cells[-1]), row
        assert len(cells[-2]) > 5, row
        for command in re.findall(r"`xpscale (.+?)`", cells[-2]):
            parse(COMMAND, command.split())


def test_each_benchmark_is_on_the_page_and_each_that_a_page_names_exists():
    known = {path.stem for path in (ROOT / "tests/benchmarks").glob("[!_]*.py")}
    named = re.compile(r"python -m tests\.benchmarks((?: [a-z_]+)+)(?: [A-Z ]+)?`")
    text = (ROOT / "docs/benchmarks/index.md").read_text()
    assert {name for names in named.findall(text) for name in names.split()} == known
    for page in PAGES:
        for names in named.findall(page.read_text()):
            assert {*names.split()} <= known, page
