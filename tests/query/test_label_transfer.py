"""Labels of a catalogue: from a table of known stars to every star, by command and in Python."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from tests.commands import xpscale
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.evaluation.label_tables import read_labels
from xpscale.labels.label_file import content_hash, load_label_model, save_label_model
from xpscale.labels.label_table import error_column, label_columns, values_and_errors
from xpscale.labels.workflow import apply_labels, fit_labels

N_KNOWN = 160


def temperature(rows):
    mean = np.stack([rows[f"latent_mean_{i}"].to_numpy() for i in range(6)], 1)
    return 6000 + 800 * np.tanh(mean[:, 0])


@pytest.fixture(scope="module")
def known(example):
    """Some stars of known temperature, one that is elsewhere, one without."""
    rng = np.random.default_rng(1)
    rows = example.rows.take(rng.permutation(example.rows.num_rows)[:N_KNOWN])
    teff = temperature(rows) + rng.normal(0, 30, N_KNOWN)
    teff[0] = np.nan
    source_id = rows["source_id"].to_numpy().copy()
    source_id[1] = 64
    columns = {"source_id": source_id, "teff": teff, "e_Teff": np.full(N_KNOWN, 30.0)}
    return pa.table({**columns, "field": ["a"] * N_KNOWN, "snr": np.arange(N_KNOWN)})


@pytest.fixture(scope="module")
def fitted(cat, known):
    return fit_labels(cat, known)


def test_every_star_gets_its_label(cat, example, fitted):
    assert list(fitted.labels) == ["teff"]  # the only column with errors
    assert fitted.n_stars == N_KNOWN - 1
    assert fitted.labels["teff"].score.n == N_KNOWN - 2
    found = apply_labels(cat.select().columns("source_id", "flags"), fitted)
    assert found.schema.names == ["source_id", "flags", "teff", "teff_error", "teff_flags"]
    table = found.to_table()
    assert table["source_id"].equals(example.rows["source_id"])
    residual = table["teff"].to_numpy() - temperature(example.rows)
    assert np.median(np.abs(residual)) < 150
    # the planted function sees the means, the model believes their errors: it errs on the safe side
    assert (np.abs(residual) < table["teff_error"].to_numpy()).mean() > 0.6
    assert len(found) == example.rows.num_rows
    assert found.head(3).to_table().equals(table.slice(0, 3))
    assert "159 known stars" in found.provenance["query"]


@pytest.mark.parametrize("unknown", [-9999.0, np.inf])
def test_stars_of_unknown_labels_teach_nothing(cat, known, unknown):
    teff = known["teff"].to_numpy().copy()
    teff[2:80] = unknown
    few = known.set_column(1, "teff", pa.array(teff)).slice(0, 140)
    assert fit_labels(cat, few).labels["teff"].score.n == 60


def test_a_star_that_comes_several_times_counts_once(cat, known, tmp_path):
    """The first row with the label, for whoever reads labels."""
    twice, unknown = known.slice(2, 40), known.slice(60, 10)
    other = twice.set_column(1, "teff", pa.array(np.full(40, 5000.0)))
    before = unknown.set_column(1, "teff", pa.nulls(10, pa.float64()))
    many = pa.concat_tables([before, known, twice, other])
    fitted = fit_labels(cat, many)
    assert content_hash(fitted) == content_hash(fit_labels(cat, known))
    one, same = read_labels(known), read_labels(many)
    assert np.array_equal(one.source_id, same.source_id)
    assert np.array_equal(one.labels["teff"], same.labels["teff"], equal_nan=True)


def test_a_model_is_one_file_and_reads_back(fitted, cat, tmp_path):
    path = str(tmp_path / "labels.safetensors")
    save_label_model(fitted, path)
    again = load_label_model(path)
    assert content_hash(again) == content_hash(fitted) != content_hash(replace(again, n_stars=3))
    rows = cat.cone(0, 90, 20)
    assert apply_labels(rows, again).to_table().equals(apply_labels(rows, fitted).to_table())
    assert str(again) == str(fitted)


def test_commands(example, known, tmp_path):
    names = {"teff": "Teff [K]"}
    table = Table(known.drop(["field"]).to_pydict())
    table["teff"].unit = "K"
    table.rename_column("teff", names["teff"])
    table.write(tmp_path / "known.fits")
    labels = tmp_path / "labels.safetensors"
    fit = ("labels", "fit", example.url, tmp_path / "known.fits", "-o", labels, "--where", "")
    missing = xpscale(*fit)
    assert missing.code == 2
    assert "--columns" in missing.err
    done = xpscale(*fit, "--columns", "Teff [K]")
    assert done.code == 0, done.err
    assert "Teff [K]" in done.out
    assert xpscale(*fit, "--columns", "Teff [K]").code == 5  # nothing is overwritten
    out = tmp_path / "found.parquet"
    apply = ("labels", "apply", example.url, labels, "--cone", "0,90,20")
    assert xpscale(*apply, "-o", out).code == 0
    found = pq.read_table(out)
    assert found.column_names[-3:] == ["Teff [K]", "Teff [K]_error", "Teff [K]_flags"]
    assert found.schema.field("Teff [K]").metadata[b"unit"] == b"K"
    assert 0 < len(found) < example.rows.num_rows
    lines = xpscale(*apply).out.splitlines()
    assert len(lines) == len(found) + 1


@pytest.mark.parametrize(
    ("change", "labels", "kind", "words"),
    [
        (lambda t: t.set_column(0, "source_id", pa.array([5] * len(t))), (), NotFoundError, "none"),
        (lambda t: t.drop(["e_Teff"]), (), InvalidInputError, "none has a column of errors"),
        (lambda t: t, ("teff", "logg"), InvalidInputError, "'logg' is not there"),
        (lambda t: t, ("field",), InvalidInputError, "'field' holds no numbers"),
        (lambda t: t.slice(0, 40), (), InvalidInputError, "38 stars"),
    ],
    ids=["no overlap", "no errors", "no column", "text", "few"],
)
def test_what_cannot_be_fitted_is_named(cat, known, change, labels, kind, words):
    with pytest.raises(kind, match=words):
        fit_labels(cat, change(known), labels)


def test_labels_of_another_model_or_another_file_are_refused(cat, fitted, tmp_path):
    with pytest.raises(InvalidInputError, match="fitted to latents of model ffff"):
        apply_labels(cat, replace(fitted, model_id="ffff" * 16))
    path = tmp_path / "labels.safetensors"
    save_label_model(fitted, str(path))
    whole = path.read_bytes()
    for data in (b"", b"PAR1", whole[:1000], whole[:-1], whole.replace(b"labels 1", b"labels 9")):
        path.write_bytes(data)
        with pytest.raises(InvalidInputError, match="no model of labels"):
            load_label_model(str(path))
    with pytest.raises(NotFoundError):
        load_label_model(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["teff_err", "TEFF_ERROR", "e_teff", "err_teff", "tefferr"])
def test_errors_go_by_their_usual_names(name):
    assert error_column("Teff", ["Teff", "logg_err", name]) == name


def test_decimals_are_numbers():
    table = pa.table({"teff": pa.array([Decimal("5000.5"), None])})
    assert label_columns(table, ("teff",), "mine") == {"teff": ""}
    np.testing.assert_array_equal(values_and_errors(table, "teff", "")[0], [5000.5, np.nan])
