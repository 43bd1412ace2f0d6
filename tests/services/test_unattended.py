"""What nobody has to watch: clusters that grow and shrink, partitions that cannot be done."""

import shutil

import pytest
from distributed import Client, LocalCluster

from tests.commands import xpscale
from tests.services.world import verdict
from xpscale.catalog.check import check
from xpscale.catalog.snapshots import current, read_manifest, snapshots
from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run
from xpscale.model.checkpoint import load_model
from xpscale.runtime.events import TaskEnded
from xpscale.runtime.executors.dask import DaskExecutor
from xpscale.storage import Storage
from xpscale.store.open import open_spectra


@pytest.mark.slow
def test_a_cluster_that_grows_and_shrinks_under_a_run(world, tmp_path):
    """From no workers to one, two, and one other: every task is done once all the same."""
    plan = plan_inference(
        open_spectra(world.store), load_model(world.model), str(tmp_path / "catalog")
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
        report = run(plan, executor=DaskExecutor(client), callbacks=[change])
    assert report.is_complete
    assert read_manifest(world.reference, current(world.reference)) == report.manifest


@pytest.fixture
def spoilt(world, tmp_path):
    """A copy of the store in which an object of one partition is cut off, and the whole object."""
    store = tmp_path / "store"
    shutil.copytree(world.store, store)
    part = next(iter(sorted(open_spectra(str(store)).partitions)))
    victim = max(
        (path for path in (store / part.key).rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    return str(store), part, victim, whole


def test_a_poisoned_partition_is_left_out_named_and_added_when_it_is_mended(
    world, spoilt, tmp_path
):
    store, part, victim, whole = spoilt
    command = ("infer", store, world.model, tmp_path / "catalog", "--workers", 0)
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
    found = verdict(world, catalog)
    assert (found.lost, found.doubled, found.problems, found.identical) == (0, 0, (), True)
