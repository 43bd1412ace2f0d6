import numpy as np

from xpscale.bands import Bands
from xpscale.model.density import CELL_AREA, TrainingDensity, cell_of


def test_density_is_the_fraction_of_the_sample_per_area():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200_000, 6)).astype(np.float32)
    density = TrainingDensity.fit([x[:70_000], x[70_000:]], Bands(2, 4))
    assert density.n_rows == 200_000
    assert density.counts.sum() == 200_000
    assert abs(density.counts.sum() / density.n_rows - 1) < 1e-3
    here = np.zeros((3, 6), np.float32)
    here[1, 2], here[2, 0] = 1.0, 7.0  # column 2 is RP 0: the grid is over BP 0 and RP 0
    at = density.at(here)
    gauss = np.exp(-np.array([0, 0.5])) / (2 * np.pi)
    np.testing.assert_allclose(at[:2], gauss, rtol=0.15)
    assert at[2] == 0
    # as a density it integrates to the share that is on the grid
    np.testing.assert_allclose((density.counts / density.n_rows / CELL_AREA).sum() * CELL_AREA, 1)


def test_outside_is_beyond_the_widened_range_of_any_coefficient():
    x = np.array([[0, 0, 0, 0], [1, 2, 4, 8]], np.float32)
    density = TrainingDensity.fit([x], Bands(2, 2))
    inside, below, above = [-0.2, -0.4, 4.9, 9.9], [-0.3, 0, 0, 0], [0, 0, 0, 10.1]
    assert density.outside(np.array([inside, below, above], np.float32)).tolist() == [
        False,
        True,
        True,
    ]


def test_an_unknown_sample_gives_nan_and_flags_nothing():
    density = TrainingDensity.unknown(Bands(2, 2))
    x = np.full((2, 4), 100, np.float32)
    assert np.isnan(density.at(x)).all()
    assert not density.outside(x).any()


def test_the_cell_is_the_one_below():
    x = np.array(
        [[-6, 0, -6], [5.9, 0, 0], [-0.01, 9, 1], [6, 0, 0], [0, 0, -6.01], [np.nan, 0, 0]],
        np.float32,
    )
    assert cell_of(x, Bands(2, 1)).tolist() == [-1, 63 * 64 + 32, 31 * 64 + 37, -1, -1, -1]
    lowest = np.full((1, 3), np.nextafter(np.float32(-6), np.float32(0)))
    assert cell_of(lowest, Bands(2, 1)).tolist() == [0]
    density = TrainingDensity.fit([np.nan_to_num(x)], Bands(2, 1))
    assert (density.at(x)[3:] == 0).all()
