"""The science report of both presets, on real stars with labels and on a synthetic universe.

    python -m pipelines.science_report --out OUT [--demo demo-out] [--only library|universe]

The real stars are those of ``xpscale demo``; its store and labels are taken from ``--demo``.  The
default preset is trained with two seeds and the paper's once, each on the same stars; models that
are there already are not trained again.  OUT/library/report and OUT/universe/report have one page
each.  The universe's labels are the truth, its planted scatter among them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

import xpscale as xps
from xpscale.testing.universe import Universe
from xpscale.training.settings import TrainingSettings

if TYPE_CHECKING:
    from xpscale.store.reader import SpectraStore

UNIVERSE_SEED = 11


def main(arguments: list[str] | None = None) -> None:
    """Train what is not there, and report."""
    options = _options(arguments)
    if options.only != "universe":
        store = xps.open_store(str(options.demo / "store"))
        _report(store, options.demo / "labels.parquet", options.out / "library", options.epochs)
    if options.only != "library":
        store, labels = _universe(options.n_sources, options.out / "universe")
        _report(store, labels, options.out / "universe", options.epochs)


def _universe(n_sources: int, out: Path) -> tuple[SpectraStore, Path]:
    """The store of a universe, and a file of its labels."""
    universe, labels = Universe(n_sources, seed=UNIVERSE_SEED), out / "labels.parquet"
    store = xps.build_store(
        [("universe", universe.spectra())],
        str(out / "store"),
        attributes={"origin": repr(universe)},
    )
    truth = universe.truth()
    columns = {name: getattr(truth.labels, name) for name in ("teff", "logg", "fe_h", "extinction")}
    scatter = pa.FixedSizeListArray.from_arrays(truth.scatter.ravel(), truth.scatter.shape[1])
    table = pa.table({"source_id": truth.source_id, **columns, "true_scatter": scatter})
    pq.write_table(table, labels)
    return store, labels


def _report(store: SpectraStore, labels: Path, out: Path, epochs: int) -> None:
    default = replace(TrainingSettings(), epochs=epochs)
    paper = replace(TrainingSettings.choose("", "laroche2024"), epochs=epochs)
    paper = replace(
        paper, held_out_fraction=default.held_out_fraction, split_seed=default.split_seed
    )
    models = {"default": default, "default_seed_1": replace(default, seed=1), "laroche2024": paper}
    for name, settings in models.items():
        print(f"{out.name}: {name}, {epochs} epochs", flush=True)
        xps.train(store, str(out / name), settings)
    first, *others = (str(out / name) for name in models)
    report = xps.evaluate(
        first,
        store,
        str(out / "report"),
        labels=str(labels),
        against=others,
        overwrite=True,
        progress=lambda what, fraction: print(f"{what} ({fraction:.0%})", flush=True),
    )
    print(report)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for models and reports")
    parser.add_argument(
        "--demo", type=Path, default=Path("demo-out"), help="what xpscale demo has made"
    )
    parser.add_argument("--only", choices=("library", "universe"), help="one of the two")
    parser.add_argument("--epochs", type=int, default=50, help="of each training")
    parser.add_argument("--n-sources", type=int, default=30_000, help="of the universe")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
