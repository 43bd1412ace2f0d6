"""Inference directly from Parquet or HATS uses the rows that an ingest would write, and gives the
same catalogue, byte for byte, with the same rows rejected for the same reasons.
"""

import json
import re
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.commands import done, xpscale
from tests.support.parquet_files import spectra_table, write_hats_spectra, write_parquet_files
from xpscale.errors import InvalidInputError
from xpscale.flags import Flag
from xpscale.inference.infer import infer
from xpscale.inference.plan import plan_inference
from xpscale.ingest.build import build_store
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.model.architectures import build
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.schema import OUTPUTS
from xpscale.spectra import SpectraBatch
from xpscale.store.open import open_parquet, open_spectra
from xpscale.testing.universe import Universe

ROWS = Universe(240, seed=5, mover_fraction=0.05).spectra()


def fresh(rows=slice(None)):
    batch = ROWS.take(np.arange(len(ROWS))[rows])
    return SpectraBatch.concatenate([batch])


def again(change=lambda batch: None, rows=slice(20, 23)):
    """All rows, and some of them once more, changed; each way the first usable row counts."""
    copies = fresh(rows)
    change(copies)
    return [fresh(), copies]


def first(change, rows=slice(20, 23)):
    return again(change, rows)[::-1]


def put(name, value, rows=slice(3, 5), element=7):
    batch = fresh()
    values = getattr(batch, name)
    values[(rows, element) if values.ndim == 2 else rows] = value
    return [batch]


def opposite(batch):
    batch.ra[:], batch.dec[:] = (batch.ra + 180) % 360, -batch.dec


def brighter(batch):
    batch.phot_g_mean_flux[:] *= 1.5


def unusable(batch):
    batch.phot_g_mean_flux[:] = np.nan


def no_band(batch):
    batch.coefficients[:, :55] = batch.coefficient_errors[:, :55] = np.nan


def without_band():
    batch = fresh()
    batch.coefficients[3:5, 55:] = batch.coefficient_errors[3:5, 55:] = np.nan
    return [batch]


def within_one_file():
    batch = SpectraBatch.concatenate(again(opposite))
    return [batch.take(np.random.default_rng(1).permutation(len(batch)))]


def three_times():
    """At three places, in three files, the first of them unusable."""
    pieces = [*again(opposite), fresh(slice(20, 23))]
    pieces[0].phot_g_mean_flux[20:22] = np.nan
    return pieces


KINDS = {
    "exact rows, another file": (again(), "duplicate_source_id", 3),
    "exact rows, one file": ([SpectraBatch.concatenate(again())], "duplicate_source_id", 3),
    "another flux": (again(brighter), "duplicate_source_id", 3),
    "another flux first": (first(brighter), "duplicate_source_id", 3),
    "another place": (again(opposite), "duplicate_source_id", 3),
    "another place first": (first(opposite), "duplicate_source_id", 3),
    "another place, one file": (within_one_file(), "duplicate_source_id", 3),
    "an unusable row first": (first(unusable), "no_g_flux", 3),
    "three places": (three_times(), "duplicate_source_id", 4),
    "error NaN": (put("coefficient_errors", np.nan), "", 0),
    "error 0": (put("coefficient_errors", 0), "", 0),
    "error negative": (put("coefficient_errors", -1), "", 0),
    "error infinite": (put("coefficient_errors", np.inf), "", 0),
    "coefficient NaN": (put("coefficients", np.nan), "non_finite_coefficients", 2),
    "coefficient infinite": (put("coefficients", -np.inf), "non_finite_coefficients", 2),
    "no RP": (without_band(), "missing_rp", 2),
    "no G": (put("phot_g_mean_flux", np.nan), "no_g_flux", 2),
    "G zero": (put("phot_g_mean_flux", 0), "no_g_flux", 2),
    "no position": (put("ra", np.nan), "no_position", 2),
    "position outside": (put("dec", 91), "no_position", 2),
}


def write(pieces, folder):
    folder.mkdir()
    for i, piece in enumerate(pieces):
        table = spectra_table(piece, "list")
        pq.write_table(table, folder / f"part-{i}.parquet", row_group_size=60)
    return folder


def parts_of(result):
    return [(part.key, part.n_rows, part.n_bytes, part.sha256) for part in result.manifest.parts]


def encoded(*places):
    """The report of a run that writes parts and publishes nothing, which would take longer."""
    return infer(*places, publish=False).report


@pytest.fixture(scope="module")
def net(make_model):
    return make_model([fresh()])


@pytest.mark.parametrize("kind", KINDS)
def test_parquet_gives_what_its_store_gives(kind, net, tmp_path):
    pieces, reason, n_rejected = KINDS[kind]
    folder = write(pieces, tmp_path / "in")
    store, _ = run_ingest(plan_ingest(str(folder), str(tmp_path / "store")))
    of_store = encoded(store, net, str(tmp_path / "of_store"))
    direct = encoded(str(folder), net, str(tmp_path / "direct"))
    both = Counter(store.report["n_rejected"]) + Counter(of_store.manifest.n_rejected)
    assert both[reason] == n_rejected
    assert direct.manifest.n_rejected == both
    assert direct.manifest.n_in == store.report["n_read"]
    assert parts_of(direct) == parts_of(of_store)
    found = [
        table["source_id"].to_numpy()
        for table in map(pq.read_table, sorted((tmp_path / "direct/latents").rglob("Npix=*")))
    ]
    found = np.concatenate(found)
    assert len(np.unique(found)) == len(found) == of_store.manifest.n_out


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "error" in kind or "coeff" in kind])
def test_a_network_that_sees_errors_takes_what_is_left_of_a_spectrum(kind, tmp_path):
    torch.manual_seed(0)
    network = build(Architecture(ROWS.bands, hidden=(16, 16), name="iterative")).eval()
    card, density = ModelCard(network.architecture), TrainingDensity.unknown(ROWS.bands)
    model = TrainedModel.create(network, Scaling.fit([ROWS]), density, card)
    folder = write(KINDS[kind][0], tmp_path / "in")
    store, _ = run_ingest(plan_ingest(str(folder), str(tmp_path / "store")))
    of_store = encoded(store, model, str(tmp_path / "of_store"))
    direct = encoded(str(folder), model, str(tmp_path / "direct"))
    assert parts_of(direct) == parts_of(of_store)
    assert direct.manifest.n_out == len(ROWS) == store.n_rows
    parts = sorted((tmp_path / "direct/latents").rglob("Npix=*"))
    rows = pq.read_table(parts).to_pandas().set_index("source_id")
    lost = rows.loc[ROWS.source_id[3:5]]
    assert (lost["n_coefficients"] == 109).all()
    assert (lost["flags"].to_numpy() & Flag.PARTLY_SEEN).all()
    assert np.isfinite(lost["latent_mean_0"]).all()


def test_the_first_usable_row_is_kept_wherever_it_stands(net, tmp_path):
    folder = write(first(opposite), tmp_path / "in")
    infer(str(folder), net, str(tmp_path / "catalog"), outputs=OUTPUTS[:1])
    latents = sorted((tmp_path / "catalog/latents").rglob("Npix=*"))
    rows = pq.read_table(latents).to_pandas().set_index("source_id")
    ids = ROWS.source_id[20:23]
    np.testing.assert_allclose(rows.loc[ids, "dec"], -ROWS.dec[20:23])


def test_a_source_in_two_leaves_of_hats_counts_once(net, tmp_path):
    leaves = tmp_path / "hats/dataset/Norder=0/Dir=0"
    leaves.mkdir(parents=True)
    (tmp_path / "hats/hats.properties").write_text("hats_col_ra=ra\nhats_col_dec=dec\n")
    pieces = again(opposite)
    batch = SpectraBatch.concatenate(pieces)
    plain = open_parquet(str(write(pieces, tmp_path / "plain")))
    for partition in plain.partitions:
        number = partition.pixel.number
        rows, _ = plain.read_in_order(partition)
        pq.write_table(spectra_table(rows, "list"), leaves / f"Npix={number}.parquet")
    result = infer(str(tmp_path / "hats"), net, str(tmp_path / "catalog"))
    assert result.manifest.n_in == len(batch)
    assert result.manifest.n_rejected == {"duplicate_source_id": 3}


def test_nothing_left_is_an_error_and_publishes_nothing(net, tmp_path):
    batch = fresh()
    batch.phot_g_mean_flux[:] = np.nan
    write_parquet_files(batch, str(tmp_path / "in"))
    with pytest.raises(InvalidInputError, match=r"no spectrum .* is left: 240 no_g_flux"):
        infer(str(tmp_path / "in"), net, str(tmp_path / "catalog"))
    assert not list((tmp_path / "catalog").rglob("snapshots/*"))


def test_plan_refuses_spectra_without_errors_that_need_them(net, tmp_path):
    table = spectra_table(fresh(), "list")
    lacking = table.select([n for n in table.column_names if "errors" not in n])
    pq.write_table(lacking, tmp_path / "in.parquet")
    reader = open_spectra(tmp_path / "in.parquet")
    with pytest.raises(InvalidInputError, match="no coefficient errors"):
        plan_inference(reader, net, str(tmp_path / "catalog"))
    net.save(str(tmp_path / "model"))
    refused = xpscale("plan", tmp_path / "in.parquet", tmp_path / "model", tmp_path / "catalog")
    assert refused.code == 2
    assert xpscale("ingest", tmp_path / "in.parquet", tmp_path / "store").code == 2
    assert not (tmp_path / "store").exists()


def test_the_same_file_twice(net, tmp_path):
    """Case F06: a source as often as it comes."""
    net.save(str(tmp_path / "model"))
    folder = write([fresh(), fresh()], tmp_path / "in")
    done("infer", folder, tmp_path / "model", tmp_path / "catalog", "--workers", 0)
    info = json.loads(done("catalog", "info", tmp_path / "catalog", "--json").out)
    assert info["n_rejected"] == {"duplicate_source_id": 240}
    assert done("catalog", "check", tmp_path / "catalog").code == 0


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_leaf_of_hats_is_left_out_and_named(damage, net, tmp_path):
    attributes = {"release": "synthetic", "origin": "universe"}
    store = build_store([("all", fresh())], str(tmp_path / "s"), attributes=attributes, max_rows=60)
    write_hats_spectra(store, str(tmp_path / "hats"))
    leaves = sorted((tmp_path / "hats").rglob("Npix=*.parquet"))
    pixels = [re.findall(r"(?:Norder|Npix)=(\d+)", str(each)) for each in leaves]
    listed = "\n".join(",".join(each) for each in [["Norder", "Npix"], *pixels])
    (tmp_path / "hats/partition_info.csv").write_text(listed)
    leaf = leaves[1]
    leaf.write_bytes(leaf.read_bytes()[:-100]) if damage == "cut" else leaf.unlink()
    net.save(str(tmp_path / "model"))
    told = "infer", tmp_path / "hats", tmp_path / "model", tmp_path / "catalog", "--workers", 0
    assert xpscale(*told).code == 2
    found = xpscale(*told, "--skip-damaged")
    assert found.code == 20, found.err
    assert leaf.name in found.err
    assert done("catalog", "check", tmp_path / "catalog").code == 0


def test_a_damaged_file_of_a_folder_is_left_out_and_named(net, tmp_path):
    folder = write([fresh(slice(0, 200)), fresh(slice(200, 240))], tmp_path / "in")
    (folder / "part-1.parquet").write_bytes((folder / "part-1.parquet").read_bytes()[:-100])
    net.save(str(tmp_path / "model"))
    told = folder, tmp_path / "model", tmp_path / "catalog", "--workers", 0
    for command in ("plan", "infer"):
        refused = xpscale(command, *told)
        assert (refused.code, "part-1.parquet" in refused.err) == (2, True)
    done("plan", *told, "--skip-damaged")
    for _ in range(2):
        found = xpscale("infer", *told, "--skip-damaged")
        assert found.code == 20, found.err
        assert "left out part-1.parquet: " in found.err
    info = json.loads(done("catalog", "info", tmp_path / "catalog", "--json").out)
    assert info["n_rows"] == 200
    assert [left["task"] for left in info["quarantined"]] == ["part-1.parquet"]
    assert "left out: part-1.parquet: " in done("catalog", "check", tmp_path / "catalog").out
