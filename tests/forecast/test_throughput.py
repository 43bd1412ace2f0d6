"""The scaling law against an exact schedule of its tasks, and the price list."""

import heapq
import math
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.forecast.prices import Cost, Prices, load_prices
from xpscale.forecast.throughput import SCHEDULING_S, Cluster, Load, forecast
from xpscale.store.partitions import adaptive_partitions
from xpscale.testing.sky_density import source_counts

PRICES = Path(__file__).resolve().parents[2] / "pipelines/settings/prices.toml"


def makespan(seconds, n_workers):
    """Wall time of tasks that are handed out, the largest first, to whoever is free."""
    free = [0.0] * n_workers
    for s in sorted(seconds, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + s)
    return max(free)


@given(st.integers(0, 2**32), st.integers(1, 64), st.integers(0, 2_000), st.floats(1e4, 1e6))
def test_the_law_is_the_schedule_to_within_a_task(seed, n_workers, n_tasks, rate):
    rows = np.random.default_rng(seed).integers(1, 262_144, n_tasks)
    load = Load(int(rows.sum()), n_tasks, int(rows.max(initial=0)), 900, 850)
    found = forecast(load, Cluster(rate, workers_per_node=n_workers, start_up_s=5, publish_s=2))
    exact = makespan(rows / rate, n_workers)
    assert found.seconds - 7 >= n_tasks * SCHEDULING_S - 1e-9
    assert (
        abs(max(exact, n_tasks * SCHEDULING_S) - (found.seconds - 7))
        <= 1.01 * load.largest / rate + 1e-9
    )


@pytest.mark.parametrize("n_workers", [2, 8, 16, 128])
def test_workers_run_out_of_the_tasks_of_dr3_together(n_workers):
    by_density = source_counts(219_197_643, 1)
    counts = np.repeat(by_density // 4, 4)
    counts[::4] += by_density % 4
    rows = np.array([partition.n_rows for partition in adaptive_partitions(counts)])
    found = forecast(
        Load(int(rows.sum()), len(rows), int(rows.max()), 0, 0),
        Cluster(1e3, workers_per_node=n_workers),
    )
    assert found.seconds <= makespan(rows / 1e3, n_workers) < 1.01 * found.seconds


@pytest.mark.parametrize(
    ("name", "limits", "rate"),
    [
        ("workers", {}, 8 * 16 * 50_000),
        ("node reads", {"node_read_bytes_per_s": 1e8}, 8 * 1e8 / 500),
        ("node writes", {"node_write_bytes_per_s": 1e8}, 8 * 1e8 / 100),
        ("storage reads", {"shared_read_bytes_per_s": 1e9}, 1e9 / 500),
        ("storage writes", {"shared_write_bytes_per_s": 1e8}, 1e8 / 100),
    ],
)
def test_what_bounds_it_is_named(name, limits, rate):
    load = Load(219_197_643, 1_872, 262_144, 500, 100)
    if name.endswith("writes"):
        limits = {**limits, "worker_sources_per_s": 1e6}
    found = forecast(
        load,
        Cluster(**{"worker_sources_per_s": 50_000, "n_nodes": 8, "workers_per_node": 16, **limits}),
    )
    assert (found.bound_by, found.sources_per_s) == (name, pytest.approx(rate))
    assert found.work_s == pytest.approx(219_197_643 / rate)


def test_the_largest_task_and_the_scheduler_can_bound_it_too():
    load = Load(10_000_000, 60, 900_000, 500, 100)
    assert forecast(load, Cluster(1e5, workers_per_node=59)).bound_by == "largest task"
    found = forecast(load, Cluster(1e5, n_nodes=64, workers_per_node=16))
    assert (found.bound_by, found.work_s) == ("largest task", pytest.approx(9))
    quick = forecast(Load(219_197_643, 2_000, 262_144, 0, 0), Cluster(1e9, n_nodes=64))
    assert (quick.bound_by, quick.work_s) == ("scheduler", 2_000 * SCHEDULING_S)
    for wrong in (
        {"worker_sources_per_s": 0},
        {"worker_sources_per_s": math.nan},
        {"worker_sources_per_s": 1, "n_nodes": 0},
    ):
        with pytest.raises(InvalidInputError, match="no cluster"):
            Cluster(**wrong)
    with pytest.raises(InvalidInputError, match="no run"):
        Load(10, 1, 11, 0, 0)


def test_prices_add_up():
    prices = Prices("EUR", 0.5, 0.09, 0.01, 0.02, 5, 0.4)
    cost = Cost.of(prices, worker_s=7_200, bytes_in=1e12, bytes_out=1e11, n_put=2_000, n_get=10_000)
    assert (cost.workers, cost.egress, cost.ingress) == (
        pytest.approx(1),
        pytest.approx(90),
        pytest.approx(1),
    )
    assert (cost.requests, cost.storage_month) == (pytest.approx(14), pytest.approx(2))
    assert cost.total == cost.to_dict()["total"] == pytest.approx(106)
    assert str(cost).startswith("106.00 EUR: workers 1.00, egress 90.00")
    assert "keeping the catalogue 2.00 a month" in str(cost)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("put_1000", "putt_1000"), "putt_1000.*Did you mean 'put_1000'"),
        (("worker_hour = 0.05", "worker_hour = -1"), "worker_hour is -1"),
        (("worker_hour = 0.05", "worker_hour = nan"), "worker_hour is nan"),
        (("worker_hour = 0.05", 'worker_hour = "x"'), "worker_hour is 'x'"),
        (("egress_gb = 0.0", "egress_gb ="), "not TOML"),
    ],
)
def test_a_price_list_that_is_not_one_is_refused(change, said, tmp_path):
    text = PRICES.read_text()
    assert change[0] in text
    (tmp_path / "prices.toml").write_text(text.replace(*change))
    with pytest.raises(InvalidInputError, match=said):
        load_prices(tmp_path / "prices.toml")


def test_the_shipped_price_list_is_whole(tmp_path):
    found = load_prices(PRICES)
    assert {field.name for field in fields(Prices)} == tomllib.loads(PRICES.read_text()).keys()
    assert found.worker_hour > 0
    with pytest.raises(NotFoundError, match="does not exist"):
        load_prices(tmp_path / "none.toml")
