"""`xpscale status` from elsewhere: another process that knows the catalogue's URL and nothing
else.
"""

import json

import pytest

from tests.commands import done
from tests.support.services import seaweedfs
from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.inference.status import run_status
from xpscale.runtime.events import RunStarted, TaskEnded
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.runtime.split import STAGES


class Onlooker:
    """Asks for the status when the run starts, and when some of its tasks have ended."""

    def __init__(self, url, at):
        self.url, self.at, self.n, self.seen = url, at, 0, []

    def __call__(self, event):
        self.n += isinstance(event, TaskEnded)
        if isinstance(event, RunStarted) or self.n == self.at:
            self.seen.append(json.loads(done("status", self.url, "--json").out))


@pytest.mark.s3
def test_a_run_on_s3_is_seen_from_its_url_alone(store, model, tmp_path):
    with seaweedfs(tmp_path, buckets=("derived",)) as service, service.apply():
        url = "s3://derived/dr3/catalog"
        plan = plan_inference(store, model, url)
        onlooker = Onlooker(url, at=2)  # workers go on while it looks
        with local_cluster(2) as client:
            report = run_inference(
                plan, executor=DaskExecutor(client), callbacks=[onlooker], device="cpu"
            )
        after = json.loads(done("status", url, "--json").out)
        text = done("status", url).out
    start, middle = onlooker.seen
    assert (start["n_done"], start["is_over"], start["n_workers"], start["split"]["workers"]) == (
        0,
        False,
        2,
        [],
    )
    assert onlooker.at <= middle["n_done"] < len(plan.tasks)
    assert (middle["is_over"], middle["run"], middle["n_tasks"]) == (
        False,
        start["run"],
        len(plan.tasks),
    )
    assert (after["is_over"], after["n_left"], after["n_in"]) == (True, 0, plan.n_rows)
    assert after["news_s"] < 60
    assert after["sources_per_s"] > 0
    workers = after["split"]["workers"]
    assert {worker["worker"] for worker in workers} == {r.worker for r in report.reports.values()}
    written = sum(part.n_bytes for each in report.reports.values() for part in each.parts)
    assert sum(worker["bytes_out"] for worker in workers) == written > 1e6
    for worker in workers:
        assert set(worker["shares"]) == {*STAGES, "start_up", "other", "idle"}
        assert min(worker["shares"][stage] for stage in ("read", "forward", "encode", "write")) > 0
        assert worker["peak_memory"] > 1e8
        assert worker["worker"] in text
    assert f"bound by {after['split']['bound_by'].replace('_', ' ')}" in text


def test_before_the_first_task_has_ended_status_says_so(store, model, tmp_path):
    texts = []

    def look(event):
        if isinstance(event, RunStarted):
            texts.append(str(run_status(str(tmp_path / "c"))))

    run_inference(plan_inference(store, model, str(tmp_path / "c")), callbacks=[look], device="cpu")
    assert "0 of " in texts[0]
    assert "no task has ended yet on 1 worker" in texts[0]
