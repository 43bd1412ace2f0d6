"""The science report of several models, on real stars with labels and on a synthetic universe.

    python -m pipelines.science_report --out OUT [--demo demo-out] [--only library|universe]

The real stars are those of ``xpscale demo``; its store and labels are taken from ``--demo``.  The
default preset is trained with two seeds and the paper's once, each on the same stars, or the models
of ``--models``: a TOML file with a table of training settings for each, and above the tables what
is common to all.  Models that are there already are not trained again.  OUT/library/report and
OUT/universe/report have one page each.  The universe's labels are the truth, its planted scatter
among them.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

import xpscale as xps
from xpscale.evaluation.variants import register_variants
from xpscale.testing.universe import Universe
from xpscale.training.settings import TrainingSettings

if TYPE_CHECKING:
    from xpscale.store.reader import SpectraStore

UNIVERSE_SEED = 11
MODELS = {"default": {}, "default_seed_1": {"seed": 1}, "laroche2024": {"preset": "laroche2024"}}


def main(arguments: list[str] | None = None) -> None:
    """Train what is not there, and report."""
    options = _options(arguments)
    models = models_of(options.models, options.epochs)
    if options.only != "universe":
        store = xps.open_store(str(options.demo / "store"))
        _report(store, options.demo / "labels.parquet", options.out / "library", models)
    if options.only != "library":
        store, labels = _universe(options.n_sources, options.out / "universe")
        _report(store, labels, options.out / "universe", models)


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


def models_of(file: Path | None, epochs: int) -> dict[str, TrainingSettings]:
    """Training settings by the name of the model.

    Parameters
    ----------
    file
        A TOML file; without it, the two presets.
    epochs
        Of models that do not say.
    """
    register_variants()
    tables = tomllib.loads(file.read_text()) if file else MODELS
    common = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    return {
        name: TrainingSettings.from_table({"epochs": epochs, **common, **own}, name)
        for name, own in tables.items()
        if isinstance(own, dict)
    }


def _report(
    store: SpectraStore, labels: Path, out: Path, models: dict[str, TrainingSettings]
) -> None:
    for name, settings in models.items():
        print(f"{out.name}: {name}, {settings.epochs} epochs", flush=True)
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
    parser.add_argument("--models", type=Path, help="a TOML file of models, not the two presets")
    parser.add_argument("--epochs", type=int, default=50, help="of each training")
    parser.add_argument("--n-sources", type=int, default=30_000, help="of the universe")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
