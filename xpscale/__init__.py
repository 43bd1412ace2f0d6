"""xpscale: scatter-VAE inference over every Gaia XP spectrum, from archive files to a queryable
derived catalogue.

The public names are loaded when they are first used, so ``import xpscale`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpscale.catalog.commit import commit as commit
    from xpscale.evaluation.evaluate import evaluate as evaluate
    from xpscale.inference.complete import complete as complete
    from xpscale.inference.infer import infer as infer
    from xpscale.inference.plan import plan_inference as plan_inference
    from xpscale.inference.run import run_inference as run_inference
    from xpscale.ingest.build import build_store as build_store
    from xpscale.ingest.plan import plan_ingest as plan_ingest
    from xpscale.ingest.run import run_ingest as run_ingest
    from xpscale.labels.extension import publish_labels as publish_labels
    from xpscale.labels.label_file import load_label_model as load_label_model
    from xpscale.labels.workflow import apply_labels as apply_labels
    from xpscale.labels.workflow import fit_labels as fit_labels
    from xpscale.model.checkpoint import load_model as load_model
    from xpscale.query.catalog import open_catalog as open_catalog
    from xpscale.query.download import download as download
    from xpscale.query.flag_words import flags_in_words as flags_in_words
    from xpscale.query.reconstruct import reconstruct as reconstruct
    from xpscale.query.sql import sql as sql
    from xpscale.runtime.executors.dask import DaskExecutor as DaskExecutor
    from xpscale.runtime.executors.serial import SerialExecutor as SerialExecutor
    from xpscale.runtime.progress import TerminalProgress as TerminalProgress
    from xpscale.sampling.draw import draw_sample as draw_sample
    from xpscale.store.check import check_store as check_store
    from xpscale.store.open import open_spectra as open_spectra
    from xpscale.store.reader import open_store as open_store
    from xpscale.training.run import train as train

__version__ = "0.2.0"

_HOMES = {
    "DaskExecutor": "runtime.executors.dask",
    "SerialExecutor": "runtime.executors.serial",
    "TerminalProgress": "runtime.progress",
    "apply_labels": "labels.workflow",
    "build_store": "ingest.build",
    "check_store": "store.check",
    "commit": "catalog.commit",
    "complete": "inference.complete",
    "download": "query.download",
    "draw_sample": "sampling.draw",
    "fit_labels": "labels.workflow",
    "flags_in_words": "query.flag_words",
    "evaluate": "evaluation.evaluate",
    "infer": "inference.infer",
    "load_label_model": "labels.label_file",
    "publish_labels": "labels.extension",
    "load_model": "model.checkpoint",
    "open_catalog": "query.catalog",
    "open_spectra": "store.open",
    "open_store": "store.reader",
    "plan_inference": "inference.plan",
    "plan_ingest": "ingest.plan",
    "reconstruct": "query.reconstruct",
    "run_inference": "inference.run",
    "run_ingest": "ingest.run",
    "sql": "query.sql",
    "train": "training.run",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'xpscale' has no attribute {name!r}")
    from xpscale.extras import naming_extras

    with naming_extras():
        value = getattr(importlib.import_module(f"xpscale.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
