"""The run that the tests of this folder inject faults into: its inputs, the catalogue that it makes
without faults, and the comparison of another catalogue with that one.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.catalog.check import check
from xpscale.catalog.clean import clean
from xpscale.catalog.commit import commit
from xpscale.catalog.snapshots import current, snapshots
from xpscale.inference.complete import complete
from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.ingest.build import build_store
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel, load_model
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.sky import healpix_29
from xpscale.storage import Storage
from xpscale.store.open import open_spectra
from xpscale.testing.universe import Universe

N_SOURCES = 600  # on the whole sky
N_PARTITIONS = 4  # of order 0
MAX_ROWS = 100

RECORDS = ("_xpscale/runs/", "_xpscale/hats/")  # with times of each run and commit: not compared


def infer(scenario: "Scenario", url: str):
    """What ``xpscale infer --workers 0`` does."""
    plan = plan_inference(open_spectra(scenario.store), load_model(scenario.model), url)
    return commit(plan.catalog, run_inference(plan).manifest)


@dataclass(frozen=True)
class Scenario:
    """A store of a few partitions and a model, below a folder."""

    folder: str

    @property
    def store(self) -> str:
        return f"{self.folder}/store"

    @property
    def model(self) -> str:
        return f"{self.folder}/model"

    @cached_property
    def reference(self) -> Storage:
        """The catalogue of a run without faults."""
        storage = Storage(f"{self.folder}/catalog")
        if not snapshots(storage):
            infer(self, storage.url)
            complete(storage)
        return storage

    @cached_property
    def published(self) -> Storage:
        """The same before statistics, margin and index are made."""
        storage = Storage(f"{self.folder}/published")
        if not snapshots(storage):
            infer(self, storage.url)
        return storage

    @cached_property
    def ids(self) -> Counter:
        """The sources that each product must hold exactly once."""
        return rows(self.reference, "latents")

    @staticmethod
    def make(folder: str | os.PathLike, n_partitions: int = N_PARTITIONS) -> "Scenario":
        scenario = Scenario(os.fspath(folder))
        if not Path(scenario.model).exists():
            spectra = Universe(N_SOURCES, seed=6).spectra()
            spectra = spectra.take(healpix_29(spectra.ra, spectra.dec) >> 58 < n_partitions)
            build_store(
                [("all", spectra)],
                scenario.store,
                attributes={"release": "synthetic"},
                max_rows=MAX_ROWS,
            )
            network, scaling = (
                ScatterVAE(Architecture(spectra.bands)).eval(),
                Scaling.fit([spectra]),
            )
            density = TrainingDensity.fit([scaling.standardize(spectra)[0]], spectra.bands)
            TrainedModel.create(network, scaling, density, ModelCard(network.architecture)).save(
                scenario.model
            )
        return scenario


def rows(storage: Storage, product: str) -> Counter:
    """How often each source is in the objects of a product's folder, in a manifest or not."""
    found: Counter = Counter()
    for key in storage.list(f"{product}/dataset"):
        if key.endswith(".parquet"):
            table = pq.read_table(pa.BufferReader(storage.read(key)), columns=["source_id"])
            found.update(table["source_id"].to_pylist())
    return found


def objects(storage: Storage) -> set[str]:
    """All keys, with temporary files, without the records of runs."""
    return {key for key in storage.objects() if not key.startswith(RECORDS)}


@dataclass(frozen=True)
class Verdict:
    """How the catalogue of a run with faults differs from that of a run without."""

    rows_in: int = 0
    rows_out: int = 0
    lost: int = 0
    doubled: int = 0
    strays: tuple[str, ...] = ()
    unreported: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    identical: bool = False
    n_snapshots: int = 0

    @property
    def is_good(self) -> bool:
        """Nothing lost, doubled, different, or unaccounted for."""
        wrong = (self.lost, self.doubled, self.unreported, self.left, self.problems)
        return not any(wrong) and self.identical and self.n_snapshots == 1


def verdict(scenario: Scenario, catalog: Storage, *, completed: bool = True) -> Verdict:
    """Compare a catalogue with the reference; its strays are removed on the way."""
    reference = scenario.reference if completed else scenario.published
    expected = scenario.ids
    if completed:
        complete(catalog)  # as `xpscale infer` has done, if it came so far
    manifest_key = current(reference).manifest_key
    found = {product: rows(catalog, product) for product in ("latents", "spectra")}
    extra = sorted(objects(catalog) - objects(reference))
    report = check(catalog)
    named = [line for line in (*report.strays, *report.problems) if line.split(": ")[0] in extra]
    clean(catalog, older_than_s=0, dry_run=False)
    return Verdict(
        rows_in=json.loads(catalog.read(current(catalog).manifest_key))["n_in"],
        rows_out=sum(found["latents"].values()),
        lost=sum((expected - ids).total() for ids in found.values()),
        doubled=sum((ids - expected).total() for ids in found.values()),
        strays=tuple(extra),
        unreported=tuple(
            key for key in extra if not any(line.startswith(f"{key}: ") for line in named)
        ),
        left=tuple(sorted(objects(catalog) ^ objects(reference))),
        problems=tuple(problem for problem in report.problems if problem not in named),
        identical=catalog.exists(manifest_key) and current(catalog).manifest_key == manifest_key,
        n_snapshots=len(snapshots(catalog)),
    )
