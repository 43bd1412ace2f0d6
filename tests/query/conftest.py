"""A derived catalogue of 6,000 made-up sources with every awkward place on the sky, written by the
real parts.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest

from xpscale.bands import Bands
from xpscale.catalog.commit import commit
from xpscale.catalog.identity import claim
from xpscale.catalog.layout import MODEL
from xpscale.catalog.manifest import Manifest, RunIdentity
from xpscale.catalog.sink import ParquetSink
from xpscale.query.catalog import open_catalog
from xpscale.release import DR3
from xpscale.schema import OUTPUTS, SCHEMA_VERSION, TableLayout, correlation_columns
from xpscale.sky import Pixel, healpix_29
from xpscale.storage import Storage

N_LATENTS, N_COEFFICIENTS = 6, 110
N_MOVERS = 20


@dataclass(frozen=True, repr=False)
class Example:
    url: str
    rows: pa.Table  # what the catalogue holds, sorted by _healpix_29
    movers: np.ndarray  # source_ids that do not lie in the part their number says


def positions(rng):
    """The whole sky, and crowds at both poles, at the seam ra = 0, and on a corner of HEALPix base
    pixels.
    """
    ra, dec = rng.uniform(0, 360, 4800), np.degrees(np.arcsin(rng.uniform(-1, 1, 4800)))
    for ra0, dec0 in ((0, 90), (0, -90), (0, 0), (45, 41.8103149)):
        ra = np.append(ra, (ra0 + rng.normal(0, 120 if abs(dec0) == 90 else 2, 300)) % 360)
        dec = np.append(
            dec,
            dec0 - np.sign(dec0) * abs(rng.normal(0, 2, 300)) if dec0 else rng.normal(0, 2, 300),
        )
    return ra, dec


ORDER = {4: 1, 8: 2}
"""Of the partitions in a HEALPix base pixel: 1 around the seam, 2 in a quarter of the south."""


def pixel_of(index):
    """The partition of a row, of mixed orders and few, for each costs every test its time."""
    order = ORDER.get(index >> 58, 0)
    return Pixel(order, int(index >> (58 - 2 * order)))


def make_rows(model, rng):
    ra, dec = positions(rng)
    index = healpix_29(ra, dec)
    source_id = (index >> 34 << 35) + np.arange(1, len(ra) + 1) * 128
    movers = rng.choice(len(ra), N_MOVERS, replace=False)
    source_id[movers] = (np.roll(index[movers], 1) >> 34 << 35) + 7 + movers * 128
    flux = 10 ** rng.uniform(3, 6, len(ra))
    z = rng.normal(size=(len(ra), N_LATENTS)).astype(np.float32)
    import torch

    decoded = model.decode(torch.from_numpy(z), flux)
    values = {
        "_healpix_29": index,
        "source_id": source_id,
        "ra": ra,
        "dec": dec,
        "phot_g_mean_flux": flux,
    }
    values |= {f"latent_mean_{i}": z[:, i] for i in range(N_LATENTS)}
    values |= {f"latent_log_var_{i}": np.full(len(ra), -2.0 - i) for i in range(N_LATENTS)}
    values |= dict.fromkeys(correlation_columns(N_LATENTS), np.full(len(ra), 0.25))
    values |= {
        "reduced_chi2": rng.chisquare(20, len(ra)) / 20,
        "flags": rng.integers(0, 3, len(ra)),
    }
    values |= {f"synthetic_{band}_mag": rng.normal(15, 1, len(ra)) for band in ("bp", "rp")}
    values["phot_g_mean_mag"] = 25.6873668671 - 2.5 * np.log10(flux)
    values["reduced_chi2"][:10] = np.nan
    values |= {
        "reconstruction": list(decoded.mean.numpy()),
        "scatter": list(decoded.scatter.numpy()),
    }
    arrays = []
    for column in known():
        value = values.get(column.name, np.full(len(ra), 1))
        arrays.append(
            pa.array(value, pa.list_(pa.float32()) if isinstance(value, list) else None).cast(
                column.type
            )
        )
    rows = pa.Table.from_arrays(arrays, schema=pa.schema([c.field for c in known()]))
    return rows.take(np.argsort(index, kind="stable")), source_id[movers]


def known():
    layout = TableLayout(N_LATENTS, N_COEFFICIENTS, DR3)
    return (*layout.columns("latents"), *layout.columns("spectra")[-2:])


@pytest.fixture(scope="session")
def model():
    import torch

    from xpscale.model.card import Architecture, ModelCard
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.model.density import TrainingDensity
    from xpscale.model.scaling import Scaling
    from xpscale.model.scatter_vae import ScatterVAE
    from xpscale.release import DR3

    torch.manual_seed(1)
    network = ScatterVAE(Architecture(DR3.known_bands))
    scale = np.geomspace(0.05, 1e-5, 55)
    scaling = Scaling(np.tile(scale, 2), np.tile(scale, 2) / 3, DR3.known_bands)
    return TrainedModel.create(
        network, scaling, TrainingDensity.unknown(scaling.bands), ModelCard(network.architecture)
    )


def publish(url, model, rows, outputs=OUTPUTS, bands=DR3.bands, release="Gaia DR3", companions=()):
    storage = Storage(url)
    identity = RunIdentity(
        "input",
        model.model_id,
        N_LATENTS,
        bands.n_bp,
        bands.n_rp,
        release,
        84,
        outputs,
        SCHEMA_VERSION,
        "xpscale test",
        companions=companions,
    )
    claim(storage, identity)
    sink = ParquetSink(storage, identity.layout)
    pixels = np.array([pixel_of(index) for index in rows["_healpix_29"].to_pylist()], object)
    parts = []
    for pixel in sorted(set(pixels)):
        parts += sink.put(pixel, rows.filter(pa.array(pixels == pixel)))
    model.save(storage / MODEL)
    commit(storage, Manifest(identity, tuple(parts), rows.num_rows), "made up")


@pytest.fixture(scope="session")
def example(tmp_path_factory, model):
    rows, movers = make_rows(model, np.random.default_rng(5))
    url = str(tmp_path_factory.mktemp("catalogue") / "cat")
    publish(url, model, rows)
    return Example(url, rows, movers)


@pytest.fixture(scope="session")
def label_models(example):
    """Two models of labels, from few stars: they need not be good."""
    from xpscale.labels.workflow import fit_labels

    rows = example.rows.take(np.random.default_rng(1).permutation(len(example.rows))[:60])
    teff = 6000 + 800 * np.tanh(rows["latent_mean_0"].to_numpy())
    known = pa.table({"source_id": rows["source_id"], "teff": teff})
    model = fit_labels(open_catalog(example.url), known, ["teff"])
    return model, replace(model, center=model.center + 0.1)


@pytest.fixture(scope="session")
def labelled(example, label_models, tmp_path_factory):
    """A copy of the example with labels; do not change it."""
    from xpscale.labels.extension import publish_labels

    place = tmp_path_factory.mktemp("labelled") / "cat"
    shutil.copytree(example.url, place)
    publish_labels(str(place), label_models[0])
    return str(place)


@pytest.fixture(scope="session")
def cat(example):
    return open_catalog(example.url)


@pytest.fixture(scope="session")
def latents_only(tmp_path_factory, example, model):
    url = str(tmp_path_factory.mktemp("catalogue") / "latents")
    publish(url, model, example.rows, ("latents",))
    return url


@pytest.fixture(scope="session")
def scatter_only(tmp_path_factory, example, model):
    url = str(tmp_path_factory.mktemp("catalogue") / "scatter")
    publish(url, model, example.rows, ("latents", "scatter"))
    return url


@pytest.fixture(scope="session")
def wide(tmp_path_factory, example, model):
    """A catalogue that says it has other bands, and another release, of as many coefficients."""
    url = str(tmp_path_factory.mktemp("catalogue") / "wide")
    publish(url, model, example.rows, OUTPUTS, Bands(51, 59), "Gaia DR4")
    return url
