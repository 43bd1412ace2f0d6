"""The whole workflow on real stars: spectra, store, model, inference, catalogue, queries, figures.

Everything goes through the public functions that a user calls.  Steps that an earlier run has
finished are found and skipped, so an interrupted demo continues where it stopped.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import xpscale.demo.stars as real
from xpscale.catalog.check import check as check_catalog
from xpscale.demo.figures import draw_figures
from xpscale.demo.neighbours import score_neighbours
from xpscale.demo.story import Story
from xpscale.errors import NotFoundError, PermanentError
from xpscale.formatting import format_bytes, tell_steps
from xpscale.inference.infer import InferenceResult, infer
from xpscale.inference.plan import InferencePlan
from xpscale.ingest.build import build_store
from xpscale.query.catalog import Catalog, open_catalog
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.runtime.progress import TerminalProgress
from xpscale.site import make_site
from xpscale.store.check import check_store
from xpscale.store.reader import SpectraStore, open_store
from xpscale.training.run import estimate, train
from xpscale.training.settings import TrainingSettings

if TYPE_CHECKING:
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.spectra import SpectraBatch
    from xpscale.training.metrics import EpochMetrics

__all__ = ["run_demo"]

MAX_ROWS = 2_048  # small partitions, so that there are tasks for two workers
N_WORKERS = 2
N_PIECES = 8
INFER = f"infer on a Dask cluster of {N_WORKERS} worker processes"
N_SYNTHETIC = 30_000
SETTINGS = TrainingSettings(epochs=50)  # half as many as the preset: about three minutes


def run_demo(out: str) -> None:
    """Make a derived catalogue of real stars below a folder, with figures.

    Parameters
    ----------
    out
        A local folder; made if it is not there.
    """
    folder, story = Path(out), Story()
    folder.mkdir(parents=True, exist_ok=True)
    with story.stage("real spectra and a spectra store", 60):
        store = _store(folder, story)
    with story.stage("train a scatter VAE", estimate(store.n_rows, SETTINGS, store.bands)):
        model = _train(folder, store, story)
    with story.stage(INFER, 30):
        result = _infer(folder, store, model, story)
    with story.stage("check the catalogue", 10):
        _check(result, story)
    with story.stage("query", 5):
        catalog = open_catalog(str(folder / "catalog"))
        _query(catalog, folder, story)
    with story.stage("labels and figures", 30):
        labels = pq.read_table(folder / "labels.parquet")
        story.say(fill(str(score_neighbours(catalog.select().to_table(), labels)), 100))
        figures = draw_figures(catalog, store, labels, folder)
    with story.stage("a web page", 10):
        make_site(catalog, str(folder / "site"), say=story.say)
    _finish(folder, catalog, figures, story, result)


def _store(folder: Path, story: Story) -> SpectraStore:
    """Obtain the stars, build the store, and save the labels next to it."""
    labels = folder / "labels.parquet"
    url = str(folder / "store")
    if labels.exists():
        try:
            store = open_store(url)
        except NotFoundError:
            pass
        else:
            story.say(f"found {store}")
            return store
    batch, table, attributes = _stars(story)
    pieces = [
        (f"piece-{i}", batch.take(rows))
        for i, rows in enumerate(np.array_split(np.arange(len(batch)), N_PIECES))
    ]
    store = build_store(
        pieces,
        url,
        attributes=attributes,
        max_rows=MAX_ROWS,
        callbacks=[TerminalProgress()],
    )
    found = check_store(store)
    if not found.ok:
        raise PermanentError(
            f"{store.url} is not sound: {found.problems[0]}", "Remove the folder and try again"
        )
    pq.write_table(table, labels)
    story.say(
        f"{store}; checked: {found.n_objects} objects, {found.n_read:,} read = {found.n_written:,}"
        f" written + {sum(found.n_rejected.values())} rejected {dict(found.n_rejected) or ''}"
    )
    return store


def _stars(story: Story) -> tuple[SpectraBatch, pa.Table, dict[str, str]]:
    """Real stars, or the synthetic universe, with a clear warning, if they are not available."""
    try:
        stars = real.demo_stars(progress=tell_steps(story.say))
    except NotFoundError as error:
        story.say("*" * 78)
        story.say(f"REAL STARS ARE NOT AVAILABLE: {error}")
        story.say("Going on with SYNTHETIC stars. Nothing below is about the real sky.")
        story.say("*" * 78)
        from xpscale.demo.synthetic import synthetic_stars

        batch, labels = synthetic_stars(N_SYNTHETIC)
        return (
            batch,
            labels,
            {"release": "synthetic", "origin": "xpscale.testing.universe, not real stars"},
        )
    rejected = ", ".join(f"{n:,} {reason}" for reason, n in stars.n_rejected.items() if n)
    story.say(
        f"{stars.n_read:,} spectra of APOGEE stars read, {len(stars.batch):,} taken; left out:"
        f" {rejected}"
    )
    story.say(fill(real.RECOVERY_NOTE, 100))
    return (
        stars.batch,
        stars.labels,
        {"release": "Gaia DR3", "origin": real.ORIGIN, "caution": real.RECOVERY_NOTE},
    )


def _train(folder: Path, store: SpectraStore, story: Story) -> TrainedModel:
    every = SETTINGS.epochs // 10

    def show(metrics: EpochMetrics) -> None:
        if metrics.epoch == 1 or metrics.epoch % every == 0:
            left = metrics.seconds * (SETTINGS.epochs - metrics.epoch)
            story.say(
                f"epoch {metrics.epoch:>3}/{SETTINGS.epochs}  loss {metrics.loss:8.2f}  held out "
                f"{metrics.held_out.loss:8.2f}  {metrics.held_out.active_units} latents active  "
                f"{metrics.spectra_per_s:,.0f} spectra/s  {left:.0f} s left"
            )

    story.say(
        f"{store.n_rows:,} stars, {SETTINGS.epochs} epochs, the default preset; a tenth of the sky"
        " held out"
    )
    model = train(store, str(folder / "model"), SETTINGS, on_epoch=show)
    story.say(f"model {model.model_id[:12]}")
    return model


def _infer(folder: Path, store: SpectraStore, model: TrainedModel, story: Story) -> InferenceResult:
    @contextmanager
    def workers(plan: InferencePlan) -> Iterator[DaskExecutor]:
        story.say(plan.describe(N_WORKERS))
        with local_cluster(N_WORKERS) as client:
            yield DaskExecutor(client)

    result = infer(
        store,
        model,
        str(folder / "catalog"),
        executor=workers,
        callbacks=[TerminalProgress()],
        message="xpscale demo",
    )
    story.say(str(result))
    return result


def _check(result: InferenceResult, story: Story) -> None:
    storage = result.plan.catalog
    found = check_catalog(storage)
    if not found.ok:
        raise PermanentError(
            f"{storage.url} is not sound: {found.problems[0]}", "Please report this"
        )
    story.say(
        f"{found.n_rows:,} sources, {found.n_parts} parts, {format_bytes(found.n_bytes)}; every"
        " byte checked, valid HATS"
    )


def _query(catalog: Catalog, folder: Path, story: Story) -> None:
    row = catalog.columns("ra", "dec").to_table().slice(0, 1).to_pylist()[0]
    cone = catalog.cone(row["ra"], row["dec"], 2.0)
    story.say(f"cone of 2 degrees at {row['ra']:.2f}, {row['dec']:+.2f}: {cone.count():,} sources")
    ids = (
        catalog.columns("source_id").to_table()["source_id"].to_numpy()[:: catalog.n_rows // 3][:3]
    )
    for star in (
        catalog.at(ids.tolist())
        .columns("source_id", "latent_mean_0", "reduced_chi2")
        .to_table()
        .to_pylist()
    ):
        story.say(
            f"source {star['source_id']}: latent_mean_0 {star['latent_mean_0']:+.2f}, "
            f"reduced chi2 {star['reduced_chi2']:.2f}"
        )
    statement = (
        "SELECT flags, count(*) AS n, median(reduced_chi2) AS median_chi2 FROM latents GROUP BY"
        " flags ORDER BY n DESC"
    )
    story.say(statement)
    for group in catalog.sql(statement).to_pylist():
        story.say(
            f"flags {group['flags']:>2}: {group['n']:>6,} sources, median reduced chi2"
            f" {group['median_chi2']:.2f}"
        )


def _finish(
    folder: Path, catalog: Catalog, figures: list[Path], story: Story, result: InferenceResult
) -> None:
    first = catalog.columns("source_id", "ra", "dec").to_table().slice(0, 1).to_pylist()[0]
    n_rows, path = catalog.n_rows, folder / "catalog"
    print(f"\n{catalog!r}")
    for title, seconds in story.seconds.items():
        print(f"  {seconds:7.1f} s  {title}")
    print(f"  {sum(story.seconds.values()):7.1f} s  in all")
    if result.report and result.report.n_new:
        infer_s = story.seconds[INFER]
        busy_s = sum(result.report.seconds.values())
        print(
            f"  {n_rows / infer_s:,.0f} sources/s with the cluster's start,"
            f" {N_WORKERS * n_rows / busy_s:,.0f} while the workers were busy (first imports"
            " included: so few stars are soon done)"
        )
    print(
        f"\nspectra store  {folder / 'store'}\nmodel          {folder / 'model'}\ncatalogue     "
        f" {path}"
    )
    print("figures        " + "\n               ".join(str(figure) for figure in figures))
    xpscale = (
        "xpscale"
        if shutil.which("xpscale")
        else os.path.relpath(Path(sys.executable).parent / "xpscale")
    )
    print("\nlook at the web page, and try next")
    print(f"  {xpscale} site {path} {folder / 'site'} --serve")
    print(
        f"  {xpscale} query {path} --cone {first['ra']:.3f},{first['dec']:.3f},2 --columns"
        " source_id,ra,dec,latent_mean_0"
    )
    print(
        f"  {xpscale} spectrum {path} {first['source_id']} --store {folder / 'store'} --plot"
        " spectrum.png"
    )
    print(
        f'  {xpscale} sql {path} "SELECT count(*), avg(reduced_chi2) FROM latents WHERE flags = 0"'
    )
