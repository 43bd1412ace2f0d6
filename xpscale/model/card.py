"""The model card: what a model is and where it comes from, as ``card.json``.

Like `xpscale.model.portable`, which reads it, this module needs the standard library alone.
"""

from __future__ import annotations

import json
import math
import platform
import re
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.json_files import from_fields, parse_json, read_value
from xpscale.release import CREDIT

__all__ = ["CITATION", "FORMAT", "Architecture", "ModelCard", "software"]

FORMAT = 2
"""Of the model's folder: raise it when an older xpscale could no longer read a new one.  1 knew
neither the bands nor the release."""

CITATION = (
    "Laroche A., Speagle J. S., 2025, ApJ 979, 5, doi:10.3847/1538-4357/ad9607",
    "Gaia Collaboration, Vallenari A. et al., 2023, A&A 674, A1, doi:10.1051/0004-6361/202243940",
    CREDIT,
)
"""What to cite when a model or its products are used."""

MAX_BYTES = 4_000_000
MAX_WIDTH, MAX_DEPTH = 8192, 64
"""Of a card, and of a network."""

NUMBERS = re.compile(r"\[[-+.\de,\s]+\]")


def software() -> dict[str, str]:
    """Versions of what a model is made with."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("xpscale", "torch", "numpy")},
    }


@dataclass(frozen=True, slots=True)
class Architecture:
    """The widths that define a network.

    Parameters
    ----------
    bands
        How many BP and RP coefficients a spectrum has.
    n_latents
        L, the number of latents.
    hidden
        Widths of the encoder's layers; the decoders mirror them.
    name
        What kind of network it is: a key of `xpscale.model.architectures.ARCHITECTURES`.

    Raises
    ------
    InvalidInputError
        If a width is below 1, or there are too many.
    """

    bands: Bands
    n_latents: int = 6
    hidden: tuple[int, ...] = (90, 70, 50, 30, 10)
    name: str = "scatter_vae"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if min(self.n_latents, *self.hidden, len(self.hidden)) < 1:
            raise InvalidInputError(f"every width must be at least 1: {self}")
        if max(self.n_latents, *self.hidden) > MAX_WIDTH or len(self.hidden) > MAX_DEPTH:
            raise InvalidInputError(
                f"a network has at most {MAX_DEPTH} layers of at most {MAX_WIDTH:,}:"
                f" {str(self)[:200]}",
                "The model is damaged, or made to fill the memory",
            )

    @property
    def n_coefficients(self) -> int:
        """C, the number of coefficients of a spectrum."""
        return self.bands.n_coefficients

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {**asdict(self), "hidden": list(self.hidden)}


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is and where it comes from.

    Parameters
    ----------
    architecture
        Bands and widths of the network.
    release
        Name of the data release whose spectra it takes; empty if nobody said.
    training
        The settings it was trained with.
    data
        Digests of store and sample, the sample's plan, and how many rows were trained on, held out
        and left out, by reason.
    metrics
        Figures of merit by name, in nats per spectrum where they are losses; None where not finite.
    software
        Versions it was made with.
    notes
        Anything a user should know.
    licence
        Licence of the weights.
    citation
        What to cite.
    created
        When, ISO 8601 in UTC.
    model_id
        The content hash; filled in by `xpscale.model.checkpoint.TrainedModel.create`.
    decoder_sha256
        Of the file with the decoder alone; filled in, too.
    """

    architecture: Architecture
    release: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    notes: str = ""
    licence: str = "MIT"
    citation: tuple[str, ...] = CITATION
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    model_id: str = ""
    decoder_sha256: str = ""

    def to_json(self) -> str:
        """The card as JSON, with every list of numbers on one line."""
        metrics = {
            name: value if isinstance(value, int | float) and math.isfinite(value) else None
            for name, value in self.metrics.items()
        }
        content = {
            **asdict(self),
            "architecture": self.architecture.to_dict(),
            "metrics": metrics,
            "format": FORMAT,
        }
        text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        return NUMBERS.sub(_on_one_line, text) + "\n"

    @staticmethod
    def from_json(text: str | bytes, where: str = "card.json") -> ModelCard:
        """The card that `to_json` wrote.

        Parameters
        ----------
        text
            The JSON.
        where
            What to call it in errors.

        Raises
        ------
        InvalidInputError
            If it is of another format, or is no card.
        """

        def read(text: str | bytes) -> ModelCard:
            content = parse_json(text, MAX_BYTES)
            _require_format(content["format"], where)
            known = {each.name for each in fields(ModelCard)}
            return from_fields(ModelCard, {n: v for n, v in content.items() if n in known})

        return read_value(read, text, where, "model card", "Point at a folder xpscale wrote")


def _on_one_line(found: re.Match[str]) -> str:
    return " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]")


def _require_format(found: Any, where: str) -> None:
    if found != FORMAT:
        is_older = isinstance(found, int) and found < FORMAT
        raise InvalidInputError(
            f"{where} has format {found}, this version of xpscale reads {FORMAT}",
            "Train or import the model again" if is_older else "Update xpscale",
        )
