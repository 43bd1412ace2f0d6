"""Runs that need nobody to watch them: clusters that change in size, damaged partitions."""

import shutil

import pytest
from distributed import Client, LocalCluster

from tests.commands import xpscale
from tests.services.scenario import verdict
from xpscale.catalog.check import check
from xpscale.catalog.snapshots import current, read_manifest, snapshots
from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.model.checkpoint import load_model
from xpscale.runtime.events import TaskEnded
from xpscale.runtime.executors.dask import DaskExecutor
from xpscale.storage import Storage
from xpscale.store.open import open_spectra


@pytest.mark.slow
def test_a_cluster_that_grows_and_shrinks_during_a_run(scenario, tmp_path):
    """From no worker to one, two, and another one: every task is still done once."""
    plan = plan_inference(
        open_spectra(scenario.store), load_model(scenario.model), str(tmp_path / "catalog")
    )
    sizes = iter([2, 1, 0, 1])
    with (
        LocalCluster(
            n_workers=0, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def change(event):
            if isinstance(event, TaskEnded) and (size := next(sizes, None)) is not None:
                cluster.scale(max(size, 1))

        cluster.adapt(minimum=0, maximum=1, interval="200ms", wait_count=1)
        report = run_inference(plan, executor=DaskExecutor(client), callbacks=[change])
    assert report.is_complete
    assert read_manifest(scenario.reference, current(scenario.reference)) == report.manifest


@pytest.fixture
def damaged(scenario, tmp_path):
    """A copy of the store with one truncated object in one partition, and the whole object."""
    store = tmp_path / "store"
    shutil.copytree(scenario.store, store)
    part = next(iter(sorted(open_spectra(str(store)).partitions)))
    victim = max(
        (path for path in (store / part.key).rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    return str(store), part, victim, whole


def test_a_damaged_partition_is_left_out_reported_and_added_when_it_is_repaired(
    scenario, damaged, tmp_path
):
    store, part, victim, whole = damaged
    command = ("infer", store, scenario.model, tmp_path / "catalog", "--workers", 0)
    catalog = Storage(str(tmp_path / "catalog"))
    refused = xpscale(*command)
    assert (refused.code, snapshots(catalog)) == (20, ())
    assert f"{part.pixel.key} quarantined" in refused.err
    assert "--skip-damaged" in refused.err
    published = xpscale(*command, "--skip-damaged")
    assert published.code == 20
    assert f"1 of 4 tasks with {part.n_rows} sources were left out" in published.err
    (left_out,) = read_manifest(catalog, current(catalog)).quarantined
    assert (left_out.task, left_out.n_rows, bool(left_out.reason)) == (
        part.pixel.key,
        part.n_rows,
        True,
    )
    assert check(catalog).ok
    assert xpscale(*command, "--skip-damaged").code == 20
    assert len(snapshots(catalog)) == 1  # the same is not published again
    victim.write_bytes(whole)
    assert xpscale(*command).code == 0
    assert [snapshot.number for snapshot in snapshots(catalog)] == [1, 2]
    found = verdict(scenario, catalog)
    assert (found.lost, found.doubled, found.problems, found.identical) == (0, 0, (), True)
