"""The plan: all of DR3 from two small objects, and memory that measured workers do not exceed."""

import http.server
import json
import threading
from dataclasses import asdict, replace

import pytest

from tests.benchmarks.scale import N_SOURCES, dr3_partitions
from xpscale.forecast.inference import GETS_PUBLISH, SECONDS_PER_MULTIPLICATION
from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.inference.task import TASKS_PER_WORKER
from xpscale.ingest.build import build_store
from xpscale.model.architectures import build
from xpscale.model.cost import multiplications
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.schema import OUTPUTS
from xpscale.storage import Storage
from xpscale.store.layout import PARTITIONS
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe


@pytest.fixture
def served(tmp_path):
    """A folder on the web, and the paths that were asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def log_request(self, *_):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_all_of_dr3_is_planned_from_two_objects(served, store, model):
    folder, url, asked = served
    partitions = dr3_partitions()
    assert sum(partition.n_rows for partition in partitions) == N_SOURCES
    rows = [{**asdict(p.pixel), "pixel": p.pixel.number, "n_rows": p.n_rows} for p in partitions]
    root = json.loads(store.storage.read("zarr.json"))
    root["attributes"]["n_rows"] = N_SOURCES
    Storage(str(folder)).replace("dr3/zarr.json", json.dumps(root).encode())
    Storage(str(folder)).replace(f"dr3/{PARTITIONS}", json.dumps(rows).encode())
    plan = plan_inference(open_store(f"{url}/dr3"), model, str(folder / "catalog"))
    numbers = plan.to_dict(64)
    assert (numbers["n_rows"], numbers["n_tasks"]) == (N_SOURCES, len(partitions))
    assert "219,197,643 sources in 2,130 tasks" in plan.describe(64)
    assert len(asked) <= 4, asked
    assert set(asked) == {"/dr3/zarr.json", f"/dr3/{PARTITIONS}"}
    assert not (folder / "catalog").exists()


def test_a_plan_knows_what_its_network_costs(store, model):
    plan = plan_inference(store, model, "nowhere")
    larger = replace(model.card.architecture, hidden=(512, 512))
    costly = replace(plan, model=replace(model, network=build(larger).eval()))
    before, after = (multiplications(each.model.network) for each in (plan, costly))
    added = after.encode + after.decode - before.encode - before.decode
    seconds = [1 / each.projection.worker_sources_per_s for each in (plan, costly)]
    assert seconds[1] - seconds[0] == pytest.approx(added * SECONDS_PER_MULTIPLICATION)
    assert costly.projection.forecast(1).work_s > plan.projection.forecast(1).work_s


@pytest.mark.parametrize("outputs", [OUTPUTS, ("latents",)])
def test_requests_are_those_that_are_made(outputs, store, model, tmp_path, monkeypatch):
    """Of an undisturbed run: what is read of the store and looked for in the ledger."""
    made = []
    for name in ("read", "read_range", "size"):
        real = getattr(Storage, name)
        counted = lambda self, key, *rest, real=real: (  # noqa: E731
            made.append((self.url, key)) or real(self, key, *rest)
        )
        monkeypatch.setattr(Storage, name, counted)
    plan = plan_inference(store, model, str(tmp_path / "catalog"), outputs=outputs)
    made.clear()
    run_inference(plan, device="cpu")
    of_tasks = [(url, key) for url, key in made if "Norder=" in f"{url}/{key}"]
    of_publishing = GETS_PUBLISH * len(plan.identity.products) * len(plan.tasks)
    assert 0.9 < len(of_tasks) / (plan.projection.n_requests["get"] - of_publishing) < 1.1


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store whose partitions are as large as a row group and more."""
    url = str(tmp_path_factory.mktemp("memory") / "store")
    pieces = [("all", Universe(160_000, seed=3).spectra())]
    return build_store(pieces, url, attributes={"origin": "universe"}, max_rows=100_000)


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [OUTPUTS, ("latents",)])
def test_workers_stay_within_a_projection_that_is_not_idle(outputs, large, model, tmp_path):
    """In workers with as many tasks at once as the plan counts on."""
    plan = plan_inference(large, model, str(tmp_path / "catalog"), outputs=outputs)
    with local_cluster(1, TASKS_PER_WORKER) as client:
        report = run_inference(plan, executor=DaskExecutor(client), device="cpu")
    assert report.is_complete
    assert report.peak_memory <= plan.projection.worker_memory < 3 * report.peak_memory
