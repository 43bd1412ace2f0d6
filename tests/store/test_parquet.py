"""Parquet of other people: names as found in the wild, and what is refused because it would be read
wrong.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.parquet_files import spectra_table, write_hats_spectra, write_parquet_files
from xpscale.bands import Bands
from xpscale.columns import find_source_columns, find_xp_columns, flux_of_magnitude
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.sky import INDEX_ORDER, Pixel
from xpscale.store import footprints
from xpscale.store.footprints import Footprint, count_pixels, row_groups_by_pixel
from xpscale.store.open import open_parquet, open_spectra
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions
from xpscale.table_bands import bands_of

GROUPS = {
    "bands": [
        "bp_coefficients",
        "rp_coefficients",
        "bp_coefficient_errors",
        "rp_coefficient_errors",
    ],
    "shouted": [
        "BP_COEFFICIENTS",
        "RP_COEFFICIENTS",
        "BP_COEFFICIENT_ERRORS",
        "RP_COEFFICIENT_ERRORS",
    ],
    "short errors": ["bp_coefficients", "rp_coefficients", "bp_errors", "rp_errors"],
    "joined": ["coefficients", "coefficient_errors"],
    "multimodal universe": ["coeff", "coeff_error"],
}


@pytest.mark.parametrize("names", GROUPS.values(), ids=GROUPS)
def test_array_columns_are_known_by_name(names):
    found = find_xp_columns(["source_id", "bp_rp", "bp_coefficient_correlations", *names], "t")
    half = len(names) // 2
    assert found.coefficients == tuple((name,) for name in names[:half])
    assert found.errors == tuple((name,) for name in names[half:])
    assert not found.is_scalar


@pytest.mark.parametrize(
    ("value", "error", "first"),
    [
        ("{}_coeff_{}", "e_{}_coeff_{}", 0),
        ("{}_coefficients_{}", "{}_coefficient_errors_{}", 1),
        ("{}_{}", "{}e_{}", 1),
        ("{}_{}", "{}_error_{}", 0),
    ],
)
def test_scalar_columns_are_put_in_order_of_their_numbers(value, error, first):
    numbers = range(first, first + 12)
    names = [
        form.format(band, i)
        for form in (error, value)
        for band in ("rp", "bp")
        for i in sorted(numbers, key=str)
    ]
    found = find_xp_columns(["source_id", *names], "t")
    assert found.coefficients == tuple(
        tuple(value.format(band, i) for i in numbers) for band in ("bp", "rp")
    )
    assert found.errors == tuple(
        tuple(error.format(band, i) for i in numbers) for band in ("bp", "rp")
    )
    assert (found.is_scalar, bands_of(found, (12, 12), "t")) == (True, Bands(12, 12))


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["source_id", "ra"], "no XP coefficients; its columns are source_id, ra"),
        (["bp_coefficients", "rp_coefficients"], "no source_id"),
        (["source_id", "bp_coefficients"], "no XP coefficients"),
        (["source_id", "bp_coeff_0", "bp_coeff_2", "rp_coeff_0", "rp_coeff_1"], "not number 1"),
        (
            ["source_id", "bp_coeff_5", "bp_coeff_6", "rp_coeff_5", "rp_coeff_6"],
            "without a gap from 0 or 1",
        ),
        (["source_id", "bp_coefficients", "bp_coeffs", "rp_coefficients"], "mean the same"),
        (
            ["source_id", "bp_coefficients", "rp_coefficients", "bp_coefficient_errors"],
            "errors for some of them",
        ),
        (["source_id", "SOURCE_ID", "coefficients"], "source_id and SOURCE_ID"),
        (["source_id", "coefficients", "transit_id"], "epoch spectra: several rows a source"),
        (["source_id", "coefficients", "xp.transitId"], "told apart by xp.transitId"),
    ],
)
def test_names_that_cannot_be_told_are_refused(names, match):
    with pytest.raises(InvalidInputError, match=match):
        find_xp_columns(names, "t")


def test_the_flux_is_preferred_and_the_magnitude_converted():
    both = find_source_columns(
        ["source_id", "ra", "dec", "phot_g_mean_mag", "phot_g_mean_flux"], "t"
    )
    assert (both.g, both.g_is_magnitude) == ("phot_g_mean_flux", False)
    assert find_source_columns(["source_id", "ra", "dec"], "t") is None
    np.testing.assert_allclose(
        flux_of_magnitude(np.array([25.6873668671, 20.6873668671])), [1, 100], rtol=1e-12
    )


# -- reading


def write(folder, table, name="part.parquet"):
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / name, row_group_size=100)
    return str(folder)


def read_all(reader):
    batches = [reader.read(partition) for partition in reader.partitions]
    return {
        int(i): row for b in batches for i, row in zip(b.source_id, b.coefficients, strict=True)
    }


@pytest.mark.parametrize("shape", ["list", "fixed", "joined", "scalars"])
def test_missing_values_are_nan(tmp_path, universe_rows, shape):
    rows = universe_rows.take(np.arange(len(universe_rows)))
    rows.coefficients[7, :55] = np.nan
    rows.coefficients[8] = np.nan
    rows.coefficients[9, 20] = np.nan
    rows.phot_g_mean_flux[10] = np.nan
    reader = open_parquet(write(tmp_path / "p", spectra_table(rows, shape)), max_rows=60)
    found = read_all(reader)
    for i, source_id in enumerate(rows.source_id.tolist()):
        np.testing.assert_array_equal(found[source_id], rows.coefficients[i])
    fluxes = np.concatenate(
        [reader.read(partition).phot_g_mean_flux for partition in reader.partitions]
    )
    assert np.isnan(fluxes).sum() == 1


def test_wider_types_nulls_and_extra_columns(tmp_path, universe_rows):
    table = spectra_table(universe_rows, "list")
    wide = table.set_column(
        4, "bp_coefficients", table["bp_coefficients"].cast(pa.large_list(pa.float64()))
    )
    inner = [[None, *row[1:]] for row in wide["rp_coefficients"].to_pylist()]
    wide = wide.set_column(5, "rp_coefficients", pa.array(inner)).append_column(
        "note", pa.array(["x"] * len(inner))
    )
    found = read_all(open_parquet(write(tmp_path / "p", wide)))
    values = np.array([found[i] for i in universe_rows.source_id.tolist()])
    np.testing.assert_array_equal(values[:, :55], universe_rows.coefficients[:, :55])
    assert np.isnan(values[:, 55]).all()
    np.testing.assert_array_equal(values[:, 56:], universe_rows.coefficients[:, 56:])


def test_a_table_without_errors_says_so_and_gives_none(tmp_path, universe_rows):
    table = spectra_table(universe_rows, "fixed").drop_columns(
        ["bp_coefficient_errors", "rp_coefficient_errors"]
    )
    reader = open_spectra(write(tmp_path / "p", table) + "/part.parquet")
    assert "without errors" in str(reader)
    assert reader.read(reader.partitions[0]).coefficient_errors is None


def test_columns_that_would_be_read_wrong_are_refused(tmp_path, universe_rows):
    table = spectra_table(universe_rows, "list")

    def refused(match, **columns):
        changed = table
        for name, values in columns.items():
            changed = changed.set_column(changed.column_names.index(name), name, values)
        reader_at = write(tmp_path / "p", changed)
        with pytest.raises(InvalidInputError, match=match):
            read_all(open_parquet(reader_at))

    refused(
        "column source_id: double cannot hold",
        source_id=table["source_id"].cast(pa.float64(), safe=False),
    )
    refused("which is no array of numbers", bp_coefficients=pa.array(["(1, x)"] * len(table)))
    lists = table["rp_coefficients"].to_pylist()
    refused(
        "row 4 has 54 values, others have 55",
        rp_coefficients=pa.array([*lists[:3], lists[3][:54], *lists[4:]]),
    )
    no_flux = table.drop_columns(["phot_g_mean_flux"])
    with pytest.raises(InvalidInputError, match="lacks phot_g_mean_flux or phot_g_mean_mag"):
        open_parquet(write(tmp_path / "q", no_flux))


def test_sorted_files_are_read_about_once_and_shuffled_ones_say_what_they_cost(
    tmp_path, universe_rows
):
    write_parquet_files(universe_rows, str(tmp_path / "sorted"), n_files=2, row_group_rows=25)
    shuffled = universe_rows.take(np.random.default_rng(0).permutation(len(universe_rows)))
    write_parquet_files(shuffled, str(tmp_path / "shuffled"), n_files=2, row_group_rows=25)
    sorted_reader, shuffled_reader = (
        open_parquet(str(tmp_path / name), max_rows=60) for name in ("sorted", "shuffled")
    )
    assert [p.pixel for p in sorted_reader.partitions] == [
        p.pixel for p in shuffled_reader.partitions
    ]
    assert sorted_reader.digest != shuffled_reader.digest
    assert sorted_reader.read_factor < 2.5 < 8 < shuffled_reader.read_factor


def test_batches_smaller_than_a_row_group_make_no_difference(tmp_path, universe_rows, monkeypatch):
    write_parquet_files(universe_rows, str(tmp_path / "p"), "fixed", row_group_rows=500)
    whole = read_all(open_parquet(str(tmp_path / "p"), max_rows=60))
    monkeypatch.setattr("xpscale.store.parquet_files.BATCH_ROWS", 33)
    reader = open_parquet(str(tmp_path / "p"), max_rows=60)
    pieces = read_all(reader)
    assert whole.keys() == pieces.keys() == set(universe_rows.source_id.tolist())
    assert all(np.array_equal(whole[i], pieces[i]) for i in whole)
    assert reader.read_factor == len(reader.partitions)


def test_files_that_change_under_a_run_are_noticed(tmp_path, universe_rows):
    url = str(tmp_path / "p")
    write_parquet_files(universe_rows, url, n_files=2)
    reader = open_parquet(url, max_rows=60)
    partition = reader.partitions[0]
    write_parquet_files(universe_rows.take(slice(0, 400)), url, n_files=2)
    with pytest.raises(ConflictError, match=r"has changed"):
        reader.read(partition)
    fresh = open_parquet(url, max_rows=60)
    assert fresh.digest != reader.digest


def test_rows_outside_their_hats_pixel_are_refused(tmp_path, store):
    write_hats_spectra(store, str(tmp_path / "hats"))
    leaves = sorted((tmp_path / "hats").rglob("Npix=*.parquet"))
    leaves[0].write_bytes(leaves[-1].read_bytes())
    reader = open_spectra(tmp_path / "hats/dataset")  # the catalogue states another number of rows
    wrong = [p for p in reader.partitions if leaves[0].match(f"{p.row_groups[0].file}")]
    with pytest.raises(InvalidInputError, match=r"lie outside .*xpscale ingest"):
        reader.read(wrong[0])


@pytest.mark.slow
def test_a_hats_catalogue_that_lsdb_wrote(tmp_path, universe_rows):
    lsdb = pytest.importorskip("lsdb")
    table = spectra_table(universe_rows, "list").to_pandas(types_mapper=None)
    catalog = lsdb.from_dataframe(table, ra_column="ra", dec_column="dec", partition_rows=150)
    catalog.write_catalog(tmp_path / "hats", catalog_name="spectra", progress_bar=False)
    reader = open_spectra(tmp_path / "hats")
    assert reader.is_hats
    assert sum(p.n_rows for p in reader.partitions) == len(universe_rows) == reader.n_rows
    found = read_all(reader)
    for i, source_id in enumerate(universe_rows.source_id.tolist()):
        np.testing.assert_array_equal(found[source_id], universe_rows.coefficients[i])


def test_nothing_there(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(NotFoundError, match="neither a spectra store nor Parquet"):
        open_spectra(tmp_path)
    with pytest.raises(NotFoundError):
        open_spectra(tmp_path / "gone.parquet")


# -- footprints

INDEXES = st.lists(st.integers(0, 12 * 4**INDEX_ORDER - 1), min_size=1, max_size=30)


@given(
    st.lists(st.lists(INDEXES, max_size=3), min_size=1, max_size=4),
    st.integers(1, 20),
    st.integers(1, 6),
)
def test_no_row_group_is_forgotten(files, max_rows, most):
    original, footprints.MOST_PIXELS = footprints.MOST_PIXELS, most
    try:
        found = [
            [Footprint.of(count_pixels(np.array(group))) for group in groups] for groups in files
        ]
    finally:
        footprints.MOST_PIXELS = original
    assert all(len(footprint.numbers) <= max(most, 12) for groups in found for footprint in groups)
    counts = np.zeros(12 * 4**COUNT_ORDER, np.int64)
    shift = 2 * (INDEX_ORDER - COUNT_ORDER)
    for index in (i for groups in files for group in groups for i in group):
        counts[index >> shift] += 1
    pixels = [partition.pixel for partition in adaptive_partitions(counts, max_rows)]
    reached = row_groups_by_pixel(pixels, found)
    for pixel, touching in zip(pixels, reached, strict=True):
        low, high = pixel.index_range
        needed = {
            (i, j)
            for i, f in enumerate(files)
            for j, g in enumerate(f)
            if any(low <= x < high for x in g)
        }
        given_groups = {(i, j) for i, numbers in touching for j in numbers}
        assert needed <= given_groups
        if most >= 6 and all(len({x >> shift for x in g}) <= most for f in files for g in f):
            assert needed == given_groups


def test_a_coarse_footprint_reaches_every_partition_inside_it():
    whole = Footprint(0, np.array([3]))
    pixels = [Pixel(1, 4 * 3 + i) for i in range(4)] + [Pixel(0, 4)]
    assert row_groups_by_pixel(pixels, [[whole]]) == [[(0, (0,))]] * 4 + [[]]
