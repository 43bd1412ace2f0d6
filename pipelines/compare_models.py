"""The default model, its ablations and the paper's model, side by side on real stars and on a
synthetic universe.

    python -m pipelines.compare_models --out OUT [--quick] [--only library|universe]

The real stars are those of the demo (`xpscale.demo.stars`).  Every model is trained on the same
stars and judged on the same held-out fifth of the sky.  Tables (Markdown and JSON) and figures go
to OUT; models that are there already are not trained again.  Which models:
pipelines/settings/compare_models.toml.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import xpscale as xps
from xpscale.demo.stars import ORIGIN, DemoStars, demo_stars
from xpscale.evaluation.labels import alpha_mcc, principal_components
from xpscale.evaluation.latents import ALIVE_NATS
from xpscale.evaluation.reconstruction import evidence, predict
from xpscale.evaluation.scores import (
    Scores,
    as_records,
    by_colour,
    by_magnitude,
    scatter_lines,
    score,
    table,
)
from xpscale.evaluation.variants import register_variants
from xpscale.model.scaling import normalized
from xpscale.plots.models import calibration_by, held_out_curves, kl_per_latent
from xpscale.plots.style import save
from xpscale.sampling.held_out import split_spectra
from xpscale.testing.universe import Universe
from xpscale.training.settings import TrainingSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.model.checkpoint import TrainedModel
    from xpscale.spectra import SpectraBatch
    from xpscale.store.reader import SpectraStore

SETTINGS = Path(__file__).parent / "settings" / "compare_models.toml"


def main(arguments: list[str] | None = None) -> None:
    """Train, judge, write."""
    options = _options(arguments)
    settings = tomllib.loads(options.settings.read_text())
    if options.quick:
        settings |= settings["quick"]
    options.out.mkdir(parents=True, exist_ok=True)
    register_variants()
    only = options.only
    if only in (None, "library"):
        _on_library(demo_stars(settings["n_stars"]), options.out / "library", settings)
    if only in (None, "universe"):
        _on_universe(options.out / "universe", settings)


def _on_library(stars: DemoStars, out: Path, settings: dict[str, Any]) -> None:
    store = xps.build_store(
        [("library", stars.batch)],
        str(out / "store"),
        attributes={"origin": ORIGIN, "n": len(stars.batch)},
    )
    models = _train_all(store, out, settings)
    training, held_out = split_spectra(store, next(iter(_all_settings(settings).values())).split)
    labels = stars.labels_of(training.source_id), stars.labels_of(held_out.source_id)

    def separation(features: NDArray[Any], others: NDArray[Any]) -> float:
        return alpha_mcc(features, labels[0], others, labels[1])

    scores = [
        score(
            name,
            model,
            held_out,
            alpha_mcc=separation(
                predict(model, training).latents, predict(model, held_out).latents
            ),
        )
        for name, model in models.items()
    ]
    raw = normalized(training), normalized(held_out)
    baselines = {
        "110 coefficients": separation(*raw),
        "PCA-6": separation(*principal_components(*raw, 6)),
    }
    text = ", ".join(f"{name} {value:.2f}" for name, value in baselines.items())
    _write(out, models, settings, scores, held_out, f"alpha MCC of baselines: {text}")


def _on_universe(out: Path, settings: dict[str, Any]) -> None:
    universe = Universe(settings["n_sources"], seed=settings["universe_seed"])
    store = xps.build_store(
        [("universe", universe.spectra())],
        str(out / "store"),
        attributes={"origin": repr(universe)},
    )
    models = _train_all(store, out, settings)
    _, held_out = split_spectra(store, next(iter(_all_settings(settings).values())).split)
    truth = universe.truth()
    planted = truth.scatter[np.searchsorted(truth.source_id, held_out.source_id)]
    scores = [
        score(name, model, held_out, planted_scatter=planted) for name, model in models.items()
    ]
    _write(
        out,
        models,
        settings,
        scores,
        held_out,
        f"Predicted over planted scatter:\n\n{scatter_lines(scores)}",
    )


def _all_settings(settings: dict[str, Any]) -> dict[str, TrainingSettings]:
    """Training settings by the model's name: the models of full length, then the ablations."""
    common, ablations = settings["common"], {"epochs": settings["ablation_epochs"]}
    tables = {
        **{
            name: {**common, "epochs": settings["epochs"], **own}
            for name, own in settings["models"].items()
        },
        **{name: {**common, **ablations, **own} for name, own in settings["ablations"].items()},
    }
    return {
        name: TrainingSettings.from_table(one, f"{SETTINGS.name}: {name}")
        for name, one in tables.items()
    }


def _train_all(
    store: SpectraStore, folder: Path, settings: dict[str, Any]
) -> dict[str, TrainedModel]:
    models = {}
    for name, training in _all_settings(settings).items():
        print(f"{folder.name}: {name}, {training.epochs} epochs", flush=True)
        models[name] = xps.train(store, str(folder / name), training)
    return models


def _write(
    folder: Path,
    models: dict[str, TrainedModel],
    settings: dict[str, Any],
    scores: list[Scores],
    held_out: SpectraBatch,
    note: str,
) -> None:
    """The table and the figures."""
    text = f"{len(held_out):,} held-out spectra\n\n{table(scores)}\n" + (
        f"\n{note}\n" if note else ""
    )
    (folder / "table.md").write_text(text)
    (folder / "scores.json").write_text(json.dumps(as_records(scores), indent=1))
    print(f"\n{text}")
    full = {name: models[name] for name in settings["models"]}
    title = f"{folder.name}: {len(held_out):,} held-out spectra"
    residuals = {name: predict(model, held_out, seed=0).residuals for name, model in full.items()}
    figures: dict[str, Any] = {
        "training": held_out_curves(
            {name: str(folder / name / "history.csv") for name in full}, title
        ),
        "kl": kl_per_latent(
            {name: evidence(model, held_out).kl_per_latent for name, model in full.items()},
            ALIVE_NATS,
            title,
        ),
    }
    for word, quantity, binned in (
        ("magnitude", "G [mag]", by_magnitude),
        ("colour", "BP − RP [mag]", by_colour),
    ):
        found = {name: binned(values, held_out) for name, values in residuals.items()}
        figures[f"calibration_{word}"] = calibration_by(
            quantity, {name: (one.edges, one.std) for name, one in found.items()}, title
        )
    for name, (figure, _) in figures.items():
        save(figure, folder / f"{name}.png")
        print(folder / f"{name}.png")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for models, tables and figures"
    )
    parser.add_argument("--settings", type=Path, default=SETTINGS, help="which models")
    parser.add_argument(
        "--quick", action="store_true", help="few stars, few epochs: to see that all of it runs"
    )
    parser.add_argument("--only", choices=("library", "universe"), help="one of the two")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
