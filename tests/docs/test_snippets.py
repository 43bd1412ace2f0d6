"""What README and documents show runs, on a small `demo-out` like that of the tutorials."""

import re
import shlex

import pytest

import xpscale as xps
from tests.architecture.source import ROOT
from tests.commands import done

README = ROOT / "README.md"
A_SOURCE, A_PLACE = "223411314459392", "45.582,1.194"  # of the demo's catalogue
FEWER = {"-n 20000": "-n 2000", "train  demo-out": "train --epochs 1 demo-out"}


@pytest.fixture(scope="module")
def of_the_example(small_demo):
    """A text of the README with a source and a place that the small catalogue has."""
    row = xps.open_catalog(str(small_demo / "demo-out/catalog")).select().to_table().slice(0, 1)
    ra, dec, source = (row[name][0].as_py() for name in ("ra", "dec", "source_id"))

    def translate(text):
        for old, new in {
            A_SOURCE: f"{source}",
            A_PLACE: f"{ra},{dec}",
            "ra=45.582, dec=1.194": f"ra={ra}, dec={dec}",
            **FEWER,
        }.items():
            text = text.replace(old, new)
        return text

    return translate


def test_commands_of_the_readme(small_demo, of_the_example, monkeypatch):
    monkeypatch.chdir(small_demo)
    lines = re.findall(r"^    (xpscale .*?)(?: +#.*)?$", README.read_text(), re.M)
    assert len(lines) >= 10
    for line in lines:
        done(*shlex.split(of_the_example(line))[1:])
    for name in ("stars.fits", "spectrum.png", "sky.png", "sample.parquet"):
        assert (small_demo / name).stat().st_size > 1000, name


def test_python_of_the_readme(small_demo, of_the_example, monkeypatch):
    monkeypatch.chdir(small_demo)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    assert blocks
    for block in blocks:
        names = {}
        exec(compile(of_the_example(block), "README.md", "exec"), names)
        assert len(names["spectra"]) == names["stars"].count() > 0


def test_the_readme_is_short():
    lines = README.read_text().splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100
