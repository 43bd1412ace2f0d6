"""The figure of a run: areas and numbers are those of its record."""

from dataclasses import replace

import numpy as np
import pytest

from xpscale.errors import InvalidInputError
from xpscale.plots.run import COLOURS, GAP, _lanes, run_times
from xpscale.runtime.events import RunEnded, RunStarted, TaskEnded
from xpscale.runtime.history import History
from xpscale.types import TaskReport, TaskStatus


def record(n_tasks, n_workers, overlap=1.0):
    history = History()
    history(RunStarted("infer", n_tasks, 1_000 * n_tasks, 0, 0, n_workers))
    for i in range(n_tasks):
        seconds = {"read_s": 0.5 * overlap, "forward_s": 1.0 * overlap, "write_s": 0.4 * overlap}
        times = {
            "started": 1e9 + 2.5 * (i // n_workers),
            "wall_s": 2.0,
            "worker": f"w{i % n_workers}",
        }
        history(TaskEnded(TaskReport(f"t{i}", TaskStatus.WRITTEN, n_in=1_000, **times, **seconds)))
    history(RunEnded("infer", 0, 0, 1.0))
    return history.record


def area(vertices):
    (x0, y0), (x1, _), (_, y1) = vertices[0], vertices[1], vertices[2]
    return (x1 - x0) * (y1 - y0)


def test_areas_are_times_and_the_rate_adds_up_to_the_sources():
    found = record(12, 2)
    _, (rate, line, columns) = run_times(found)
    values, edges, _ = rate.patches[0].get_data()
    assert np.sum(values * np.diff(edges)) == pytest.approx(12_000)
    areas = {}
    for collection in line.collections:
        colour = (
            tuple(np.round(collection.get_facecolor()[0], 3))
            if len(collection.get_facecolor())
            else None
        )
        areas[colour] = sum(area(path.vertices) for path in collection.get_paths())
    by_stage = {
        name: areas.get(tuple(np.round(_rgba(colour), 3)), 0) for name, colour in COLOURS.items()
    }
    total = {
        name: by_stage[name] / 0.8 for name in ("read", "forward", "write", "start_up", "other")
    }
    assert total == pytest.approx(
        {"read": 6.0, "forward": 12.0, "write": 4.8, "start_up": 0.2, "other": 1.0}
    )
    assert [label.get_text() for label in columns.get_yticklabels()] == ["w0", "w1"]
    names = [label.get_text().partition("\n")[0] for label in columns.get_xticklabels()]
    assert names == ["read", "forward", "write", "start up", "other", "idle"]
    shares = [
        columns.containers[2 * i + 1].patches[0].get_width() / (1 - GAP) for i in range(len(names))
    ]
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx(
        [found.split.workers[0].shares[name.replace(" ", "_")] for name in names]
    )
    assert "bound by forward" in rate.get_title(loc="left")


def _rgba(colour):
    from matplotlib.colors import to_rgba

    return to_rgba(colour)


def test_many_workers_and_stages_side_by_side():
    found = record(400, 64, overlap=1.9)
    figure, (rate, line, columns) = run_times(found)
    assert len(line.get_yticks()) <= 24
    assert "bound by forward" in rate.get_title(loc="left")
    bars = [bar for container in columns.containers[1::2] for bar in container.patches]
    assert len(bars) == 64 * len(columns.get_xticks())
    assert max(bar.get_width() for bar in bars) == pytest.approx(
        0.76 * (1 - GAP), abs=0.02
    )  # 1.9 s of every 2.5
    assert figure.get_size_inches()[1] < 15


def test_tasks_that_a_worker_has_at_once_lie_below_each_other():
    tasks = record(6, 1).tasks
    together = [replace(task, started=1e9 + 1.5 * i) for i, task in enumerate(tasks)]
    assert _lanes(list(tasks)) == ([0] * 6, 1)
    assert _lanes(together) == ([0, 1, 0, 1, 0, 1], 2)


def test_a_run_without_tasks_is_refused():
    with pytest.raises(InvalidInputError, match="no task"):
        run_times(record(0, 1))
