"""What a training run is to do, and what tells two of them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpscale.errors import ConflictError
from xpscale.model.card import ModelCard
from xpscale.model.checkpoint import TrainedModel, load_model
from xpscale.model.folder import CARD
from xpscale.sampling.sample import Sample
from xpscale.spectra import SpectraReader
from xpscale.storage import Storage
from xpscale.training.settings import TrainingSettings

__all__ = ["TrainingJob", "finished_model", "identity_of", "require_same"]


@dataclass(frozen=True)
class TrainingJob:
    """What is to be trained on what, and where it goes; can be sent to other processes.

    Parameters
    ----------
    reader
        The spectra.
    destination
        The model's folder.
    settings
        How to train.
    sample
        Which objects to train on; all usable ones outside the held-out pixels if ``None``.
    checkpoint_every_s
        Seconds between checkpoints; one is also written when the run is interrupted.
    device
        A torch device.
    """

    reader: SpectraReader
    destination: str
    settings: TrainingSettings
    sample: Sample | None = None
    checkpoint_every_s: float = 120.0
    device: str = "cpu"

    @property
    def n_rows(self) -> int:
        """Rows of the sample or of all spectra, held-out ones included."""
        return self.reader.n_rows if self.sample is None else len(self.sample)

    @property
    def is_done(self) -> bool:
        """Whether the folder has a finished model."""
        return Storage(self.destination).exists(CARD)

    def identity(self, n_processes: int) -> dict[str, Any]:
        """What determines the weights: two runs that agree in it are the same run."""
        return {
            "settings": self.settings.to_dict(),
            "release": self.reader.release.name,
            "bands": str(self.reader.bands),
            "store_digest": self.reader.digest,
            "sample_digest": "" if self.sample is None else self.sample.digest,
            "n_processes": n_processes,
        }


def finished_model(job: TrainingJob, n_processes: int) -> TrainedModel:
    """The model that a job has made before.

    Parameters
    ----------
    job
        That is done.
    n_processes
        That would share its batches now.

    Raises
    ------
    ConflictError
        Another job has made it; the message lists the differences.
    """
    folder = Storage(job.destination)
    model = load_model(folder)
    found = identity_of(model.card)
    require_same(job.identity(n_processes), found, f"the model at {folder}")
    return model


def identity_of(card: ModelCard) -> dict[str, Any]:
    """What determined the weights of a model, as `TrainingJob.identity`."""
    return {
        "settings": card.training,
        "release": card.release,
        "bands": str(card.architecture.bands),
        "store_digest": card.data.get("store_digest", ""),
        "sample_digest": card.data.get("sample_digest", ""),
        "n_processes": card.data.get("n_processes", 1),
    }


def require_same(wanted: dict[str, Any], found: dict[str, Any], where: str) -> None:
    """Refuse to go on with a run that differs.

    Parameters
    ----------
    wanted, found
        Identities.
    where
        What the second is of.

    Raises
    ------
    ConflictError
        The message names every difference.
    """
    wanted, found = ({**run.pop("settings"), **run} for run in (dict(wanted), dict(found)))
    names = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if names:
        differences = "; ".join(
            f"{name} {found.get(name)} there, {wanted.get(name)} here" for name in names
        )
        raise ConflictError(
            f"{where} is of another run: {differences}",
            "Choose another folder, or the same settings",
        )
