"""Plan and run: the same catalogue from every executor and after every interruption, rejected rows
counted, limits kept.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from copy import copy
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.commands import done
from xpscale.bands import Bands
from xpscale.catalog.commit import build_manifest
from xpscale.errors import ConflictError, InvalidInputError, PlanError
from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.inference.status import run_status
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.scaling import Scaling
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.runtime.executors.threads import ThreadsExecutor
from xpscale.runtime.ledger import Ledger
from xpscale.spectra import SpectraBatch, SpectraReader
from xpscale.storage import Storage
from xpscale.types import TaskStatus


def manifest_of(catalog):
    """The manifest of what a place holds, whoever wrote it."""
    storage = Storage(str(catalog))
    return build_manifest(storage, Ledger(storage / "_xpscale").finished().values())


def test_worker_processes_make_the_same_manifest_within_the_projected_memory(
    store, model, reference, tmp_path
):
    plan = plan_inference(store, model, str(tmp_path / "catalog"))
    with local_cluster(2) as client:
        report = run_inference(plan, executor=DaskExecutor(client))
    assert report.is_complete
    assert report.manifest.to_json() == reference.manifest.to_json()
    assert len({r.worker for r in report.reports.values()}) == 2
    assert 2e8 < report.peak_memory <= plan.projection.worker_memory
    assert report.seconds["forward_s"] > 0
    assert all(0 < r.encode_s < r.wall_s for r in report.reports.values())


def test_every_source_is_there_once_and_sorted(store, spectra, reference):
    assert reference.manifest.n_in == reference.manifest.n_out == len(spectra)
    for product in ("latents", "spectra"):
        ids = [
            pq.read_table(Path(reference.plan.catalog.url) / part.key)["source_id"].to_numpy()
            for part in reference.manifest.of(product)
        ]
        assert np.array_equal(np.sort(np.concatenate(ids)), np.sort(spectra.source_id))
    assert len(reference.plan.tasks) == len(store.partitions) == len(reference.reports) > 10


def test_a_second_run_does_nothing_and_says_so(store, model, reference):
    catalog = Path(reference.plan.catalog.url)
    before = {
        path: path.stat().st_mtime_ns
        for path in catalog.rglob("*")
        if path.is_file() and path.suffix != ".npz"
    }
    again = run_inference(plan_inference(store, model, str(catalog)))
    assert {r.status for r in again.reports.values()} == {TaskStatus.ALREADY_WRITTEN}
    assert again.n_new == 0
    assert again.manifest.to_json() == reference.manifest.to_json()
    after = {path: path.stat().st_mtime_ns for path in before}
    parts = [path for path in before if path.suffix == ".parquet" or "ledger" in str(path)]
    assert [before[path] for path in parts] == [after[path] for path in parts]


class Spoilt(SpectraReader):
    """A reader whose rows have faults that ingest would have kept out."""

    def __init__(self, store):
        self.store, self.digest = store, "spoilt"
        self.partitions = store.partitions[:3]
        self.bands, self.release = store.bands, store.release

    def read(self, partition, *, errors=True):
        rows = self.store.read(partition)
        batch = SpectraBatch(
            *(copy(getattr(rows, name)) for name in SpectraBatch.__dataclass_fields__)
        )
        if partition == self.partitions[0]:
            batch.coefficients[0, 5] = np.nan
            batch.coefficients[1, 7] = np.inf
            batch.phot_g_mean_flux[1:4] = [0, -1, np.nan]
        if partition == self.partitions[1]:
            batch.phot_g_mean_flux[:] = np.nan
        return batch


def test_rows_that_cannot_be_encoded_are_rejected_by_reason(store, model, tmp_path):
    spoilt = Spoilt(store)
    report = run_inference(plan_inference(spoilt, model, str(tmp_path / "c")))
    first, empty, good = (report.reports[partition.pixel.key] for partition in spoilt.partitions)
    assert first.n_rejected == {"non_finite_coefficients": 1, "no_g_flux": 3}
    assert (first.n_in, first.n_out) == (
        spoilt.partitions[0].n_rows,
        spoilt.partitions[0].n_rows - 4,
    )
    assert (empty.status, empty.parts, empty.n_rejected["no_g_flux"]) == (
        TaskStatus.EMPTY,
        (),
        empty.n_in,
    )
    assert good.n_rejected == {}
    manifest = report.manifest
    assert manifest.n_in == sum(p.n_rows for p in spoilt.partitions)
    assert (
        manifest.n_out == first.n_out + good.n_out == sum(p.n_rows for p in manifest.of("latents"))
    )
    assert run_status(str(tmp_path / "c")).n_rejected == dict(manifest.n_rejected)


def test_one_failed_task_does_not_stop_the_rest_and_is_done_by_the_next_run(
    store, model, reference, tmp_path
):
    class Broken(type(store)):
        def read_in_blocks(self, partition, n_rows, **kwargs):
            if partition == self.partitions[4]:
                raise InvalidInputError("bad sector")
            return super().read_in_blocks(partition, n_rows, **kwargs)

    broken = Broken(store.storage, store.attributes, store.partitions)
    report = run_inference(plan_inference(broken, model, str(tmp_path / "c")))
    assert [(r.status, r.error) for r in report.failed] == [(TaskStatus.QUARANTINED, "bad sector")]
    assert run_status(str(tmp_path / "c")).n_left == 1
    mended = run_inference(plan_inference(store, model, str(tmp_path / "c")))
    assert mended.n_new == 1
    assert mended.manifest.to_json() == reference.manifest.to_json()
    assert run_status(str(tmp_path / "c")).n_failed == 0


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again(store, model, reference, tmp_path):
    """kill -9 of the command and all its workers, at random moments of its run; then the same
    command once more.
    """
    model.save(str(tmp_path / "model"))
    where = tmp_path / "catalog"
    start = "from xpscale.cli.main import main; main()"
    arguments = ["infer", store.url, str(tmp_path / "model"), str(where), "--workers", "2"]
    command = [sys.executable, "-c", start, *arguments]
    n_parts = lambda: len(list(where.rglob("Npix=*.parquet")))  # noqa: E731
    rng, n_kills, seen = random.Random(1), 2, []
    for kill in range(n_kills):
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        goal = (kill + 1) * len(reference.manifest.parts) // (n_kills + 1) + rng.randrange(3)
        give_up = time.monotonic() + 90
        while n_parts() < goal and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen.append(n_parts())
    assert 0 < seen[0] < len(reference.manifest.parts)
    done(*arguments)
    assert manifest_of(where).to_json() == reference.manifest.to_json()
    published = list(where.glob("_xpscale/manifests/*.json"))
    assert [path.read_text() for path in published] == [reference.manifest.to_json()]
    assert "nothing to do" in done(*arguments).err


def test_other_runs_are_kept_out_with_the_differences_named(
    store, model, make_model, spectra, reference
):
    url = reference.plan.catalog.url
    other = make_model([spectra], seed=1)
    with pytest.raises(
        ConflictError, match=f"model_id: there {model.model_id}, now {other.model_id}"
    ):
        run_inference(plan_inference(store, other, url))
    with pytest.raises(ConflictError, match="input_digest: there"):
        run_inference(
            plan_inference(
                replace(store, attributes={**store.attributes, "digest": "0" * 64}), model, url
            )
        )
    with pytest.raises(ConflictError, match="outputs"):
        run_inference(plan_inference(store, model, url, outputs=["latents"]))


def test_plans_that_cannot_be_are_refused_before_anything_is_written(
    store, model, make_model, spectra, tmp_path
):
    place = str(tmp_path / "c")
    narrow = replace(
        spectra,
        coefficients=spectra.coefficients[:, :100],
        coefficient_errors=spectra.coefficient_errors[:, :100],
        bands=Bands(50, 50),
    )
    with pytest.raises(
        InvalidInputError,
        match=r"takes 50 BP \+ 50 RP coefficients of .*, the spectra have 55 BP \+ 55 RP of"
        r" synthetic",
    ):
        plan_inference(store, make_model([narrow]), place)
    unscaled = TrainedModel.create(
        model.network, Scaling.unknown(model.bands), model.density, model.card
    )
    with pytest.raises(InvalidInputError, match="no scaling"):
        plan_inference(store, unscaled, place)
    later = replace(model, card=replace(model.card, release="Gaia DR4"))
    with pytest.raises(ConflictError, match="the model is of Gaia DR4, the spectra of synthetic"):
        plan_inference(store, later, place)
    with pytest.raises(InvalidInputError, match="must hold 'latents'"):
        plan_inference(store, model, place, outputs=["reconstruction"])
    with pytest.raises(InvalidInputError, match="no output is called 'spectra'"):
        plan_inference(store, model, place, outputs=["latents", "spectra"])
    with pytest.raises(InvalidInputError, match="neither 'float32' nor a fraction"):
        plan_inference(store, model, place, precision="float16")
    plan = plan_inference(store, model, place)
    with pytest.raises(
        PlanError, match=r"3 workers need up to [\d.]+ GB of memory, and 1 GB are available"
    ):
        plan.check_memory(3, 10**9)
    plan.check_memory(3, 10**12)
    assert not Path(place).exists()


def test_a_plan_says_what_it_will_do(store, model, tmp_path):
    plan = plan_inference(store, model, str(tmp_path / "c"))
    numbers = json.loads(json.dumps(plan.to_dict(2)))
    assert (numbers["n_rows"], numbers["n_tasks"]) == (store.n_rows, len(store.partitions))
    assert sum(numbers["orders"].values()) == numbers["n_tasks"]
    assert numbers["projected_s"] <= plan.to_dict(1)["projected_s"]
    assert "2 CPU workers" in plan.describe(2)


def test_tasks_that_overlap_in_one_process_make_the_same_manifest(
    store, model, reference, tmp_path
):
    report = run_inference(
        plan_inference(store, model, str(tmp_path / "c")), executor=ThreadsExecutor(3)
    )
    assert report.manifest.to_json() == reference.manifest.to_json()
    alive = []

    def work(task):
        alive.append(+1)
        assert sum(alive) <= 2
        time.sleep(0.01)
        alive.append(-1)
        return task

    assert sorted(ThreadsExecutor(2).run(work, range(9))) == list(range(9))
    assert max(accumulate(alive)) == 2


def test_the_largest_tasks_are_done_first(store, model, tmp_path):
    class Watched(ThreadsExecutor):
        def run(self, function, tasks, tell):
            tasks = list(tasks)
            asked.extend(task.partition.n_rows for task in tasks)
            return super().run(function, tasks, tell)

    asked = []
    run_inference(plan_inference(store, model, str(tmp_path / "catalog")), executor=Watched())
    assert (
        asked
        == sorted((partition.n_rows for partition in store.partitions), reverse=True)
        != asked[::-1]
    )
