"""The science report of a model: one pass over a store, then section by section."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import torch

from xpscale.errors import InvalidInputError
from xpscale.evaluation.alpha_section import NEEDED, alpha_section
from xpscale.evaluation.bootstrap import LEVEL
from xpscale.evaluation.calibration_section import calibration_section
from xpscale.evaluation.features import features_of
from xpscale.evaluation.fit_section import fit_section
from xpscale.evaluation.fit_sums import FitSums
from xpscale.evaluation.judged_stars import read_stars
from xpscale.evaluation.label_tables import read_labels
from xpscale.evaluation.latent_section import latent_section
from xpscale.evaluation.odd_section import odd_section
from xpscale.evaluation.page import PAGE, write_report
from xpscale.evaluation.probe_section import probe_section
from xpscale.extras import naming_extras
from xpscale.model.card import software
from xpscale.model.checkpoint import TrainedModel, load_model
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.storage.single_file import require_free
from xpscale.store.open import open_spectra
from xpscale.training.session import one_torch_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xpscale.evaluation.judged_stars import Stars
    from xpscale.evaluation.label_tables import LabelTable
    from xpscale.evaluation.sections import Section
    from xpscale.spectra import SpectraReader

__all__ = ["Report", "evaluate"]

FALLBACK = HeldOutSplit(0.2)
"""For models that do not know what was held out."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What an evaluation found.

    Parameters
    ----------
    facts
        What was evaluated, and how.
    sections
        Numbers, figures and sentences.
    """

    facts: Mapping[str, Any]
    sections: tuple[Section, ...]

    def __getitem__(self, name: str) -> Section:
        return next(section for section in self.sections if section.name == name)

    def __str__(self) -> str:
        return "\n".join(f"{section.title}: {section.sentence}" for section in self.sections)


def evaluate(
    model: str | TrainedModel,
    store: str | SpectraReader,
    out: str = "",
    *,
    labels: Any = None,
    label_columns: Mapping[str, str] | None = None,
    against: Sequence[str] = (),
    max_rows: int = 20_000,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Report:
    """Judge a model on the held-out part of the sky of a store, and write a report.

    Parameters
    ----------
    model
        The model, or where it is.
    store
        The spectra, or where they are.
    out
        Folder or URL of the report: ``index.html``, ``report.json``, ``tables.md`` and
        ``figures/``; nothing is written without it.
    labels
        Labels of stars: a file or a table, as `xpscale.evaluation.label_tables.read_labels` takes.
    label_columns
        The column of a label, by the label's name, where the column has no usual name.
    against
        Other models to compare with.
    max_rows
        Stars kept in memory inside, and outside, of the held-out sky, for methods that look at all
        of them together; sums run over all.
    seed
        Of all that is random: the same seed gives the same numbers.
    overwrite
        Replace an older report.
    progress
        Called with what is being done and the fraction of it that is done.

    Raises
    ------
    InvalidInputError
        A model takes other bands than the store has, labels fit no stars, or there are too few.
    ConflictError
        A report is there.
    """
    tell, clock = progress or (lambda what, fraction: None), time.perf_counter()
    with naming_extras():
        from threadpoolctl import threadpool_limits  # comes with scikit-learn
    if out:
        require_free(f"{out}/{PAGE}", overwrite=overwrite)
    reader = open_spectra(store) if isinstance(store, str) else store
    models = _models([model, *against], reader)
    table = None if labels is None else read_labels(labels, label_columns)
    split, sums = _split(models), {name: FitSums(one) for name, one in models.items()}
    with one_torch_thread(), threadpool_limits(1):  # else last digits depend on the machine
        training, judged = read_stars(
            reader,
            split,
            table,
            [one.add for one in sums.values()],
            max_rows=max_rows,
            seed=seed,
            progress=lambda fraction: tell("reading and encoding spectra", fraction),
        )
        sections = tuple(_sections(sums, training, judged, table, seed, tell))
    facts = _facts(models, reader, split, table, sums, (training, judged))
    report = Report({**facts, "seed": seed, "max_rows": max_rows}, sections)
    if out:
        tell("writing the report", 0.0)
        write_report(out, sections, report.facts, overwrite=overwrite)
    tell(f"done in {time.perf_counter() - clock:.0f} s", 1.0)
    return report


def _sections(
    sums: Mapping[str, FitSums],
    training: Stars,
    judged: Stars,
    labels: LabelTable | None,
    seed: int,
    tell: Callable[[str, float], None],
) -> Iterator[Section]:
    tell("reconstruction and baselines", 0.0)
    yield fit_section(sums, training, judged, seed)
    tell("scatter and posterior", 0.0)
    yield calibration_section(sums, judged, labels, seed)
    tell("latents", 0.0)
    latents = {
        name: (_means(one.model, training), _means(one.model, judged)) for name, one in sums.items()
    }
    yield latent_section(sums, latents, training, judged, seed)
    if judged.labels:
        features = features_of(latents, training, judged)
        yield probe_section(features, seed, tell)
        if set(judged.labels) >= NEEDED:
            tell("alpha elements", 0.0)
            both = features.stars, features.others
            drawn = {
                f"latents, {name}": (
                    _draw(one.model, both[0], seed),
                    _draw(one.model, both[1], seed),
                )
                for name, one in sums.items()
            }
            if alpha := alpha_section(features, drawn, seed):
                yield alpha
    tell("odd objects", 0.0)
    if odd := odd_section({name: one.model for name, one in sums.items()}, judged, seed):
        yield odd


def _means(model: TrainedModel, stars: Stars) -> NDArray[np.float64]:
    return model.encode(stars.batch).mean.double().numpy()


def _draw(model: TrainedModel, stars: Stars, seed: int) -> NDArray[np.float64]:
    generator = torch.Generator().manual_seed(seed)
    return model.encode(stars.batch).sample(generator).double().numpy()


def _models(given: Sequence[str | TrainedModel], reader: SpectraReader) -> dict[str, TrainedModel]:
    """The models by their names: of their folders, with more of the path where these are alike."""
    models: dict[str, TrainedModel] = {}
    for one in given:
        model = load_model(one) if isinstance(one, str) else one
        name = "model"
        if isinstance(one, str):
            path = PurePosixPath(one.rstrip("/"))
            name = path.name if path.name not in models else "/".join(path.parts[-2:])
        if name in models:
            raise InvalidInputError(f"two models are called {name}", "Give each one once")
        model.require_scaling()
        if model.bands != reader.bands:
            raise InvalidInputError(
                f"the model {name} takes {model.bands} coefficients, the spectra have"
                f" {reader.bands}",
                "Evaluate a model on spectra of its release",
            )
        models[name] = model
    return models


def _split(models: Mapping[str, TrainedModel]) -> HeldOutSplit:
    """The part of the sky that none of the models was trained on."""
    splits = {
        name: HeldOutSplit(
            float(model.card.training["held_out_fraction"]), int(model.card.training["split_seed"])
        )
        for name, model in models.items()
        if model.card.training.get("held_out_fraction")
    }
    if len({split.seed for split in splits.values()}) > 1:
        named = ", ".join(f"{name} {split.seed}" for name, split in splits.items())
        raise InvalidInputError(
            f"the models hold out different parts of the sky (split seeds: {named})",
            "Compare models of one split_seed",
        )
    # the pixels that a smaller share holds out are among those of a larger one
    return min(splits.values(), key=lambda split: split.fraction, default=FALLBACK)


def _facts(
    models: Mapping[str, TrainedModel],
    reader: SpectraReader,
    split: HeldOutSplit,
    labels: LabelTable | None,
    sums: Mapping[str, FitSums],
    stars: tuple[Stars, Stars],
) -> dict[str, Any]:
    training, judged = stars
    n_labelled = [f"{one.is_labelled.sum():,}" for one in stars]
    (name, model), *others = models.items()
    trained_here = model.card.data.get("store_digest") == reader.digest
    return {
        "model": f"{name} ({model.model_id[:12]}, {model.network.architecture.name})",
        "against": [f"{other} ({one.model_id[:12]})" for other, one in others],
        "store": str(getattr(reader, "url", reader)),
        "store_digest": reader.digest,
        "origin": str(getattr(reader, "attributes", {}).get("origin", "")),
        "caution": str(getattr(reader, "attributes", {}).get("caution", "")),
        "trained_on_this_store": trained_here,
        "held_out": str(split),
        "n_rows": reader.n_rows,
        "n_judged": f"{next(iter(sums.values())).n_rows:,}",
        "rows_in_memory": f"{len(training):,} outside, {len(judged):,} inside the held-out sky",
        "labels": "" if labels is None else f"{labels.name}: {', '.join(labels.labels)}",
        "n_labelled": f"{n_labelled[0]} outside, {n_labelled[1]} inside",
        "intervals": f"{LEVEL:.0%} of a bootstrap over pieces of the sky",
        "software": software(),
    }
