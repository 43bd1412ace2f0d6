"""The whole flow by its commands on spectra with other bands than those of Gaia DR3, from tables as
people have them; and two releases do not mix.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

from tests.commands import done, xpscale
from tests.support.parquet_files import spectra_table, write_parquet_files
from xpscale.bands import Bands
from xpscale.storage import Storage
from xpscale.testing.universe import Universe

N_SOURCES = 800
SHAPES = ("list", "joined", "scalars", "csv")


@dataclass(frozen=True)
class Flow:
    """What the commands made."""

    bands: Bands
    place: Path
    universe: Universe

    def path(self, name: str) -> str:
        return str(self.place / name)

    @property
    def options(self) -> tuple[str, ...]:
        """A table of both bands in one array cannot say where RP begins."""
        return ("--release", "dr4", "--bands", f"{self.bands.n_bp},{self.bands.n_rp}")


def ingested(flow: Flow, shape: str) -> str:
    """A store made from a folder of one shape of columns."""
    folder, store = flow.path(f"tables_{shape}"), flow.path(f"store_{shape}")
    batch = flow.universe.spectra()
    if shape == "csv":
        Path(folder).mkdir()
        pyarrow.csv.write_csv(spectra_table(batch, "scalars"), f"{folder}/spectra.csv")
    else:
        write_parquet_files(batch, folder, shape, n_files=2)
    done("ingest", folder, store, *flow.options, "--max-rows", 200, "--workers", 0)
    return store


@pytest.fixture(scope="module", params=[Bands(51, 55), Bands(48, 44)], ids=["51+55", "48+44"])
def flow(request, tmp_path_factory) -> Flow:
    """A store, a sample, a model and a catalogue."""
    place = tmp_path_factory.mktemp("flow")
    made = Flow(request.param, place, Universe(N_SOURCES, seed=4, bands=request.param))
    store, sample, model = ingested(made, "list"), made.path("sample.parquet"), made.path("model")
    done("sample", store, "-n", 400, "-o", sample)
    done("train", store, model, "--sample", sample, "--epochs", 2, "--device", "cpu")
    done("infer", store, model, made.path("catalog"), "--workers", 0)
    return made


def objects(store: str) -> dict[str, bytes]:
    """Every object of a store's partitions."""
    return {key: Storage(store).read(key) for key in Storage(store).list("") if "Npix=" in key}


def test_every_shape_of_columns_gives_the_same_store(flow):
    expected = objects(flow.path("store_list"))
    assert len(expected) > 10
    for shape in SHAPES[1:]:
        assert objects(ingested(flow, shape)) == expected, shape


def test_everything_says_its_bands_and_its_release(flow):
    bands = flow.bands
    store = json.loads(done("store", "info", flow.path("store_list"), "--json").out)
    model = json.loads(done("model", "info", flow.path("model"), "--json").out)
    catalog = json.loads(done("catalog", "info", flow.path("catalog"), "--json").out)
    for said in (store, catalog):
        assert (said["n_bp"], said["n_rp"], said["release"]) == (
            *bands.to_dict().values(),
            "Gaia DR4",
        )
    assert model["release"] == "Gaia DR4"
    assert Bands.from_dict(model["architecture"]["bands"]) == bands
    for command in (("store", "info"), ("model", "info"), ("catalog", "info")):
        what = command[0].replace("store", "store_list")
        text = done(*command, flow.path(what)).out
        assert "Gaia DR4" in text
        assert str(bands) in text
    assert json.loads(done("catalog", "check", flow.path("catalog"), "--json").out)["ok"]
    properties = Path(flow.path("catalog"), "latents/hats.properties").read_text().splitlines()
    assert "xpscale_release=Gaia DR4" in properties
    assert f"xpscale_n_bp={bands.n_bp}" in properties
    assert f"xpscale_n_rp={bands.n_rp}" in properties


def test_queries_and_spectra(flow, tmp_path):
    catalog, truth = flow.path("catalog"), flow.universe.spectra()
    source_id = int(truth.source_id[7])
    answer = done("query", catalog, "--ids", f"Gaia DR4 {source_id}", "--columns", "source_id").out
    assert answer.split() == ['"source_id"', str(source_id)]
    refused = xpscale("query", catalog, "--ids", f"Gaia DR3 {source_id}")
    assert (refused.code, refused.out) == (2, "")
    assert "Gaia DR3" in refused.err
    assert "Gaia DR4" in refused.err
    done("query", catalog, "--where", "flags = 0", "-o", tmp_path / "rows.csv")
    note = json.loads((tmp_path / "rows.csv.provenance.json").read_text())
    assert (note["release"], Bands.from_dict(note)) == ("Gaia DR4", flow.bands)
    rows = list(csv.DictReader(io.StringIO(done("spectrum", catalog, source_id).out)))
    assert len(rows) == flow.bands.n_coefficients
    decoded = np.array([float(row["reconstruction"]) for row in rows])
    for band in (flow.bands.bp, flow.bands.rp):  # two epochs of training find the stars' colours
        assert np.corrcoef(decoded[band], truth.coefficients[7, band])[0, 1] > 0.9


def test_plots(flow, tmp_path):
    catalog, source_id = flow.path("catalog"), int(flow.universe.spectra().source_id[3])
    drawn = done(
        "spectrum", catalog, source_id, "--store", flow.path("store_list"),
        "--plot", tmp_path / "star.png",
    )  # fmt: skip
    assert "drawn as coefficients: GaiaXPy" in drawn.err
    assert f"none of {flow.bands} of Gaia DR4" in drawn.err
    done("plot", "latents", catalog, "-o", tmp_path / "latents.png")
    done("plot", "sample", flow.path("sample.parquet"), "-o", tmp_path / "sample.png")
    assert all(path.stat().st_size > 5_000 for path in tmp_path.glob("*.png"))


def test_export(flow, tmp_path):
    done("model", "export", flow.path("model"), "-o", tmp_path / "model.pt2")
    import torch

    program = torch.export.load(tmp_path / "model.pt2")
    first = next(iter(program.example_inputs[0]))
    assert first.shape[-1] == flow.bands.n_coefficients


@pytest.fixture(scope="module")
def dr3_model(tmp_path_factory) -> str:
    """A model that says it was trained on DR3."""
    made = Flow(Bands(55, 55), tmp_path_factory.mktemp("dr3"), Universe(300, seed=5))
    write_parquet_files(made.universe.spectra(), made.path("tables"))
    done("ingest", made.path("tables"), made.path("store"), "--release", "dr3", "--workers", 0)
    done("train", made.path("store"), made.path("model"), "--epochs", 1, "--device", "cpu")
    return made.path("model")


@pytest.mark.parametrize(("bands", "code"), [(Bands(55, 55), 5), (Bands(51, 55), 2)], ids=str)
def test_a_model_of_dr3_is_refused_on_a_store_of_dr4(dr3_model, tmp_path, bands, code):
    dr4 = Flow(bands, tmp_path, Universe(300, seed=5, bands=bands))
    store = ingested(dr4, "list")
    for command in (
        ("plan", store, dr3_model, dr4.path("catalog")),
        ("infer", store, dr3_model, dr4.path("catalog"), "--workers", 0),
    ):
        refused = xpscale(*command)
        assert (refused.code, refused.out) == (code, "")
        message, remedy = refused.err.strip().splitlines()[-2:]
        assert message.startswith("xpscale: the model")
        assert "Gaia DR3" in message
        assert "Gaia DR4" in message
        assert remedy.startswith("  Use ")
    assert not Path(dr4.path("catalog")).exists()
