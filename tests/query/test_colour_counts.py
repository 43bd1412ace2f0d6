from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tests.commands import xpscale
from tests.query.conftest import publish
from xpscale.companions import COMPANIONS
from xpscale.errors import InvalidInputError
from xpscale.query.catalog import open_catalog
from xpscale.query.colour_counts import colour_magnitude
from xpscale.schema import OUTPUTS

WITHOUT = tuple(output for output in OUTPUTS if output != "magnitudes")


@pytest.fixture(scope="module")
def with_companions(tmp_path_factory, example, model):
    """The same sources with the archive's magnitudes and parallaxes, some of them missing."""
    rng, n, rows = np.random.default_rng(8), example.rows.num_rows, example.rows
    values = {name: rng.normal(14, 1, n) for name in COMPANIONS}
    values["phot_bp_mean_mag"][:50] = np.nan
    values |= {"parallax": rng.normal(2, 3, n), "parallax_error": np.full(n, 0.1)}
    for name, column in values.items():
        if name in rows.column_names:
            rows = rows.drop([name])
        rows = rows.append_column(name, pa.array(column))
    url = str(tmp_path_factory.mktemp("catalogue") / "companions")
    publish(url, model, rows, companions=tuple(COMPANIONS))
    return url, values


def expected_counts(colour, magnitude, found):
    edges = (found.magnitude_edges, found.colour_edges)
    return np.histogram2d(magnitude, colour, [each + 1e-9 for each in edges])[0]


def test_synthesized_colours_are_counted_in_cells(cat, example):
    found = colour_magnitude(cat)
    g, bp, rp = (
        example.rows[name].to_numpy().astype(float)
        for name in ("phot_g_mean_mag", "synthetic_bp_mag", "synthetic_rp_mag")
    )
    assert found.counts.sum() == found.n_rows == len(g)
    assert np.abs(found.counts - expected_counts(bp - rp, g, found)).sum() <= 4  # on borders
    assert (found.colour, found.magnitude) == ("BP − RP (synthesized from spectra)", "G")
    part = colour_magnitude(cat.cone(0, 90, 20))
    assert part.n_rows == len(cat.cone(0, 90, 20))


def test_the_archives_colours_go_before_and_parallaxes_give_absolute_magnitudes(with_companions):
    url, values = with_companions
    opened = open_catalog(url)
    found = colour_magnitude(opened)
    good = np.isfinite(values["phot_bp_mean_mag"]) & (values["parallax"] > 1)
    assert (found.n_rows, found.n_rows + found.n_left_out) == (good.sum(), len(good))
    assert (found.colour, found.magnitude[:8]) == ("BP − RP (archive)", "absolute")
    single = {name: values[name].astype(np.float32).astype(float)[good] for name in COMPANIONS}
    magnitude = single["phot_g_mean_mag"] + 5 * np.log10(values["parallax"][good]) - 10
    colour = single["phot_bp_mean_mag"] - single["phot_rp_mean_mag"]
    assert np.abs(found.counts - expected_counts(colour, magnitude, found)).sum() <= 4
    apparent = colour_magnitude(opened, absolute=False)
    assert apparent.n_left_out == 50


def test_catalogues_without_magnitudes_open_and_say_what_is_missing(tmp_path, example, model):
    url = str(tmp_path / "older")
    publish(url, model, example.rows, WITHOUT)
    opened = open_catalog(url)
    assert "phot_g_mean_mag" not in opened.column_names
    assert opened.head(3).to_table().num_rows == 3
    with pytest.raises(InvalidInputError, match="no magnitudes in BP and RP"):
        colour_magnitude(opened)
    assert xpscale("plot", "cmd", url, "-o", tmp_path / "a.png").code == 2


def test_mistakes_are_told(cat):
    with pytest.raises(InvalidInputError, match="no parallaxes"):
        colour_magnitude(cat, absolute=True)
    with pytest.raises(InvalidInputError, match="no source"):
        colour_magnitude(cat.where("flags = 99"))


def test_the_command_draws(with_companions, tmp_path):
    url, _ = with_companions
    for options in ((), ("--apparent", "--where", "flags = 0")):
        out = tmp_path / f"{len(options)}.png"
        found = xpscale("plot", "cmd", url, "-o", out, *options)
        assert found.code == 0, found.err
        assert out.read_bytes().startswith(b"\x89PNG")
