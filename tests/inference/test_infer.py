"""The complete workflow in one call: resume, run, publish, what is left."""

from contextlib import contextmanager
from pathlib import Path

import pytest

import xpscale as xps
from xpscale.catalog.snapshots import snapshots
from xpscale.errors import (
    ConflictError,
    IncompleteError,
    InvalidInputError,
    TryAgainError,
    UnexpectedError,
)
from xpscale.runtime import attempt
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.executors.threads import ThreadsExecutor
from xpscale.types import TaskStatus


def broken(store, n, error):
    """The store with an error in place of its first n partitions."""

    class Broken(type(store)):
        def read_in_blocks(self, partition, n_rows, **kwargs):
            if partition in self.partitions[:n]:
                raise error
            return super().read_in_blocks(partition, n_rows, **kwargs)

    return Broken(store.storage, store.attributes, store.partitions)


@contextmanager
def no_executor(plan):
    raise AssertionError("workers were started and there was nothing to do")
    yield


def test_from_addresses_to_a_published_catalogue_and_again(store, model, reference, tmp_path):
    where, address = str(tmp_path / "catalog"), str(tmp_path / "model")
    model.save(address)
    started = []

    @contextmanager
    def start(plan):
        started.append(len(plan.tasks))
        yield ThreadsExecutor(2)

    result = xps.infer(store.url, address, where, executor=start, message="first")
    assert (result.snapshot.number, result.snapshot.message) == (1, "first")
    assert result.manifest.to_json() == reference.manifest.to_json()
    assert started == [len(store.partitions)]
    assert result.left_out == ()
    result.require_complete()
    assert str(result).splitlines()[-1] == (
        f"published snapshot 1: {store.n_rows:,} sources in {where}"
    )
    assert "of worker time" in str(result)

    again = xps.infer(store, model, where, executor=no_executor)
    assert (again.report, again.snapshot) == (None, result.snapshot)
    assert again.manifest.to_json() == reference.manifest.to_json()
    assert str(again).startswith("nothing to do: snapshot 1")

    with pytest.raises(ConflictError, match="outputs"):
        xps.infer(store, model, where, outputs=["latents"], executor=no_executor)


def test_a_killed_commit_is_finished(store, model, tmp_path):
    where = tmp_path / "catalog"
    xps.infer(store, model, str(where), outputs=["latents"])
    properties = [path for path in where.rglob("*.properties") if "_xpscale" not in path.parts]
    assert properties
    before = {path: path.read_bytes() for path in properties}
    for path in properties:
        path.unlink()
    xps.infer(store, model, str(where), outputs=["latents"], executor=no_executor)
    assert {path: path.read_bytes() for path in properties} == before


def test_parts_that_were_not_published_are_published_without_another_run(store, model, tmp_path):
    where = str(tmp_path / "catalog")
    result = xps.infer(store, model, where, outputs=["latents"], publish=False)
    assert result.snapshot is result.manifest is None
    assert "not published" in str(result)
    assert not snapshots(result.plan.catalog)
    result = xps.infer(store, model, where, outputs=["latents"])
    assert {r.status for r in result.report.reports.values()} == {TaskStatus.ALREADY_WRITTEN}
    assert result.snapshot.number == 1


def test_a_failed_task_stops_the_publication_or_is_left_out(store, model, tmp_path):
    where = str(tmp_path / "catalog")
    spoilt = broken(store, 1, InvalidInputError("bad sector"))
    with pytest.raises(IncompleteError, match=r"1 of \d+ tasks failed; nothing was") as raised:
        xps.infer(spoilt, model, where, outputs=["latents"])
    assert f"{store.partitions[0].pixel.key} quarantined: bad sector" in str(raised.value)
    assert "--skip-damaged" in raised.value.remedy
    assert not snapshots(xps.plan_inference(store, model, where).catalog)

    result = xps.infer(spoilt, model, where, outputs=["latents"], skip_damaged=True)
    assert [report.task for report in result.left_out] == [store.partitions[0].pixel.key]
    assert result.snapshot.number == 1
    with pytest.raises(IncompleteError, match=f"with {store.partitions[0].n_rows} sources"):
        result.require_complete()

    whole = xps.infer(store, model, where, outputs=["latents"])
    assert (whole.snapshot.number, whole.report.n_new, whole.left_out) == (2, 1, ())


@pytest.mark.parametrize(
    ("error", "raised"),
    [(TryAgainError("slow down"), TryAgainError), (ZeroDivisionError("a bug"), UnexpectedError)],
)
def test_causes_that_may_pass_are_told_from_others(
    error, raised, store, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(attempt, "RETRY_DELAYS_S", ())
    spoilt = broken(store, len(store.partitions), error)
    with pytest.raises(raised, match=r"tasks failed(?s:.)*and \d+ more") as found:
        xps.infer(spoilt, model, str(tmp_path / "catalog"), skip_damaged=True)
    assert type(found.value) is raised
    assert str(error) in str(found.value)


def test_the_default_executor_is_this_process(store, model, tmp_path, monkeypatch):
    monkeypatch.setattr(SerialExecutor, "run", lambda *_: iter(()))
    with pytest.raises(IncompleteError):
        xps.infer(store, model, str(tmp_path / "catalog"))
    assert Path(tmp_path / "catalog").exists()
