"""The cells of the tutorial "ten things" run, and each gives what its heading says."""

import re
import shlex

import matplotlib as mpl
import numpy as np
import pytest

import xpscale as xps
from tests.architecture.source import ROOT
from tests.commands import xpscale

PAGE = (ROOT / "docs/tutorials/ten-things.md").read_text()
SECTIONS = re.split(r"^## \d+\. ", PAGE, flags=re.M)


def cells(text):
    return re.findall(r"^```\{code-cell\}\n(?::[^\n]*\n)*(.*?)^```", text, re.M | re.S)


@pytest.fixture(scope="module")
def results(small_demo):
    """What is defined after each section, by its number; the names of the ones before stay."""
    names, found = {}, {}
    with pytest.MonkeyPatch.context() as patch, mpl.rc_context({"backend": "agg"}):
        patch.chdir(small_demo)
        for number, section in enumerate(SECTIONS):
            for cell in cells(section):
                exec(compile(cell, f"section {number}", "exec"), names)
            found[number] = dict(names)
    return found


def test_there_are_ten(results):
    assert len(SECTIONS) == 11
    assert all(cells(section) for section in SECTIONS)


def test_each_gives_what_it_says(results, small_demo):
    last = results[10]
    cat, star, field = last["cat"], last["star"], last["field"]
    assert (field["flags"] == 0).all()
    assert star["source_id"] in field["source_id"]
    matched = last["matched"].to_pandas()
    assert len(matched) == 20
    assert matched.separation_arcsec.between(0.0, 0.31).all()
    assert len({*matched.name}) == 20
    assert results[3]["axes"] is not results[4]["axes"] is not results[7]["axes"]
    spectra = last["spectra"]
    assert (spectra.total_error >= spectra.scatter).all()
    like = last["like"].to_pandas()
    assert like.source_id[0] == star["source_id"]
    assert (np.diff(like.latent_distance) >= 0).all()
    copy = xps.open_catalog(str(small_demo / "ten-things-out/field"))
    assert copy.n_rows == field.count()
    assert cat.n_rows > copy.n_rows


def test_its_commands_run(small_demo, tmp_path, monkeypatch):
    (tmp_path / "demo-out").symlink_to(small_demo / "demo-out")
    monkeypatch.chdir(tmp_path)
    row = xps.open_catalog("demo-out/catalog").select().to_table().slice(0, 1)
    ra, dec, source = (row[name][0].as_py() for name in ("ra", "dec", "source_id"))
    (tmp_path / "mine.csv").write_text(f"name,ra,dec\nA,{ra},{dec}\n")
    lines = re.findall(r"^    (xpscale .*?)(?: +#.*)?$", PAGE, re.M)
    assert len(lines) >= 8
    for line in lines:
        if line.startswith("xpscale serve"):
            continue  # it runs until it is stopped: tests/serve
        line = line.replace("223411314459392", f"{source}")
        line = line.replace("05:34:31.9 +22:00:52, 5", f"{ra},{dec},5").replace(
            "45.6,1.2", f"{ra},{dec}"
        )
        ran = xpscale(*shlex.split(line)[1:])
        assert ran.code == 0, f"{line}\n{ran.err}"
