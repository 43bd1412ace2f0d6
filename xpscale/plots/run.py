"""Where the time of a run went: the rate, a time line of every worker, and the share of its time in
which each stage was busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.formatting import format_duration
from xpscale.plots.style import (
    BLACK,
    BLUE,
    DARK_GREY,
    GREEN,
    GREY,
    LIGHT_BLUE,
    ORANGE,
    VERMILION,
    YELLOW,
    headline,
    style,
)
from xpscale.runtime.split_text import SHOWN, describe_bound, stage_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from xpscale.runtime.history import RunRecord
    from xpscale.runtime.split import TaskTime, TimeSplit

__all__ = ["run_times"]

PALE_GREY, PALE = "#C9C9C9", "#F0F0F0"

COLOURS = {
    "read": BLUE,
    "decode": LIGHT_BLUE,
    "to_device": YELLOW,
    "forward": VERMILION,
    "encode": ORANGE,
    "write": GREEN,
    "start_up": DARK_GREY,
    "other": GREY,
    "idle": PALE_GREY,
}

DARK = ("read", "forward", "write", "start_up")

MAX_NAMES = 24  # most workers whose names are written; more would overlap
MAX_NUMBERS = 16  # most workers whose shares are written
N_BINS = 400
OVERLAP_S = 1e-3  # tasks that overlap by less, the rounding of clocks, share a lane
BAND = 0.8  # share of a worker's line that is drawn on
GAP = 0.12  # between the columns of the third panel, in units of a column


def run_times(record: RunRecord) -> tuple[Figure, tuple[Axes, Axes, Axes]]:
    """Sources per second against time; a time line of each worker; the share of its time in which
    each stage was busy.

    In the time line a task is a box, cut across in proportion to the busy seconds of its stages;
    tasks that a worker has at the same time lie one below the other.  In the third panel every
    stage has a column as wide as the worker's time: the stage whose column is full limits the rate,
    also where other stages run at the same time.

    Parameters
    ----------
    record
        One of `xpscale.runtime.history.read_records`.

    Raises
    ------
    InvalidInputError
        No task of the run has ended.
    """
    import matplotlib.pyplot as plt

    if not record.tasks:
        raise InvalidInputError(f"no task of run {record.name} has ended", "Draw it when some have")
    split = record.split
    names = [worker.worker for worker in split.workers]
    height = min(max(0.28 * len(names), 0.9), 4.5)
    with style():
        figure, axes = plt.subplots(
            3,
            1,
            figsize=(9, 3.0 + 2 * height),
            layout="constrained",
            height_ratios=[1.6, height, height],
        )
        rate, line, columns = axes
        mean = _draw_rate(rate, record)
        _draw_time_line(line, record.tasks, names)
        line.sharex(rate)
        _draw_busy(columns, split)
        for ax in (line, columns):
            _name_workers(ax, names)
        workers = f"{len(names)} worker{'s' * (len(names) > 1)}"
        title = headline(
            f"{record.stage}: {format_duration(record.wall_s)} on {workers}", split.total.n_in
        )
        rate.set_title(f"{title}, {mean:,.0f} a second · {describe_bound(split)}")
    return figure, (rate, line, columns)


def _draw_rate(ax: Axes, record: RunRecord) -> float:
    """Draw the rate and its mean (dashed), which is returned."""
    edges, rates = _rates(record.tasks)
    ax.stairs(rates, edges, color=BLACK, lw=1.0)
    mean = float(record.split.total.n_in / edges[-1])
    ax.axhline(mean, color=GREY, lw=0.8, ls="--")
    ax.set(ylabel="sources / s", ylim=(0, None), xlim=(0, edges[-1]))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return mean


def _rates(tasks: tuple[TaskTime, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges of equal steps of time in seconds, with shape (B + 1,), and sources per second in each,
    with shape (B,).

    A task's sources are spread evenly over its time.
    """
    started = np.array([task.started for task in tasks])
    ended = np.array([task.ended for task in tasks])
    zero = started.min()
    edges = np.linspace(0, max(ended.max() - zero, 1e-3), min(N_BINS, 4 * len(tasks)) + 1)
    done = np.zeros(len(edges))
    for task, begin, end in zip(tasks, started - zero, ended - zero, strict=True):
        done += task.n_in * np.clip((edges - begin) / max(end - begin, 1e-9), 0, 1)
    return edges, np.diff(done) / np.diff(edges)


def _draw_time_line(ax: Axes, tasks: tuple[TaskTime, ...], names: list[str]) -> None:
    zero = min(task.started for task in tasks)
    boxes: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in COLOURS}
    frames = []
    for i, name in enumerate(names):
        own = sorted((task for task in tasks if task.worker == name), key=lambda task: task.started)
        lanes, n_lanes = _lanes(own)
        begun = min(task.ended for task in own)
        height = BAND / n_lanes
        for task, lane in zip(own, lanes, strict=True):
            spent = {**task.seconds, "start_up" if task.started < begun else "other": task.other_s}
            bottom, total = i - BAND / 2 + lane * height, max(sum(spent.values()), 1e-9)
            frames.append((task.started - zero, bottom, task.wall_s, height))
            for stage, seconds in spent.items():
                boxes[stage].append(
                    (task.started - zero, bottom, task.wall_s, height * seconds / total)
                )
                bottom += height * seconds / total
        ax.axhspan(i - BAND / 2, i + BAND / 2, color=PALE, lw=0, zorder=0)
    for stage, found in boxes.items():
        _fill(ax, found, COLOURS[stage])
    _fill(
        ax,
        frames,
        "none",
        edgecolors="white",
        linewidths=0.5 if len(tasks) / len(names) < 150 else 0.0,
    )
    ax.set(xlabel="seconds since the first task began", ylim=(len(names) - 0.5, -0.5))


def _lanes(tasks: list[TaskTime]) -> tuple[list[int], int]:
    """A lane for each task of one worker, sorted by start, so that tasks of a lane do not overlap;
    and the number of lanes.
    """
    until: list[float] = []
    lanes = []
    for task in tasks:
        lane = next(
            (i for i, end in enumerate(until) if end <= task.started + OVERLAP_S), len(until)
        )
        until[lane : lane + 1] = [task.ended]
        lanes.append(lane)
    return lanes, len(until)


def _fill(
    ax: Axes, boxes: list[tuple[float, float, float, float]], colour: str, **options: Any
) -> None:
    from matplotlib.collections import PolyCollection

    corners = [
        [(x, y), (x + dx, y), (x + dx, y + dy), (x, y + dy)] for x, y, dx, dy in boxes if dx and dy
    ]
    ax.add_collection(PolyCollection(corners, facecolors=colour, **{"linewidths": 0, **options}))


def _draw_busy(ax: Axes, split: TimeSplit) -> None:
    """A column for each stage, with a bar for each worker: from nothing to all of its time."""
    total = split.total.shares
    shown = [name for name in COLOURS if total[name] >= SHOWN]
    rows = np.arange(len(split.workers))
    numbers = len(rows) <= MAX_NUMBERS
    for column, name in enumerate(shown):
        shares = np.array([worker.shares[name] for worker in split.workers])
        ax.barh(rows, 1 - GAP, left=column, height=BAND, color=PALE)
        ax.barh(
            rows, np.minimum(shares, 1) * (1 - GAP), left=column, height=BAND, color=COLOURS[name]
        )
        for row, share in enumerate(shares if numbers else ()):
            on_bar = share > 0.5 and name in DARK
            x, align, colour = (0.02, "left", "white") if on_bar else (0.98 - GAP, "right", BLACK)
            ax.text(
                column + x, row, f"{share:.0%}", ha=align, va="center", fontsize=8, color=colour
            )
    ax.set_xticks(
        [column + (1 - GAP) / 2 for column in range(len(shown))],
        [f"{stage_label(name)}\n{total[name]:.0%}" for name in shown],
    )
    ax.set(xlim=(0, len(shown) - GAP), ylim=(len(rows) - 0.5, -0.5))
    ax.set(
        xlabel="share of the worker's time in which the stage was busy; a grey column is all of it"
    )
    ax.tick_params(axis="x", length=0)


def _name_workers(ax: Axes, names: list[str]) -> None:
    step = -(-len(names) // MAX_NAMES)
    ax.set_yticks(range(0, len(names), step), names[::step])
    ax.tick_params(axis="y", length=0)
