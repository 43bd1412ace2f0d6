"""The universe as archive files: other readers read it back, and every defect is where it is said
to be.
"""

import csv
import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.archive_defects import REJECTED_AS
from tests.support.archive_files import Defects, write_archive
from xpscale.errors import InvalidInputError
from xpscale.row_rules import RULES
from xpscale.testing.universe import Universe

csv.field_size_limit(1 << 24)
UNIVERSE = Universe(1_500, seed=2)
REAL = (
    Path(os.environ.get("XPSCALE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "archive"
)


def lines(path):
    with gzip.open(path, "rt") as stream:
        return stream.read().splitlines()


def rows(path):
    return list(csv.DictReader(line for line in lines(path) if not line.startswith("#")))


def tables(url):
    """All rows of both tables: (XP, GaiaSource)."""
    return [
        [row for path in sorted(Path(url, folder).glob("*.csv.gz")) for row in rows(path)]
        for folder in ("xp_continuous_mean_spectrum", "gaia_source")
    ]


def numbers(text):
    return np.array(text.strip("[]").split(","), float)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_archive(UNIVERSE, str(tmp_path_factory.mktemp("plain")), n_files=3)


def test_values_read_back_exactly(plain):
    spectra, (xp, sources) = UNIVERSE.spectra(), tables(plain.url)
    assert [int(row["source_id"]) for row in xp] == spectra.source_id.tolist()
    assert plain.n_rows == 1_500
    assert plain.planted == {}
    for band, columns in (("bp", slice(0, 55)), ("rp", slice(55, 110))):
        values = np.array([numbers(row[f"{band}_coefficients"]) for row in xp])
        assert np.array_equal(values.astype(np.float32), spectra.coefficients[:, columns])
        errors = np.array([numbers(row[f"{band}_coefficient_errors"]) for row in xp])
        assert np.array_equal(errors.astype(np.float32), spectra.coefficient_errors[:, columns])
    assert len(sources) == 3_000  # one more source without spectrum for each with
    ids = [int(row["source_id"]) for row in sources]
    assert ids == sorted(set(ids))
    with_xp = [row for row in sources if row["has_xp_continuous"] == "True"]
    assert [int(row["source_id"]) for row in with_xp] == spectra.source_id.tolist()
    for column in ("ra", "dec", "phot_g_mean_flux"):
        assert np.array_equal([float(row[column]) for row in with_xp], getattr(spectra, column))


def test_files_hold_the_range_of_their_name_and_their_md5(plain):
    stop = 0
    for name in plain.rows:
        first, last = map(int, name.split("-"))
        assert first == stop
        stop = last + 1
        for folder, table in (
            ("xp_continuous_mean_spectrum", "XpContinuousMeanSpectrum"),
            ("gaia_source", "GaiaSource"),
        ):
            path = Path(plain.url, folder, f"{table}_{name}.csv.gz")
            pixels = [int(row["source_id"]) >> 43 for row in rows(path)]
            assert first <= min(pixels) <= max(pixels) <= last
            digest = hashlib.md5(path.read_bytes()).hexdigest()
            assert f"{digest}  {path.name}" in Path(plain.url, folder, "_MD5SUM.txt").read_text()
    assert stop == 786_432


def test_columns_and_head_are_those_of_the_archive(plain):
    if not REAL.is_dir():
        pytest.skip(f"no real data at {REAL}")
    for folder in ("xp_continuous_mean_spectrum", "gaia_source"):
        ours, real = (
            lines(sorted(Path(root, folder).glob("*.csv.gz"))[-1]) for root in (plain.url, REAL)
        )
        heads = [
            [line for line in text if line.startswith(("#   name", "#   datatype", "#   subtype"))]
            for text in (ours, real)
        ]
        assert heads[0] == heads[1]
        names = [next(line for line in text if not line.startswith("#")) for text in (ours, real)]
        assert names[0] == names[1]


def test_head_is_what_astropy_reads_as_ecsv(plain):
    from astropy.table import Table

    path = sorted(Path(plain.url, "gaia_source").glob("*.csv.gz"))[0]
    head = [line for line in lines(path) if line.startswith("#")]
    names = next(line for line in lines(path) if not line.startswith("#"))
    table = Table.read("\n".join([*head, names]), format="ascii.ecsv")
    assert len(table.columns) == 152
    assert str(table["ra"].unit) == "deg"


def test_every_row_defect_is_where_it_is_said_to_be(tmp_path):
    wanted = {
        "missing_bp": 2, "missing_source": 3, "missing_flux": 4, "not_finite": 5,
        "not_positive": 6, "duplicate": 7, "duplicate_across": 3, "missing_rp": 2,
        "missing_position": 3, "bad_coefficient": 4,
    }  # fmt: skip
    written = write_archive(
        UNIVERSE, str(tmp_path), n_files=3, defects=Defects(**wanted), extra_sources=0.0
    )
    assert written.counts == wanted
    rejected = {name: n for name, n in wanted.items() if name in REJECTED_AS}
    assert sum(written.rejected.values()) == sum(rejected.values())
    assert set(written.rejected) <= {rule.reason for rule in RULES}
    xp, sources = tables(tmp_path)
    assert len(xp) == written.n_rows == 1_500 + 7 + 3
    by_id: dict[int, list[dict]] = {}
    for row in xp:
        by_id.setdefault(int(row["source_id"]), []).append(row)
    assert {i for i, r in by_id.items() if r[0]["bp_coefficients"] == "null"} == set(
        written.planted["missing_bp"]
    )
    assert {i for i, r in by_id.items() if len(r) > 1} == {
        *written.planted["duplicate"],
        *written.planted["duplicate_across"],
    }
    assert {i for i, r in by_id.items() if r[0]["rp_coefficients"] == "null"} == set(
        written.planted["missing_rp"]
    )
    bad = {
        i
        for i, r in by_id.items()
        if "nan" in (r[0]["bp_coefficients"] + r[0]["rp_coefficients"]).lower()
    }
    assert bad == set(written.planted["bad_coefficient"])
    no_position = {int(row["source_id"]) for row in sources if row["ra"] == "null"}
    assert no_position == set(written.planted["missing_position"])
    errors = {
        i: np.concatenate(
            [
                numbers(r[0][f"{b}_coefficient_errors"])
                for b in ("bp", "rp")
                if r[0][f"{b}_coefficients"] != "null"
            ]
        )
        for i, r in by_id.items()
    }
    assert {i for i, e in errors.items() if not np.isfinite(e).all()} == set(
        written.planted["not_finite"]
    )
    assert {i for i, e in errors.items() if (e <= 0).any()} == set(written.planted["not_positive"])
    assert set(by_id) - {int(row["source_id"]) for row in sources} == set(
        written.planted["missing_source"]
    )
    no_flux = {int(row["source_id"]) for row in sources if row["phot_g_mean_flux"] == "null"}
    assert no_flux == set(written.planted["missing_flux"])
    across = [
        i
        for name in written.rows
        for i in {int(r["source_id"]) for r in rows(spectrum_file(tmp_path, name))}
    ]
    assert sorted(i for i in set(across) if across.count(i) == 2) == sorted(
        written.planted["duplicate_across"]
    )


def spectrum_file(url, name):
    return Path(url, "xp_continuous_mean_spectrum", f"XpContinuousMeanSpectrum_{name}.csv.gz")


def test_whole_files_are_damaged_as_asked(tmp_path):
    defects = Defects(
        truncated_file=True,
        wrong_md5=True,
        missing_source_file=True,
        foreign_file=True,
        missing_bp=2,
    )
    written = write_archive(UNIVERSE, str(tmp_path), n_files=6, defects=defects)
    assert sorted(written.damaged) == [
        "foreign_file",
        "missing_source_file",
        "truncated_file",
        "wrong_md5",
    ]
    with pytest.raises(EOFError):
        lines(spectrum_file(tmp_path, written.damaged["truncated_file"]))
    sums = dict(
        reversed(line.split())
        for line in (tmp_path / "xp_continuous_mean_spectrum/_MD5SUM.txt").open()
    )
    wrong = spectrum_file(tmp_path, written.damaged["wrong_md5"])
    assert len(rows(wrong)) == written.rows[written.damaged["wrong_md5"]]
    assert sums[wrong.name] != hashlib.md5(wrong.read_bytes()).hexdigest()
    missing = written.damaged["missing_source_file"]
    assert not (tmp_path / "gaia_source" / f"GaiaSource_{missing}.csv.gz").exists()
    assert (
        "bp_coefficients" not in rows(spectrum_file(tmp_path, written.damaged["foreign_file"]))[0]
    )
    sound = [name for name in written.rows if name not in written.damaged.values()]
    found = {
        int(r["source_id"])
        for name in sound
        for r in rows(spectrum_file(tmp_path, name))
        if r["bp_coefficients"] == "null"
    }
    assert found == set(written.planted["missing_bp"])


def test_correlations_have_the_archives_length(tmp_path):
    write_archive(Universe(20, seed=1), str(tmp_path), n_files=1, correlations=True, md5=False)
    xp, _ = tables(tmp_path)
    assert all(len(numbers(row["rp_coefficient_correlations"])) == 1_485 for row in xp)
    assert not list(tmp_path.glob("*/_MD5SUM.txt"))


def test_too_many_defects_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="too few"):
        write_archive(
            UNIVERSE, str(tmp_path), n_files=1, defects=Defects(truncated_file=True, wrong_md5=True)
        )
    with pytest.raises(InvalidInputError, match="too small"):
        write_archive(Universe(20), str(tmp_path), n_files=2, defects=Defects(missing_bp=30))
