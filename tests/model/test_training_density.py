import numpy as np
import pytest

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


def sample(n=20_000, seed=0):
    """A density of ordinary objects, two coefficients a band."""
    x = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    return TrainingDensity.fit([x], Bands(2, 2)), x


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0, 30.0])
def test_outside_speaks_of_the_object_and_not_of_its_noise(noise):
    density, x = sample()
    errors = np.full_like(x, max(noise, 1e-3))
    noisy = x + errors * np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    assert density.outside(noisy, errors).mean() < 1e-3
    odd = noisy.copy()
    odd[:, 1] = density.upper[1] + 6 * np.hypot(noise, 1)
    assert density.outside(odd, errors).all()
    odd[:, 1] = density.upper[1] + 4.9 * np.hypot(noise, 1)
    assert density.outside(odd, errors).mean() < 1e-3


@pytest.mark.parametrize("n", [2_000, 20_000])
def test_outside_is_a_place_without_training_objects(n):
    x = sample(n)[1]
    x[:, 2] = x[:, 0]  # a sequence, as the leading coefficients of stars are
    density = TrainingDensity.fit([x], Bands(2, 2))
    errors = np.full_like(x, 0.01)
    off = x + np.float32([0, 0, 1.5, 0])
    assert not density.outside(x, errors).any()
    assert density.outside(off[:500], errors[:500]).all()
    assert not density.outside(off[:500]).any()  # without errors it cannot be told
    assert not density.outside(
        off[:500], 40 * errors[:500]
    ).any()  # its noise may have put it there
    assert (density.emptiness(off, errors) > np.quantile(density.emptiness(x, errors), 0.99)).all()
    beyond = x[:3] + np.float32([[20, 0, 0, 0], [-20, 0, 0, 0], [0, 0, 1e9, 0]])  # off the grid
    assert density.outside(beyond, errors[:3]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_what_is_not_measured_is_not_judged(bad):
    density, x = sample()
    x, errors = x[:2].copy(), np.full((2, 4), 0.1, np.float32)
    x[:, 0], errors[0, 0] = 1e6, bad
    assert density.outside(x, errors).tolist() == [False, True]
    assert density.emptiness(x, errors)[0] == 0
    x[1, 0] = np.nan
    assert not density.outside(x, errors).any()
    assert density.emptiness(x, errors)[1] == 0


def test_an_unknown_sample_gives_nan_and_flags_nothing():
    density = TrainingDensity.unknown(Bands(2, 2))
    x = np.full((2, 4), 100, np.float32)
    assert np.isnan(density.at(x)).all()
    assert not density.outside(x).any()
    assert not density.emptiness(x, x).any()


def test_the_cell_is_the_one_below():
    x = np.array(
        [[-6, 0, -6], [5.9, 0, 0], [-0.01, 9, 1], [6, 0, 0], [0, 0, -6.01], [np.nan, 0, 0]],
        np.float32,
    )
    assert cell_of(x, Bands(2, 1)).tolist() == [-1, 63 * 64 + 32, 31 * 64 + 37, -1, -1, -1]
    lowest = np.full((1, 3), np.nextafter(np.float32(-6), np.float32(0)))
    assert cell_of(lowest, Bands(2, 1)).tolist() == [0]
    density = TrainingDensity.fit([np.nan_to_num(x)], Bands(2, 1))
    assert (density.at(x)[3:5] == 0).all()
    assert np.isnan(density.at(x)[5])  # its place is not known
