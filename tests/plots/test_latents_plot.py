from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from xpscale.errors import InvalidInputError
from xpscale.plots.colour import Colour
from xpscale.plots.latents import latents
from xpscale.plots.style import CREDIT


@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    means = rng.normal(size=(500, 6)) * [1, 1e-3, 0.5, 2, 0.05, 0]
    columns = {f"latent_mean_{i}": means[:, i].astype(np.float32) for i in range(6)}
    return pa.table({"source_id": np.arange(500) * 7, **columns})


def test_collapsed_latents_are_named_and_left_out(table):
    fig, axes = latents(table, provenance={"snapshot": "3"})
    assert axes.shape == (3, 3)  # 0.05**2 is below the threshold, too
    assert [ax.get_xlabel() for ax in axes[-1]] == ["latent 0", "latent 2", "latent 3"]
    note = fig.get_supxlabel()
    assert note.startswith(
        "3 of 6 latents are active; collapsed and left out: 1 (variance 1e-06), 4 ("
    )
    assert fig.get_suptitle() == "Latents · 500 sources · snapshot 3"
    assert CREDIT in [text.get_text() for text in fig.texts]


def test_colours_are_matched_by_source_id(table):
    ids = np.asarray(table["source_id"])
    order = np.random.default_rng(0).permutation(500)[:400]
    teff = Colour(ids[order] * 10.0, "Teff [K]", ids[order])
    matched = teff.of(ids)
    known = np.isin(ids, ids[order])
    np.testing.assert_array_equal(matched[known], ids[known] * 10.0)
    assert np.isnan(matched[~known]).all()
    metallicity = Colour(np.linspace(-2, 0.5, 500), "[Fe/H] [dex]", cmap="plasma")
    fig, axes = latents(table, teff, metallicity)
    below, above = axes[1, 0].collections[0], axes[0, 1].collections[0]
    assert len(below.get_offsets()) == 400
    assert len(above.get_offsets()) == 500
    at = {
        tuple(np.round(p, 5)): v
        for p, v in zip(below.get_offsets(), below.get_array(), strict=True)
    }
    row = int(np.flatnonzero(known)[5])
    point = (table["latent_mean_0"][row].as_py(), table["latent_mean_2"][row].as_py())
    assert at[tuple(np.round(point, 5))] == ids[row] * 10.0
    labels = [ax.get_ylabel() for ax in fig.axes[9:]]
    assert sorted(labels) == [
        "Teff [K]  (below the diagonal)",
        "[Fe/H] [dex]  (above the diagonal)",
    ]


def test_pairs_and_mistakes(table):
    _, axes = latents(table, pairs=[(0, 3), (2, 0)])
    assert axes.shape == (1, 2)
    assert (axes[0, 1].get_xlabel(), axes[0, 1].get_ylabel()) == ("latent 2", "latent 0")
    for call, message in (
        (lambda: latents(table, pairs=[(0, 9)]), "no latent 9"),
        (lambda: latents(table.slice(0, 1)), "1 rows"),
        (lambda: latents(table, Colour(np.ones(3), "Teff")), "3 values for 500 rows"),
        (
            lambda: latents(table, Colour(np.ones(1), "Teff", np.array([1]))),
            "no row has a value of Teff",
        ),
    ):
        with pytest.raises(InvalidInputError, match=message):
            call()


def test_many_sources_become_cells(table):
    many = pa.concat_tables([table] * 201)
    _, axes = latents(many, Colour(np.tile(np.arange(500), 201), "n"), pairs=[(0, 2)])
    cells = axes[0, 0].images[0].get_array()
    assert 0 < cells.count() <= 500
    x, y = (np.asarray(table[f"latent_mean_{i}"], np.float64) for i in (0, 2))
    left, right, low, high = axes[0, 0].images[0].get_extent()
    column, row = (x - left) / (right - left) * 70 // 1, (y - low) / (high - low) * 70 // 1
    for r, c in {(35, 35), *zip(row[:50].astype(int), column[:50].astype(int), strict=True)}:
        if 0 <= r < 70 and 0 <= c < 70:
            there = np.flatnonzero((row == r) & (column == c))
            assert np.ma.is_masked(cells[r, c]) or cells[r, c] == np.median(there)


def test_panels_of_density_share_their_scale(table):
    _, axes = latents(table)
    assert axes[0, 1] is None
    images = [axes[1, 0].images[0], axes[2, 0].images[0], axes[2, 1].images[0]]
    assert {image.norm.vmax for image in images} == {max(i.get_array().max() for i in images)}
    assert 490 < sum(images[0].get_array().compressed()) <= 500
