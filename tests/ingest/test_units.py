"""Coefficients that were divided already are found by their sizes, in every input and command."""

from dataclasses import replace

import numpy as np
import pytest

from tests.commands import done, xpscale
from tests.support.datalink_files import source_table_bytes, spectra_bytes
from tests.support.parquet_files import write_parquet_files
from xpscale.errors import InvalidInputError
from xpscale.spectra import SpectraBatch
from xpscale.store.open import open_parquet
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe
from xpscale.units import check_units

ROWS = Universe(120, seed=3).spectra()
FLUX = ROWS.phot_g_mean_flux[:, None].astype(np.float32)
NORM = np.linalg.norm(ROWS.coefficients, axis=1, keepdims=True)
KINDS = {
    "by G": (ROWS.coefficients / FLUX, ROWS.coefficient_errors / FLUX, "by phot_g_mean_flux"),
    "by the norm": (ROWS.coefficients / NORM, ROWS.coefficient_errors / NORM, "by their norm"),
    "coefficients only": (ROWS.coefficients / FLUX, ROWS.coefficient_errors, "coefficients of"),
    "errors only": (ROWS.coefficients, ROWS.coefficient_errors / FLUX, "look divided by something"),
    "relative errors": (ROWS.coefficients, ROWS.coefficient_errors / NORM, "divided by something"),
    "errors of 1e6": (ROWS.coefficients, ROWS.coefficient_errors * 1e4, "in other units"),
    "flux densities": (ROWS.coefficients * 1e-16, ROWS.coefficient_errors * 1e-16, "look divided"),
    "a magnitude for G": (ROWS.coefficients * 1e4, ROWS.coefficient_errors * 1e4, "other units"),
}


def of_kind(kind):
    coefficients, errors, says = KINDS[kind]
    return replace(ROWS, coefficients=coefficients, coefficient_errors=errors), says


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 120])
def test_what_was_divided_is_refused_for_what_it_is(kind, n):
    batch, says = of_kind(kind)
    if n == 1 and "other units" in says:
        check_units(batch.take(slice(n)), "x")  # one G flux may be wrong
        return
    with pytest.raises(InvalidInputError, match=says) as error:
        check_units(batch.take(slice(n)), "x")
    assert "--trust-units" in error.value.remedy


def test_a_part_of_the_rows_is_enough():
    batch, _ = of_kind("by G")
    mixed = ROWS.coefficients.copy()
    mixed[::10] = batch.coefficients[::10]
    with pytest.raises(InvalidInputError, match="look divided"):
        check_units(replace(ROWS, coefficients=mixed), "x")


@pytest.mark.parametrize("magnitude", [5, 12, 17.6, 21])
def test_the_archives_units_pass_at_every_magnitude(magnitude):
    flux = 10 ** ((25.7 - magnitude) / 2.5)
    usual = np.sqrt(0.09 + 0.0045**2 * flux + (9e-6 * flux) ** 2)
    errors = usual * ROWS.coefficient_errors / np.median(ROWS.coefficient_errors)
    noise = np.random.default_rng(1).normal(0, errors)
    bright = np.arange(110) % 55 < 30  # the rest is noise
    batch = replace(
        ROWS,
        coefficients=(ROWS.coefficients * bright * flux / FLUX + noise).astype(np.float32),
        coefficient_errors=errors.astype(np.float32),
        phot_g_mean_flux=np.full(len(ROWS), flux),
    )
    check_units(batch, "x")
    check_units(batch.take(slice(1)), "x")


def test_rows_without_values_say_nothing():
    nothing = replace(ROWS, coefficients=np.full_like(ROWS.coefficients, np.nan))
    check_units(nothing, "x")
    check_units(replace(ROWS, coefficient_errors=None), "x")


def test_every_command_stops_and_goes_on_if_told(tmp_path):
    batch, _ = of_kind("by G")
    write_parquet_files(batch, str(tmp_path / "in"))
    refused = xpscale("ingest", tmp_path / "in", tmp_path / "store", "--workers", 0)
    assert refused.code == 2
    assert "look divided by phot_g_mean_flux" in refused.err
    assert not (tmp_path / "store").exists()
    for command in (
        ("plan", tmp_path / "in", "model", "catalog"),
        ("infer", tmp_path / "in", "model", "catalog"),
        ("sample", tmp_path / "in", "-n", 10, "-o", tmp_path / "sample.parquet"),
        ("train", tmp_path / "in", tmp_path / "model"),
    ):
        assert "--trust-units" in xpscale(*command).err, command
    done("ingest", tmp_path / "in", tmp_path / "store", "--workers", 0, "--trust-units")
    assert open_store(str(tmp_path / "store")).n_rows == 120


def test_one_file_of_a_folder_is_found(tmp_path):
    batch, _ = of_kind("by the norm")
    write_parquet_files(ROWS.take(slice(60)), str(tmp_path / "in"), n_files=3)
    (tmp_path / "other").mkdir()
    write_parquet_files(batch.take(slice(60, None)), str(tmp_path / "other"))
    (tmp_path / "other/part-000.parquet").rename(tmp_path / "in/part-009.parquet")
    with pytest.raises(InvalidInputError, match=r"part-009.*by their norm"):
        open_parquet(str(tmp_path / "in"))
    assert open_parquet(str(tmp_path / "in"), trust_units=True).n_rows == 120


@pytest.mark.parametrize("form", ["csv", "fits", "vot", "hdf5"])
def test_tables_with_a_table_of_sources(form, tmp_path):
    batch, _ = of_kind("by G")
    (tmp_path / "s.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    (tmp_path / f"x.{form}").write_bytes(spectra_bytes(batch, form))
    told = ("ingest", tmp_path / f"x.{form}", tmp_path / "o", "--sources", tmp_path / "s.parquet")
    refused = xpscale(*told, "--workers", 0)
    assert refused.code == 2
    assert "look divided" in refused.err
    done(*told, "--workers", 0, "--trust-units")


MANY = Universe(400, seed=3).spectra()
BY_BRIGHTNESS = np.argsort(-MANY.phot_g_mean_flux)
KINDS_OF_ERRORS = {
    "variances": (lambda e: e**2, "look like variances"),
    "weights": (lambda e: 1 / e, "look like inverse variances, or weights|look divided"),
    "inverse variances": (
        lambda e: 1 / e**2,
        "look like inverse|look divided",
    ),
    "square roots": (np.sqrt, "look like square roots of errors"),
}


@pytest.mark.parametrize("kind", KINDS_OF_ERRORS)
@pytest.mark.parametrize("rows", [slice(None), slice(-40, None), slice(20)])
def test_what_is_no_error_is_told_by_its_size(kind, rows):
    """Of all stars, of some faint ones, of some bright ones."""
    batch = MANY.take(BY_BRIGHTNESS[rows])
    made, says = KINDS_OF_ERRORS[kind]
    with pytest.raises(InvalidInputError, match=says) as error:
        check_units(replace(batch, coefficient_errors=made(batch.coefficient_errors)), "x")
    assert "--trust-units" in error.value.remedy
    check_units(batch, "x")


def test_errors_that_are_all_equal_were_made_up():
    with pytest.raises(InvalidInputError, match="are all 1: they were made up"):
        check_units(replace(MANY, coefficient_errors=np.ones_like(MANY.coefficient_errors)), "x")


@pytest.mark.parametrize("spoilt", ["many transits", "lines in the highest orders"])
def test_unusual_errors_and_unusual_objects_are_genuine(spoilt):
    batch = MANY.take(BY_BRIGHTNESS[-40:])
    if spoilt == "many transits":
        factor = np.float32(0.4)
        high = np.arange(110) % 55 >= 37
        c = np.where(high, batch.coefficients * factor, batch.coefficients)
        batch = replace(batch, coefficients=c, coefficient_errors=batch.coefficient_errors * factor)
    else:
        batch = replace(batch, coefficients=batch.coefficients * np.float32(4))
    check_units(batch, "x")


def test_genuine_errors_of_few_stars_of_every_brightness_pass(real_archive, tmp_path):
    """Of the bright stars that calibration limits, and the faint that background does."""
    done("ingest", real_archive, tmp_path / "store", "--workers", 0)
    store = open_store(str(tmp_path / "store"))
    rows = SpectraBatch.concatenate(store.read(partition) for partition in store.partitions)
    order = np.argsort(rows.phot_g_mean_flux)
    for n in (10, 40, 400):
        for start in range(0, len(order), n):
            check_units(rows.take(order[start : start + n]), "x")


@pytest.mark.parametrize("wrong", [np.radians, lambda x: x / 15, lambda x: x[::-1]])
def test_positions_elsewhere_than_identifiers_say_are_refused(wrong):
    batch = replace(ROWS, ra=wrong(ROWS.ra), dec=wrong(ROWS.dec))
    with pytest.raises(InvalidInputError, match="from where their source_id says") as error:
        check_units(batch, "x")
    assert "--trust-units" in error.value.remedy
    few = batch.take(slice(9))
    check_units(few, "x")
