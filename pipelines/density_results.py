"""What the models of pipelines/density_scaling.py tell: numbers and figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import xpscale as xps
from xpscale.evaluation.bootstrap import of_rows
from xpscale.evaluation.learning_curve import density_effect, fit_law, probe_errors, trimmed_mean
from xpscale.plots.learning import density_figure, learning_curves
from xpscale.plots.style import save
from xpscale.sky import INDEX_ORDER, healpix_29

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXEL_ORDER = 4
TARGETS = {"DR3": 219_197_643, "DR4": 2_000_000_000}
MIN_LAW_SIZES = 4
LEVEL = 0.68
"""Share of the draws inside an interval."""


@dataclass(frozen=True)
class Results:
    """All finished runs on one kind of stars.

    Parameters
    ----------
    folder
        With ``runs``, ``judged`` and ``labels.npz``.
    """

    folder: Path

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """Of each run: what it was, and its arrays."""
        found = []
        for path in sorted((self.folder / "runs").glob("*.npz")):
            with np.load(path) as arrays:
                content = {name: arrays[name] for name in arrays.files}
            found.append(json.loads(str(content.pop("run"))) | content)
        return found

    @cached_property
    def pixel(self) -> NDArray[np.int64]:
        """The pixel of each judged star, with shape (N,)."""
        store = xps.open_store(str(self.folder / "judged"))
        batches = [store.read(partition) for partition in store.partitions]
        ra, dec = (np.concatenate([getattr(b, name) for b in batches]) for name in ("ra", "dec"))
        return healpix_29(ra, dec) >> 2 * (INDEX_ORDER - PIXEL_ORDER)

    @cached_property
    def judged_id(self) -> NDArray[np.int64]:
        """Identifiers of the judged stars, with shape (N,)."""
        store = xps.open_store(str(self.folder / "judged"))
        return np.concatenate([store.read(p).source_id for p in store.partitions])

    @cached_property
    def labels(self) -> dict[str, NDArray[Any]]:
        """Labels by name, and ``source_id``, ascending."""
        with np.load(self.folder / "labels.npz") as arrays:
            return {name: arrays[name] for name in arrays.files}

    @property
    def full_width(self) -> int:
        """That of the networks of fixed width."""
        return int(max(run["width"] for run in self.runs))

    def curve(self, matched: bool) -> list[dict[str, Any]]:
        """Runs on uniform samples: networks of fixed width, or those that grow with N."""
        uniform = [run for run in self.runs if run["rule"] == "uniform"]
        if not matched:
            return [run for run in uniform if run["width"] == self.full_width]
        sizes = {run["n"] for run in uniform if run["width"] < self.full_width}
        largest = max(run["n"] for run in uniform)
        return [
            run
            for run in uniform
            if (run["width"] < self.full_width) == (run["n"] in sizes) and run["n"] <= largest
            if run["n"] in sizes or run["n"] == largest
        ]

    def probes(self, run: dict[str, Any]) -> dict[str, float]:
        """Robust errors of labels predicted from a run's latents."""
        table, known = self.labels, {}
        order = np.searchsorted(table["source_id"], run["known_id"])
        judged = np.searchsorted(table["source_id"], self.judged_id)
        for name in (name for name in table if name != "source_id"):
            values = table[name].astype(float)
            known[name] = probe_errors(
                run["known_latents"], values[order], run["latents"], values[judged]
            )
        return known


def write(out: Path) -> None:
    """Write density.json, density.md and figures of what is finished.

    Parameters
    ----------
    out
        The folder of pipelines/density_scaling.py.
    """
    found, texts = {}, []
    for folder in (out / name for name in ("universe", "library")):
        if not (folder / "runs").exists():
            continue
        results = Results(folder)
        stars = folder.name
        found[stars] = one = summary(results)
        texts.append(f"## {stars}\n\n{_tables(one)}")
        figures: dict[str, Any] = {"curve": learning_curves(one, stars)[0]}
        if one["density"]["effect"] is not None:
            figures["density"] = density_figure(one, stars)[0]
        for name, figure in figures.items():
            save(figure, out / f"{name}_{stars}.png")
    (out / "density.json").write_text(json.dumps(found, indent=1))
    (out / "density.md").write_text("\n\n".join(texts) + "\n")
    print("\n\n".join(texts))


def summary(results: Results) -> dict[str, Any]:
    """The numbers of one kind of stars, as JSON can hold them."""
    return {
        "judged": len(results.judged_id),
        "fixed": _curve(results, results.curve(matched=False)),
        "matched": _curve(results, results.curve(matched=True)),
        "density": _density(results),
    }


def _curve(results: Results, runs: list[dict[str, Any]]) -> dict[str, Any]:
    points = []
    for run in sorted(runs, key=lambda run: (run["n"], run["seed"])):
        loss: NDArray[np.float32] = run["loss"]
        found = of_rows(trimmed_mean, results.pixel, loss, level=LEVEL)
        value, low, high = map(float, found.parts)
        about = {name: run[name] for name in ("n", "width", "seed", "epochs")}
        points.append(
            about
            | {"loss": value, "low": low, "high": high, "mean": float(loss.mean())}
            | {"median": float(np.median(loss)), "probes": results.probes(run)}
        )
    return {"points": points, "law": _law(results, runs)}


def _law(results: Results, runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    n = np.array([run["n"] for run in runs], float)
    if len(np.unique(n)) < MIN_LAW_SIZES:
        return None
    loss = np.stack([run["loss"] for run in runs])
    rng = np.random.default_rng(0)

    def fitted(rows: NDArray[np.int64]) -> list[float]:
        # seeds of one size are drawn with the pixels: both are luck
        drawn = np.concatenate(
            [rng.choice(np.flatnonzero(n == size), (n == size).sum()) for size in np.unique(n)]
        )
        law = fit_law(n[drawn], np.array([trimmed_mean(loss[r][rows]) for r in drawn]))
        at = [float(law.at(target)) for target in TARGETS.values()]
        return [law.floor, law.amplitude, law.exponent, *at]

    names = ["floor", "amplitude", "exponent", *TARGETS]
    law = fit_law(n, np.array([trimmed_mean(one) for one in loss]))
    best = [law.floor, law.amplitude, law.exponent, *(float(law.at(t)) for t in TARGETS.values())]
    found = of_rows(fitted, results.pixel, np.arange(loss.shape[1]), level=LEVEL)
    return {
        name: {"value": value, "low": float(a), "high": float(b)}
        for name, value, a, b in zip(names, best, found.low, found.high, strict=True)
    }


def _density(results: Results) -> dict[str, Any]:
    """Runs of equally many objects by each rule."""
    by_rule: dict[str, list[dict[str, Any]]] = {}
    n_fixed = {run["n"] for run in results.runs if run["rule"] != "uniform"}
    for run in results.runs:
        if run["n"] in n_fixed and run["width"] == results.full_width:
            by_rule.setdefault(run["rule"], []).append(run)
    rules = {
        rule: {
            "loss": [trimmed_mean(run["loss"]) for run in runs],
            "median": [float(np.median(run["loss"])) for run in runs],
            "probes": [results.probes(run) for run in runs],
        }
        for rule, runs in by_rule.items()
    }
    effect, covering, binned = None, None, None
    if len(by_rule) > 1 and "uniform" in by_rule:
        loss = np.stack([np.mean([run["loss"] for run in runs], 0) for runs in by_rule.values()])
        around = np.stack([np.mean([r["n_around"] for r in runs], 0) for runs in by_rule.values()])
        effect = _effect(loss, around, results.pixel)
        covers = [rule != "cut" for rule in by_rule]
        if sum(covers) > 1:
            covering = _effect(loss[covers], around[covers], results.pixel)
        kept = _kept(loss)
        binned = _binned(list(by_rule), loss[:, kept], around[:, kept])
    found = {"effect": effect, "effect_of_covering": covering, "binned": binned}
    return {"n": sorted(n_fixed), "rules": rules, **found}


def _kept(loss: NDArray[np.float64]) -> NDArray[np.int64]:
    """The stars that no run gives one of the highest losses."""
    return np.sort(np.argsort(loss.max(0))[: round(loss.shape[1] * 0.99)])


def _effect(
    loss: NDArray[np.float64], around: NDArray[np.float64], pixel: NDArray[np.int64]
) -> dict[str, float]:
    kept = _kept(loss)
    loss, around = loss[:, kept], around[:, kept]

    def effect(loss: NDArray[np.float64], around: NDArray[np.float64]) -> float:
        return density_effect(loss.T, around.T)

    found = of_rows(effect, pixel[kept], loss.T, around.T, level=LEVEL)
    return dict(zip(("value", "low", "high"), map(float, found.parts), strict=True))


def _binned(
    rules: list[str], loss: NDArray[np.float64], around: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Of each rule: how much better than the uniform one, by how many more objects are around."""
    base = rules.index("uniform")
    edges = np.arange(-2.25, 2.3, 0.5)
    found = []
    for r, rule in enumerate(rules):
        if r == base:
            continue
        more = np.log10(1 + around[r]) - np.log10(1 + around[base])
        gain = loss[r] - loss[base]
        for low, high in pairwise(edges):
            rows = (more >= low) & (more < high)
            if rows.sum() >= 30:
                mean, error = gain[rows].mean(), gain[rows].std() / np.sqrt(rows.sum())
                one = {"rule": rule, "more": float((low + high) / 2), "n": int(rows.sum())}
                found.append(one | {"gain": float(mean), "error": float(error)})
    return found


def _tables(found: dict[str, Any]) -> str:
    lines = []
    for kind in ("fixed", "matched"):
        points = found[kind]["points"]
        labels = list(points[0]["probes"]) if points else []
        lines += [
            f"Width {kind}: loss on {found['judged']:,} stars, nats of c/G (the 1 % of highest loss"
            " left out); robust error of labels from latents.\n",
            f"| objects | width | seed | epochs | loss | interval | {' | '.join(labels)} |",
            "|" + "---|" * (6 + len(labels)),
        ]
        for one in points:
            values = " | ".join(f"{one['probes'][name]:.3g}" for name in labels)
            lines.append(
                f"| {one['n']:,} | {one['width']} | {one['seed']} | {one['epochs']} |"
                f" {one['loss']:.2f} | {one['low']:.2f} to {one['high']:.2f} | {values} |"
            )
        if found[kind]["law"]:
            parts = (
                f"{name} {x['value']:.2f} ({x['low']:.2f} to {x['high']:.2f})"
                for name, x in found[kind]["law"].items()
            )
            lines.append("\nLaw: " + ", ".join(parts))
        lines.append("")
    return "\n".join([*lines, _rules(found["density"])])


def _rules(found: dict[str, Any]) -> str:
    lines = [f"{found['n']} objects by each rule:\n", "| rule | loss of each seed |", "|---|---|"]
    for rule, one in found["rules"].items():
        lines.append(f"| {rule} | {', '.join(f'{x:.2f}' for x in one['loss'])} |")
    for key, words in (("effect", ""), ("effect_of_covering", "Without the rule cut: ")):
        if effect := found[key]:
            lines.append(
                f"\n{words}Ten times as many training objects around a star change its loss by"
                f" {effect['value']:.2f} nats ({effect['low']:.2f} to {effect['high']:.2f})."
            )
    return "\n".join(lines)
