"""``--truncate``: orders beyond the archive's numbers of relevant bases count as missing; and what
comes along with spectra reaches the catalogue.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.commands import done, xpscale
from tests.support.archive_files import write_archive
from tests.support.datalink_files import source_table_bytes, table_bytes
from tests.support.parquet_files import spectra_table
from xpscale.companions import COMPANIONS, OF_SPECTRA
from xpscale.flags import Flag
from xpscale.model.architectures import build
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.spectra import SpectraBatch
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

ROWS = Universe(40, seed=8).spectra()
N_BP, N_RP = (np.random.default_rng(1).integers(1, 56, len(ROWS)).astype(float) for _ in range(2))
N_BP[3] = 55
NUMBERS = dict(zip(OF_SPECTRA, (N_BP, N_RP), strict=True))
NO_WORKERS = "--workers", 0, "--outputs", "latents,correlations,reconstruction"


def hidden():
    """Which elements are left out, with shape (N, C)."""
    order = np.arange(55)
    return np.hstack([order >= N_BP[:, None], order >= N_RP[:, None]])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network that sees errors, and a store of spectra with numbers and companions."""
    folder = tmp_path_factory.mktemp("truncated")
    torch.manual_seed(0)
    network = build(Architecture(ROWS.bands, hidden=(16, 16), name="iterative")).eval()
    card, density = ModelCard(network.architecture), TrainingDensity.unknown(ROWS.bands)
    TrainedModel.create(network, Scaling.fit([ROWS]), density, card).save(str(folder / "model"))
    pq.write_table(with_numbers(ROWS), folder / "in.parquet")
    done("ingest", folder / "in.parquet", folder / "store", "--workers", 0)
    return folder


def with_numbers(rows, **changed):
    table = spectra_table(rows, "list")
    more = {name: np.arange(len(rows)) + 0.5 for name in COMPANIONS} | NUMBERS | changed
    for name, values in more.items():
        table = table.append_column(name, pa.array(values, from_pandas=True))
    return table


def latents(catalog):
    parts = sorted((catalog / "latents").rglob("Npix=*.parquet"))
    return pq.read_table(parts).to_pandas().set_index("source_id").loc[ROWS.source_id]


@pytest.fixture(scope="module")
def without_them(place):
    """The catalogue of spectra that lack the other orders from the start."""
    rows = SpectraBatch.concatenate([ROWS])
    rows.coefficients[hidden()] = rows.coefficient_errors[hidden()] = np.nan
    pq.write_table(with_numbers(rows), place / "without.parquet")
    done("infer", place / "without.parquet", place / "model", place / "without", *NO_WORKERS)
    return latents(place / "without")


@pytest.mark.parametrize("source", ["store", "in.parquet"])
def test_the_rest_counts_as_missing(source, place, without_them, tmp_path):
    told = "infer", place / source, place / "model", tmp_path / "c", *NO_WORKERS
    done(*told, "--truncate")
    found = latents(tmp_path / "c")
    np.testing.assert_array_equal(found["n_coefficients"], N_BP + N_RP)
    is_partly = (found["flags"].to_numpy() & Flag.PARTLY_SEEN) > 0
    np.testing.assert_array_equal(is_partly, N_BP + N_RP < 110)
    assert found.equals(without_them)
    for name, companion in COMPANIONS.items():  # what comes along comes to the end
        expected = NUMBERS.get(name, np.arange(len(ROWS)) + 0.5).astype(companion.dtype)
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == companion.dtype
    refused = xpscale(*told)
    assert refused.code == 5
    assert "truncated: there True, now False" in refused.err


def test_a_band_whose_number_is_not_known_stays_whole(place, tmp_path):
    unknown = np.where(np.arange(len(ROWS)) < 5, np.nan, N_RP)
    pq.write_table(with_numbers(ROWS, rp_n_relevant_bases=unknown), tmp_path / "in.parquet")
    catalog = tmp_path / "c"
    done("infer", tmp_path / "in.parquet", place / "model", catalog, "--truncate", *NO_WORKERS)
    np.testing.assert_array_equal(latents(catalog)["n_coefficients"][:5], N_BP[:5] + 55)


@pytest.mark.parametrize("form", ["csv", "fits", "vot", "hdf5", "parquet"])
def test_tables_with_sources_of_their_own_keep_the_numbers(form, tmp_path):
    numbers = {name: values.astype(np.int16) for name, values in NUMBERS.items()}
    (tmp_path / "s.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    (tmp_path / f"in.{form}").write_bytes(table_bytes(numbers, ROWS, form))
    told = "ingest", tmp_path / f"in.{form}", tmp_path / "store", "--workers", 0
    done(*told, "--sources", tmp_path / "s.parquet")
    check_numbers(tmp_path / "store")


def check_numbers(store):
    reader = open_store(str(store))
    assert set(OF_SPECTRA) <= set(reader.companions)
    known = dict(zip(ROWS.source_id.tolist(), zip(N_BP, N_RP, strict=True), strict=True))
    for rows in map(reader.read, reader.partitions):
        found = zip(*(rows.companions[name] for name in OF_SPECTRA), strict=True)
        assert list(found) == [known[i] for i in rows.source_id.tolist()]


def test_the_archive_keeps_the_numbers(tmp_path):
    write_archive(Universe(40, seed=8), str(tmp_path / "archive"), n_files=1)
    done("ingest", tmp_path / "archive", tmp_path / "store", "--workers", 0)
    reader = open_store(str(tmp_path / "store"))
    rows = reader.read(reader.partitions[0])
    assert [set(rows.companions[name].tolist()) for name in OF_SPECTRA] == [{5.0}, {5.0}]


def test_what_cannot_be_truncated_is_refused(place, model, tmp_path):
    told = "ingest", place / "in.parquet", tmp_path / "bare", "--companions", "ruwe"
    done(*told, "--workers", 0)
    refused = xpscale("plan", tmp_path / "bare", place / "model", tmp_path / "c", "--truncate")
    assert refused.code == 2
    assert "--truncate needs bp_n_relevant_bases and rp_n_relevant_bases" in refused.err
    model.save(str(tmp_path / "whole"))
    refused = xpscale("infer", place / "store", tmp_path / "whole", tmp_path / "c", "--truncate")
    assert refused.code == 2
    assert "this network needs whole spectra" in refused.err
    assert not (tmp_path / "c").exists()
