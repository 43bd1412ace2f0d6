"""A scatter VAE trained on an object-dense sample of a spectra store.

    python -m pipelines.train_object_dense pipelines/settings/laptop.toml

Stopped anywhere, it goes on from there when started again; the sample is drawn once.
"""

from __future__ import annotations

import sys

import xpscale as xps
from pipelines.settings import load
from xpscale.errors import NotFoundError
from xpscale.sampling.sample import load_sample, save_sample
from xpscale.training.metrics import EpochMetrics
from xpscale.training.settings import TrainingSettings


def main(settings_file: str) -> None:
    """Draw the sample and train."""
    settings = load(settings_file)
    store = xps.open_spectra(settings.store)
    training = (
        TrainingSettings.from_toml(settings.training) if settings.training else TrainingSettings()
    )
    try:
        sample = load_sample(settings.sample)
    except NotFoundError:
        sample = xps.draw_sample(
            store, settings.sample_size, settings.sample_rule, training.seed, training.split
        )
        save_sample(sample, settings.sample)
    print(f"{len(sample):,} objects of {store.n_rows:,}, rule {settings.sample_rule}")

    def show(metrics: EpochMetrics) -> None:
        if metrics.epoch % 10 == 0:
            print(
                f"epoch {metrics.epoch}: loss {metrics.loss:.2f}, held out"
                f" {metrics.held_out.loss:.2f}"
            )

    model = xps.train(store, settings.model, training, sample=sample, on_epoch=show)
    print(f"model {model.model_id[:12]}: {settings.model}")


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["pipelines/settings/laptop.toml"])
