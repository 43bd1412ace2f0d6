"""Does the model grow with the number, and with the density, of its training objects?

    python -m pipelines.density_scaling OUT [--only universe|library] [--processes 2] [--quick]

Trains the default network on samples of a synthetic universe and of real stars: more and more
objects (with the network's width fixed, and growing), and equally many objects drawn by each
sampling rule.  All are judged on the same stars of a part of the sky that no run ever sees.
`xpscale.evaluation.learning_curve` has the mathematics; settings/density_scaling.toml says which
models.  Hours; stopped anywhere, it goes on from there when started again.  OUT gets density.json,
density.md and figures.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import xpscale as xps
from pipelines import density_results
from xpscale.demo.stars import ORIGIN, demo_stars
from xpscale.evaluation.learning_curve import loss_of_stars
from xpscale.evaluation.reconstruction import predict
from xpscale.sampling.cells import ColourMagnitudeCells
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.spectra import SpectraBatch
from xpscale.testing.universe import Universe
from xpscale.training.session import one_torch_thread
from xpscale.training.settings import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from xpscale.sampling.sample import Sample
    from xpscale.store.reader import SpectraStore

SETTINGS = Path(__file__).parent / "settings" / "density_scaling.toml"
CELLS = ColourMagnitudeCells(colour_width=0.2, magnitude_width=0.5)
RULES = ("density", "flattened", "cut")
JUDGED_SEED = 7
FULL_BATCH_ROWS, SMALL_BATCH = 4096, 64
KNOWN_STEP = 4  # every fourth star outside the judged part teaches the probes of labels


@dataclass(frozen=True, order=True)
class Run:
    """One model to train: on which stars, how many of them, drawn how, how wide, which seed."""

    stars: str
    n: int
    rule: str
    width: int
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.rule}-{self.n}-width{self.width}-seed{self.seed}"

    def training(self, settings: dict[str, Any]) -> TrainingSettings:
        """How it is trained: about as many steps whatever the number of objects."""
        batch_size = SMALL_BATCH if self.n < FULL_BATCH_ROWS else 256
        epochs = round(settings["steps"] * batch_size / self.n)
        return TrainingSettings(
            epochs=int(np.clip(epochs, settings["min_epochs"], settings["max_epochs"])),
            batch_size=batch_size,
            hidden=(self.width,) * 3,
            muon_rate=0.0,  # as the results in the documents were made
            max_held_out_rows=2_000,
            seed=self.seed,
        )


def main(arguments: list[str] | None = None) -> None:
    """Train what is missing, then write the results."""
    options = _options(arguments)
    settings = tomllib.loads(options.settings.read_text())
    if options.quick:
        quick = settings["quick"]
        for name in ("universe", "library"):
            settings[name] |= quick.pop(name)
        settings |= quick
    for stars in (options.only,) if options.only else ("universe", "library"):
        folder = options.out / stars
        _prepare(stars, folder, settings)
        missing = [
            run for run in dict.fromkeys(runs(stars, settings)) if not _result(folder, run).exists()
        ]
        print(f"{stars}: {len(missing)} models to train", flush=True)
        with ProcessPoolExecutor(options.processes) as pool:
            waiting = {pool.submit(train_and_judge, run, folder, settings): run for run in missing}
            for n, done in enumerate(as_completed(waiting), 1):
                print(
                    f"{n} of {len(missing)}: {waiting[done].name} {done.result():.2f}", flush=True
                )
    density_results.write(options.out)


def runs(stars: str, settings: dict[str, Any]) -> Iterator[Run]:
    """All models on one kind of stars, one seed after the other."""
    table = settings[stars]
    full = table["widths"][-1]
    for seed in range(settings["seeds"]):
        for n in table["sizes"]:
            yield Run(stars, n, "uniform", full, seed)
        for rule in ("uniform", *RULES):
            yield Run(stars, table["n_fixed"], rule, full, seed)
        for n, width in list(zip(table["sizes"], table["widths"], strict=True))[:-1]:
            yield Run(stars, n, "uniform", width, seed)


def _prepare(stars: str, folder: Path, settings: dict[str, Any]) -> None:
    """The store to train on, and the judged stars with their labels."""
    if (folder / "labels.npz").exists():
        return
    table = settings[stars]
    if stars == "universe":
        universe = Universe(table["n_sources"], seed=table["seed"])
        batch, truth, origin = universe.spectra(), universe.truth(), repr(universe)
        labels = {name: getattr(truth.labels, name) for name in table["labels"]}
    else:
        found = demo_stars(table.get("limit"))
        batch, origin = found.batch, ORIGIN
        labels = {name: found.labels[name].to_numpy() for name in table["labels"]}
    judged = HeldOutSplit(settings["judged_fraction"], JUDGED_SEED).held_out(batch)
    for part, rows in (("store", ~judged), ("judged", judged)):
        chosen = batch.take(rows)
        xps.build_store([(part, chosen)], str(folder / part), attributes={"origin": origin})
    np.savez(folder / "labels.npz", source_id=batch.source_id, **labels)


def train_and_judge(run: Run, folder: Path, settings: dict[str, Any]) -> float:
    """Train one model and write what it makes of the judged stars; returns its median loss.

    Parameters
    ----------
    run
        Which model.
    folder
        With the stars of its kind.
    settings
        As settings/density_scaling.toml has them.
    """
    training = run.training(settings)
    store = xps.open_store(str(folder / "store"))
    sample = xps.draw_sample(
        store,
        run.n,
        run.rule,
        run.seed,
        training.split,
        cells=CELLS,
        min_quantile=0.25 if run.rule == "cut" else 0.0,
        oversampling=100.0,
    )
    with one_torch_thread():
        model = xps.train(store, str(folder / "models" / run.name), training, sample=sample)
        judged_store = xps.open_store(str(folder / "judged"))
        judged, known = _all_of(judged_store), _all_of(store).take(slice(0, None, KNOWN_STEP))
        loss = loss_of_stars(model, judged)
        latents = [predict(model, batch).latents for batch in (known, judged)]
    _result(folder, run).parent.mkdir(exist_ok=True)
    np.savez(
        _result(folder, run),
        loss=loss.astype(np.float32),
        n_around=n_around(sample, judged_store),
        known_id=known.source_id,
        known_latents=latents[0],
        latents=latents[1],
        run=json.dumps(vars(run) | {"epochs": training.epochs}),
    )
    return float(np.median(loss))


def n_around(sample: Sample, stars: SpectraStore) -> NDArray[np.int64]:
    """Training objects in the cells of stars, with shape (N,).

    Parameters
    ----------
    sample
        The training objects, drawn by `CELLS`.
    stars
        The N stars.
    """
    drawn = np.zeros(CELLS.n_cells, np.int64)
    drawn[list(sample.plan.cell)] = sample.plan.drawn
    found = []
    for partition in stars.partitions:
        batch = stars.read(partition)
        columns = {name: getattr(batch, name) for name in CELLS.columns}
        found.append(drawn[CELLS.numbers(partition, columns, batch.bands)])
    return np.concatenate(found)


def _all_of(store: SpectraStore) -> SpectraBatch:
    return SpectraBatch.concatenate(store.read(partition) for partition in store.partitions)


def _result(folder: Path, run: Run) -> Path:
    return folder / "runs" / f"{run.name}.npz"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for models, tables and figures")
    parser.add_argument("--settings", type=Path, default=SETTINGS, help="which models")
    parser.add_argument("--processes", type=int, default=2, help="models trained at a time")
    parser.add_argument(
        "--quick", action="store_true", help="few stars: to see that all of it runs"
    )
    parser.add_argument("--only", choices=("library", "universe"), help="one of the two")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
