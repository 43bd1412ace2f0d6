"""Everything that determines a training run, apart from its data."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.model.architectures import ARCHITECTURES
from xpscale.model.card import Architecture
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.settings.file import load_settings

__all__ = ["PRESETS", "SCHEDULES", "TrainingSettings"]

SCHEDULES = ("cosine", "restarts")
KEPT = ("best", "last")
PRECISIONS = ("float32", "bf16")

WANTED = {
    int: "a whole number",
    float: "a number",
    str: "a word in quotes",
    bool: "true or false",
    tuple: "a list of whole numbers",
}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Settings of a training run; two runs that agree in these, data and machine make the same
    weights.

    Parameters
    ----------
    epochs
        Passes over the training rows.
    batch_size
        Rows a step.
    learning_rate
        At its highest (`xpscale.training.optimizer`).
    muon_rate
        Learning rate of the square weight matrices, which Muon moves, in units of
        ``learning_rate``; 0: AdamW moves them like all others.
    schedule
        ``"cosine"``: one linear epoch up, then a half cosine down to zero at the last step;
        ``"restarts"``: a half cosine down every ``restart_epochs``, as in the paper.
    restart_epochs
        Period of ``"restarts"``.
    weight_decay, second_moment_decay
        lambda, and beta_2 of AdamW.
    max_gradient_norm
        Gradients are scaled down to this norm, so that a few bad spectra cannot throw the weights;
        0: never.
    free_nats
        A latent whose mean KL over a batch is below this many nats is not pulled further towards
        the prior (free bits, Kingma et al. 2016, arXiv:1606.04934, appendix C), so that no latent
        collapses before it has found its use; 0: the paper's loss.  They fall to 0 by the middle of
        training: a latent that has nothing to tell by then may go.
    masked_fraction
        Share of the training spectra of which the encoder sees a part only, and learns to say what
        it would of the whole (`xpscale.training.loss`); for networks that need errors.
    added_noise
        Noise of up to this many times its errors is added to every training spectrum, with errors
        to match (`xpscale.training.loss`); 0: none.  From the middle of training it falls to 0 at
        the end: scatter that noise hides is learnt from the spectra as they are.
    network
        Name of the architecture: a key of `xpscale.model.architectures.ARCHITECTURES`.
    n_latents, hidden
        L and the widths of the network.
    keep, patience
        Which weights become the model: ``"best"``, those after the epoch of lowest held-out loss,
        or ``"last"``; and epochs without a lower one after which training stops (0: never).
    precision
        ``"float32"``, or ``"bf16"``: matrix products in bfloat16, the loss and the held-out loss in
        float32.
    compile
        Whether ``torch.compile`` compiles the step: minutes once, then faster on a GPU.
    held_out_fraction, split_seed
        Share of the sky never trained on, and which.
    max_rows
        Most training rows held in memory (880 bytes a row for 110 coefficients); if there are more,
        they are streamed from where they are stored, in shuffled windows of half as many.
    max_held_out_rows
        Most held-out rows the loss is computed on every epoch; more are thinned at random.
    seed
        Of initial weights, order of rows, and draws from the posterior.
    """

    epochs: int = 200
    batch_size: int = 256
    learning_rate: float = 4e-3
    muon_rate: float = 2.0
    schedule: str = "cosine"
    restart_epochs: int = 500
    weight_decay: float = 0.01
    second_moment_decay: float = 0.99
    max_gradient_norm: float = 10.0
    free_nats: float = 0.7
    masked_fraction: float = 0.15
    added_noise: float = 1.5
    network: str = "iterative"
    n_latents: int = 6
    hidden: tuple[int, ...] = (84, 84, 84)
    keep: str = "best"
    patience: int = 0
    precision: str = "float32"
    compile: bool = False
    held_out_fraction: float = 0.1
    split_seed: int = 0
    max_rows: int = 2_000_000
    max_held_out_rows: int = 50_000
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        _known(self.network, ARCHITECTURES, "network")
        for name in ("epochs", "batch_size", "restart_epochs", "max_rows", "max_held_out_rows"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        not_negative = "weight_decay", "max_gradient_norm", "free_nats", "added_noise", "patience"
        for name in (*not_negative, "muon_rate"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        widths = (self.n_latents, *self.hidden)
        are_widths = all(isinstance(width, int) and width >= 1 for width in widths)
        _require(are_widths, "n_latents, hidden", widths, "all 1 or more")
        is_masked_blindly = self.masked_fraction and not ARCHITECTURES[self.network].needs_errors
        no_masks = f"0 for {self.network}, which does not know missing elements"
        for name, holds, wanted in (
            ("hidden", len(self.hidden) >= 1, "at least one width"),
            ("batch_size", self.batch_size >= 2, "at least 2, for batch normalization"),
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("second_moment_decay", 0 <= self.second_moment_decay < 1, "in [0, 1)"),
            ("masked_fraction", 0 <= self.masked_fraction < 1, "in [0, 1)"),
            ("masked_fraction", not is_masked_blindly, no_masks),
            ("held_out_fraction", 0 <= self.held_out_fraction < 1, "in [0, 1)"),
            ("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            ("keep", self.keep in KEPT, f"one of {', '.join(KEPT)}"),
            ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
        ):
            _require(holds, name, getattr(self, name), wanted)

    @property
    def split(self) -> HeldOutSplit:
        """Which part of the sky is held out."""
        return HeldOutSplit(self.held_out_fraction, self.split_seed)

    def architecture(self, bands: Bands) -> Architecture:
        """The network's widths, for spectra of these bands."""
        return Architecture(bands, self.n_latents, self.hidden, self.network)

    def learning_rate_at(self, epoch: float) -> float:
        """The learning rate when ``epoch`` epochs (a fraction inside an epoch) have been done."""
        if self.schedule == "restarts":
            return _half_cosine(
                self.learning_rate, math.floor(epoch) % self.restart_epochs / self.restart_epochs
            )
        rise = min(1.0, (epoch + 0.01) / min(1.0, self.epochs / 2))
        return rise * _half_cosine(self.learning_rate, epoch / self.epochs)

    def free_nats_at(self, epoch: float) -> float:
        """The free nats of a latent when ``epoch`` epochs (a fraction inside an epoch) have been
        done.
        """
        return self.free_nats * max(0.0, 1 - 2 * epoch / self.epochs)

    def added_noise_at(self, epoch: float) -> float:
        """The noise added to spectra when ``epoch`` epochs (a fraction inside an epoch) have been
        done.
        """
        return self.added_noise * min(1.0, 2 * (1 - epoch / self.epochs))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @staticmethod
    def from_toml(path: str | Path) -> TrainingSettings:
        """Settings from a TOML file: its table ``[training]``, or all of a file without tables.

        ``preset = "laroche2024"`` starts from a preset; every other key is a field of this class.

        Raises
        ------
        NotFoundError
            If there is no such file.
        InvalidInputError
            If it is no TOML, or has a key or a value that no setting has.
        """
        return TrainingSettings.from_table(load_settings(path).training, f"{path}: [training]")

    @staticmethod
    def choose(path: str = "", preset: str = "") -> TrainingSettings:
        """Those of a file, or a preset's; the default ones if neither is given.

        Parameters
        ----------
        path
            Of a TOML file.
        preset
            A key of `PRESETS`.

        Raises
        ------
        NotFoundError, InvalidInputError
            As `from_toml`, or if both are given.
        """
        if preset and path and load_settings(path).training:
            raise InvalidInputError(
                "--settings and --preset exclude each other",
                f'Write preset = "{preset}" into {path}, with what differs',
            )
        if path and not preset:
            return TrainingSettings.from_toml(path)
        return TrainingSettings.from_table({"preset": preset} if preset else {}, "--preset")

    @staticmethod
    def from_table(table: Mapping[str, Any], where: str) -> TrainingSettings:
        """Settings from a table as TOML has it; see `from_toml`.

        Parameters
        ----------
        table
            Setting by name.
        where
            What to call the table in errors.
        """
        values = dict(table)
        preset = values.pop("preset", "default")
        _known(preset, PRESETS, f"{where}: preset")
        types = {f.name: type(getattr(PRESETS[preset], f.name)) for f in fields(TrainingSettings)}
        for name, value in values.items():
            _known(name, types, f"{where}: setting")
            kind = types[name]
            accepted: Any = {float: (float, int), tuple: list}.get(kind, kind)
            if not isinstance(value, accepted) or isinstance(value, bool) is not (kind is bool):
                raise InvalidInputError(f"{where}: {name} is {value!r}", f"Give {WANTED[kind]}")
            values[name] = float(value) if kind is float else value
        return replace(PRESETS[preset], **values)


def _known(name: object, names: dict[str, Any], what: str) -> None:
    if name not in names:
        close = difflib.get_close_matches(str(name), names, n=1)
        remedy = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}"
        raise InvalidInputError(f"{what} {name!r} is not known", remedy)


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise InvalidInputError(f"{name} is {value!r}", f"It must be {wanted}")


def _half_cosine(highest: float, fraction: float) -> float:
    return highest * (1 + math.cos(math.pi * fraction)) / 2


LAROCHE2024 = TrainingSettings(
    epochs=5000,
    batch_size=1024,
    learning_rate=1e-4,
    muon_rate=0.0,
    schedule="restarts",
    restart_epochs=500,
    second_moment_decay=0.999,
    max_gradient_norm=0.0,
    free_nats=0.0,
    masked_fraction=0.0,
    added_noise=0.0,
    network="scatter_vae",
    hidden=(90, 70, 50, 30, 10),
    keep="last",
)

PRESETS = {
    "default": TrainingSettings(),
    "wide": TrainingSettings(hidden=(160, 160, 160), epochs=100),
    "laroche2024": LAROCHE2024,
}
"""Settings by name; ``wide`` is the default network with three times its multiplications
(``design/011-better-model.md``), ``laroche2024`` are those of the paper's released training
script."""
