"""What one version of the catalogue consists of: the manifest, and the snapshot that publishes it.

A manifest is immutable and says nothing about when or where it was made, so equal catalogues have
equal manifests, whichever executor wrote them and however often they were interrupted.  Its name is
the hash of its text.  A snapshot is a small object with the next free number, created with a
conditional PUT: of two concurrent commits one gets the number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

from xpscale.bands import Bands
from xpscale.catalog.layout import kind_of, part_key, product_of
from xpscale.errors import InvalidInputError
from xpscale.json_files import from_fields, parse_json
from xpscale.release import Release, release_of
from xpscale.schema import FULL_PRECISION, Column, TableLayout, checked_outputs
from xpscale.types import Part

__all__ = ["Manifest", "Quarantined", "RunIdentity", "Snapshot"]


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What determines a catalogue's content: two runs that agree in all of this write the same
    rows.

    Parameters
    ----------
    input_digest
        Content hash of the spectra that go in.
    model_id
        Content hash of architecture, weights and scaling.
    n_latents
        L.
    n_bp, n_rp
        Coefficients of each band; together C.
    release
        Name of the data release that the spectra are of.
    n_tasks
        How many partitions the run has.
    outputs
        What is computed, of `xpscale.schema.OUTPUTS` in their order.
    schema_version
        `xpscale.schema.SCHEMA_VERSION`.
    software
        What computes: `xpscale.runtime.preflight.software_text`.
    precision
        Of reconstruction and scatter: ``float32``, or the largest rounding error as a fraction of
        the total error.
    companions
        What came along with the spectra, of `xpscale.companions.COMPANIONS`.
    pixel_positions
        Whether positions are the centres of the pixels in the identifiers.
    truncated
        Whether orders beyond the archive's numbers of relevant bases were left out.
    kept_products, kept_columns
        As of `xpscale.schema.TableLayout`.
    kept_rows
        Of a copy that holds a share of a catalogue: which rows, in words; empty for all.

    Raises
    ------
    InvalidInputError
        The outputs are not known.
    """

    input_digest: str
    model_id: str
    n_latents: int
    n_bp: int
    n_rp: int
    release: str
    n_tasks: int
    outputs: tuple[str, ...]
    schema_version: str
    software: str
    precision: str = FULL_PRECISION
    companions: tuple[str, ...] = ()
    pixel_positions: bool = False
    kept_products: tuple[str, ...] = ()
    kept_columns: tuple[str, ...] = ()
    kept_rows: str = ""
    truncated: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", checked_outputs(self.outputs))

    @property
    def bands(self) -> Bands:
        """The numbers of BP and RP coefficients."""
        return Bands(self.n_bp, self.n_rp)

    @property
    def n_coefficients(self) -> int:
        """C."""
        return self.bands.n_coefficients

    @property
    def gaia_release(self) -> Release:
        """The data release, as far as xpscale knows its name."""
        return release_of(self.release, self.bands)

    @property
    def layout(self) -> TableLayout:
        """What determines the columns of its products."""
        return TableLayout(
            self.n_latents,
            self.n_coefficients,
            self.gaia_release,
            self.outputs,
            self.precision,
            self.companions,
            self.pixel_positions,
            self.kept_products,
            self.kept_columns,
        )

    @property
    def products(self) -> tuple[str, ...]:
        """The products that hold the outputs, ``latents`` first."""
        return self.layout.products

    def columns(self, product: str) -> tuple[Column, ...]:
        """The columns of a product of this run."""
        return self.layout.columns(product)

    @staticmethod
    def from_json(text: str | bytes) -> RunIdentity:
        """The identity with these fields."""
        return from_fields(RunIdentity, parse_json(text))

    def differences(self, other: RunIdentity) -> dict[str, tuple[object, object]]:
        """Fields in which two identities differ, with both values, this one's first."""
        mine, theirs = asdict(self), asdict(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


@dataclass(frozen=True, order=True, slots=True)
class Quarantined:
    """A task that a version was published without: its key, its rows, and why."""

    task: str
    n_rows: int
    reason: str


@dataclass(frozen=True)
class Manifest:
    """Every part of one catalogue version, sorted by product and position.

    ``n_in = n_out + sum(n_rejected.values())``, and each product has ``n_out`` rows.
    ``quarantined`` names the tasks it was published without (``--skip-damaged``); their rows are in
    no other number.  ``stored_digest`` is the digest of the text that it was read from, which
    another version of xpscale may have written differently.
    """

    identity: RunIdentity
    parts: tuple[Part, ...]
    n_in: int
    n_rejected: Mapping[str, int] = field(default_factory=dict)
    quarantined: tuple[Quarantined, ...] = ()
    stored_digest: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        ordered = sorted(
            self.parts, key=lambda part: (product_of(part.key), part.pixel.index_range, part.key)
        )
        object.__setattr__(self, "parts", tuple(ordered))
        object.__setattr__(self, "n_rejected", dict(sorted(self.n_rejected.items())))
        object.__setattr__(self, "quarantined", tuple(sorted(self.quarantined)))
        for part in ordered:  # so no manifest leads out of the catalogue
            if part.key != part_key(product_of(part.key), part.pixel):
                raise InvalidInputError(
                    f"the part {part.key!r} of {part.pixel} has a key that no part has",
                    "The manifest is damaged, or somebody changed it: do not trust the catalogue",
                )
        for product in self.identity.products:
            rows = sum(part.n_rows for part in self.of(product))
            if rows != self.n_out:
                raise InvalidInputError(
                    f"{product} has {rows} rows, but {self.n_in} read less"
                    f" {sum(self.n_rejected.values())} rejected make {self.n_out}"
                )

    @property
    def n_out(self) -> int:
        """Rows in the catalogue."""
        return self.n_in - sum(self.n_rejected.values())

    @property
    def n_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.n_bytes for part in self.parts)

    def of(self, product: str) -> tuple[Part, ...]:
        """The parts of one product, sorted by position."""
        return tuple(part for part in self.parts if product_of(part.key) == product)

    def to_json(self) -> str:
        """The manifest as JSON: the same text for the same content."""
        fields = {
            "identity": asdict(self.identity),
            "n_in": self.n_in,
            "n_rejected": self.n_rejected,
            "quarantined": [asdict(task) for task in self.quarantined],
        }
        head = json.dumps(fields, sort_keys=True)[:-1]
        rows = ",\n".join(json.dumps(part.to_dict(), sort_keys=True) for part in self.parts)
        return f'{head}, "parts": [\n{rows}\n]}}\n'

    @cached_property
    def digest(self) -> str:
        """sha256 of `to_json`, or of the text that was read; the manifest's name."""
        return self.stored_digest or hashlib.sha256(self.to_json().encode()).hexdigest()

    @staticmethod
    def from_json(text: str | bytes) -> Manifest:
        """The manifest that `to_json` wrote."""
        data = text.encode() if isinstance(text, str) else text
        digest = hashlib.sha256(data).hexdigest()
        return from_fields(Manifest, {**parse_json(data), "stored_digest": digest})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One published version of the catalogue.

    Parameters
    ----------
    number
        1, 2, 3, ...; the highest is current.
    manifest_key
        Key of its manifest, which carries the manifest's sha256.
    parent
        Number of the version before it, 0 for the first.
    created
        ISO 8601 time, UTC.
    message
        What the committer said about it.
    """

    number: int
    manifest_key: str
    parent: int
    created: str
    message: str

    def __post_init__(self) -> None:
        if kind_of(self.manifest_key) != "manifest":
            raise InvalidInputError(
                f"snapshot {self.number} names {self.manifest_key!r}, which is no manifest",
                "It is damaged, or somebody changed it: do not trust the catalogue",
            )

    def to_json(self) -> str:
        """The snapshot as JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> Snapshot:
        """The snapshot that `to_json` wrote."""
        return from_fields(Snapshot, parse_json(text))
