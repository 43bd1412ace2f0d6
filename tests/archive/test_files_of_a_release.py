"""An archive whose folders, files and columns have other names, and other widths, is read by a
table of these names alone.
"""

import numpy as np
import pytest

from tests.archive.faulty_web import faulty_web
from tests.commands import done, xpscale
from tests.support.archive_files import write_archive
from xpscale.archive.files import open_archive
from xpscale.archive.parse import parse_spectra
from xpscale.archive.reading import open_file
from xpscale.archive.sources import match_sources
from xpscale.bands import Bands
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.release import DR3, find_release
from xpscale.testing.universe import Universe

SETTINGS = """
extends = "dr4"

[archive]
url = "{url}"
spectra_folder = "xp_spectra"
spectra_parent = "Spectra"
spectra_file = "XpSpectra"
sources_folder = "sources"
sources_file = "Sources"

[columns]
source_id = "gaia_id"
bp_coefficients = "bp_coeff"
rp_coefficient_errors = "rp_coeff_err"
rp_coefficient_correlations = "rp_coeff_corr"
ra = "right_ascension"
phot_g_mean_flux = "g_flux"
"""


def settings(folder, url="https://example.invalid/gdr4"):
    path = folder / "my.toml"
    path.write_text(SETTINGS.format(url=url))
    return str(path)


@pytest.mark.parametrize("bands", [Bands(51, 55), Bands(48, 44)], ids=str)
def test_names_and_widths_of_a_release(bands, tmp_path):
    release, universe = find_release(settings(tmp_path)), Universe(150, seed=4, bands=bands)
    url = str(tmp_path / "archive")
    write_archive(universe, url, n_files=2, correlations=True, release=release)
    archive, truth = open_archive(url, release=release), universe.spectra()
    assert [pair.name.rpartition("_")[0] for pair in archive.pairs] == ["xp_spectra/XpSpectra"] * 2
    where = {number: row for row, number in enumerate(truth.source_id.tolist())}
    n_rows = 0
    for pair in archive.pairs:
        with open_file(archive.storage, pair.spectra) as stream:
            found = parse_spectra(stream, pair.name, correlations=True, release=release)
        with open_file(archive.storage, pair.sources) as stream:
            sources = match_sources(stream, pair.name, found.source_id, release=release)
        rows = [where[number] for number in found.source_id.tolist()]
        assert found.bands == bands
        assert np.array_equal(found.coefficients, truth.coefficients[rows])
        assert np.array_equal(found.coefficient_errors, truth.coefficient_errors[rows])
        assert tuple(part.shape[1] for part in found.correlations) == bands.n_correlations
        assert all(np.isfinite(part).all() for part in found.correlations)
        assert sources.found.all()
        assert np.array_equal(sources.values["ra"], truth.ra[rows])
        assert np.array_equal(sources.values["phot_g_mean_flux"], truth.phot_g_mean_flux[rows])
        n_rows += len(rows)
    assert n_rows == len(truth)


def test_by_the_names_of_another_release_nothing_is_found(tmp_path):
    release = find_release(settings(tmp_path))
    url = str(tmp_path / "archive")
    write_archive(Universe(50, seed=4, bands=Bands(51, 55)), url, n_files=1, release=release)
    with pytest.raises(NotFoundError, match="no archive file of Gaia DR3"):
        open_archive(url)
    archive = open_archive(url, release=release)
    with (
        open_file(archive.storage, archive.pairs[0].spectra) as stream,
        pytest.raises(InvalidInputError, match="has no column source_id, bp_coefficients"),
    ):
        parse_spectra(stream, "x", release=DR3)


def test_fetch_and_verify_go_by_the_release(tmp_path):
    origin, to = tmp_path / "origin", tmp_path / "to"
    release = find_release(settings(tmp_path))
    universe = Universe(60, seed=4, bands=Bands(48, 44))
    write_archive(universe, str(origin), n_files=2, release=release)
    (origin / "Spectra").mkdir()
    (origin / "xp_spectra").rename(origin / "Spectra" / "xp_spectra")
    with faulty_web(origin) as web:
        (tmp_path / "other").mkdir()
        mine = settings(tmp_path / "other", web.url)
        fetched = done("archive", "fetch", to, "--release", mine)
        assert "4 files fetched and verified" in fetched.err
        assert xpscale("archive", "fetch", web.url, to).code == 3
        assert "3 places" in xpscale("archive", "fetch", web.url, to, to).err
    assert "4 files, 2 pairs" in done("archive", "verify", to, "--release", mine).out
    assert xpscale("archive", "verify", to).code == 3
    found = open_archive(str(to), release=release)
    assert len(found.pairs) == 2
