"""Where the time of a run went: the rate, a time line of every worker, and its split by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
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
from xpscale.text import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from xpscale.runtime.history import RunRecord
    from xpscale.runtime.split import TaskTime, TimeSplit

__all__ = ["run_times"]

COLOURS = {
    "read": BLUE,
    "decode": LIGHT_BLUE,
    "to_device": YELLOW,
    "forward": VERMILION,
    "encode": ORANGE,
    "write": GREEN,
    "start_up": DARK_GREY,
    "other": GREY,
    "idle": "#E6E6E6",
}

MAX_NAMES = 24  # workers whose names are written; more would overlap
N_BINS = 400


def run_times(record: RunRecord) -> tuple[Figure, tuple[Axes, Axes, Axes]]:
    """Sources a second against time; a time line a worker, each task coloured by its stages; their shares of its time.

    Parameters
    ----------
    record
        Of `xpscale.runtime.history.read_records`.

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
            3, 1, figsize=(9, 3.0 + 2 * height), layout="constrained", height_ratios=[1.6, height, height]
        )
        rate, line, bars = axes
        mean = _draw_rate(rate, record)
        _draw_time_line(line, record.tasks, names)
        line.sharex(rate)
        _draw_split(bars, split)
        for ax in (line, bars):
            _name_workers(ax, names)
        _legend(figure, split)
        workers = f"{len(names)} worker{'s' * (len(names) > 1)}"
        title = headline(f"{record.stage}: {duration(record.wall_s)} on {workers}", split.total.n_in)
        rate.set_title(f"{title}, {mean:,.0f} a second · bound by {split.bound_by.replace('_', ' ')}")
    return figure, (rate, line, bars)


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
    """Edges of equal steps of time in seconds, with shape (B + 1,), and sources a second in each, with shape (B,).

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
    """A box a task, cut across into its stages: the area of a colour is the time it took."""
    zero = min(task.started for task in tasks)
    row = {name: i for i, name in enumerate(names)}
    boxes: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in COLOURS}
    begun: set[str] = set()
    for task in sorted(tasks, key=lambda task: task.started):
        spent = {**task.seconds, "other" if task.worker in begun else "start_up": task.other_s}
        begun.add(task.worker)
        bottom, total = row[task.worker] - 0.4, max(sum(spent.values()), 1e-9)
        for stage, seconds in spent.items():
            share = 0.8 * seconds / total
            boxes[stage].append((task.started - zero, bottom, task.wall_s, share))
            bottom += share
    for stage, found in boxes.items():
        _fill(ax, found, COLOURS[stage])
    for i in row.values():
        ax.axhspan(i - 0.4, i + 0.4, color=COLOURS["idle"], lw=0, zorder=0)
    ends = [(task.started - zero, row[task.worker] - 0.4, task.wall_s, 0.8) for task in tasks]
    _fill(ax, ends, "none", edgecolors="white", linewidths=0.5 if len(tasks) / len(names) < 150 else 0.0)
    ax.set(xlabel="seconds since the first task began", ylim=(len(names) - 0.5, -0.5))


def _fill(ax: Axes, boxes: list[tuple[float, float, float, float]], colour: str, **options: Any) -> None:
    from matplotlib.collections import PolyCollection

    corners = [[(x, y), (x + dx, y), (x + dx, y + dy), (x, y + dy)] for x, y, dx, dy in boxes if dx and dy]
    ax.add_collection(PolyCollection(corners, facecolors=colour, **{"linewidths": 0, **options}))


def _draw_split(ax: Axes, split: TimeSplit) -> None:
    left = np.zeros(len(split.workers))
    for stage, colour in COLOURS.items():
        shares = np.array([worker.shares[stage] for worker in split.workers])
        ax.barh(range(len(shares)), shares, left=left, height=0.8, color=colour)
        left += shares
    if left.max() > 1.02:
        ax.axvline(1, color=BLACK, lw=0.8)
    ax.set(xlabel="share of the worker's time (stages run side by side where they exceed 100 %)")
    if left.max() <= 1.02:
        ax.set(xlabel="share of the worker's time")
    ax.set(xlim=(0, max(1.0, float(left.max()))), ylim=(len(left) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _name_workers(ax: Axes, names: list[str]) -> None:
    step = -(-len(names) // MAX_NAMES)
    ax.set_yticks(range(0, len(names), step), names[::step])
    ax.tick_params(axis="y", length=0)


def _legend(figure: Figure, split: TimeSplit) -> None:
    from matplotlib.patches import Patch

    shares = split.total.shares
    shown = [name for name in COLOURS if shares[name] >= 0.0005]
    patches = [Patch(color=COLOURS[name], label=f"{name.replace('_', ' ')} {shares[name]:.0%}") for name in shown]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))
