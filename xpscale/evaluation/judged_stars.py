"""The one pass over a store: held-out stars go to listeners, and as many rows stay in memory as
methods need that look at all rows together.

Which rows stay depends on their ``source_id`` and a seed alone: the M smallest hashes, stars with
labels first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.evaluation.bootstrap import sky_groups
from xpscale.evaluation.label_tables import LEAST_STARS, LabelTable
from xpscale.model.scaling import trainable_rows
from xpscale.sampling.cells import colour_and_magnitude
from xpscale.sampling.hashing import uniform_hash
from xpscale.spectra import SpectraBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.sampling.held_out import HeldOutSplit
    from xpscale.spectra import SpectraReader

__all__ = ["Stars", "read_stars"]

BLOCK_ROWS = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class Stars:
    """Usable spectra with what is known of their stars.

    Parameters
    ----------
    batch
        The spectra, N rows, with errors.
    group
        `sky_groups`, with shape (N,).
    colour, magnitude
        BP - RP and G in mag, with shape (N,).
    labels
        By name, with shape (N,), NaN where not known; empty without labels.
    """

    batch: SpectraBatch
    group: NDArray[np.int64]
    colour: NDArray[np.float64]
    magnitude: NDArray[np.float64]
    labels: dict[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.batch)

    @staticmethod
    def of(batch: SpectraBatch, labels: LabelTable | None) -> Stars:
        """Usable spectra as stars.

        Parameters
        ----------
        batch
            The spectra.
        labels
            Labels of some of them.
        """
        colour, magnitude = colour_and_magnitude(
            batch.coefficients, batch.phot_g_mean_flux, batch.bands
        )
        return Stars(
            batch,
            sky_groups(batch.ra, batch.dec),
            colour,
            magnitude,
            labels.of(batch.source_id) if labels else {},
        )

    def take(self, rows: NDArray[Any]) -> Stars:
        """Some of the stars: an index or a mask."""
        labels = {name: values[rows] for name, values in self.labels.items()}
        return replace(
            self,
            batch=self.batch.take(rows),
            group=self.group[rows],
            colour=self.colour[rows],
            magnitude=self.magnitude[rows],
            labels=labels,
        )

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        """Stars of which all labels are known, with shape (N,)."""
        known = np.full(len(self), bool(self.labels))
        for values in self.labels.values():
            known &= np.isfinite(values)
        return known

    @property
    def labelled(self) -> Stars:
        """The stars of which all labels are known."""
        return self.take(self.is_labelled)


class _Kept:
    """The stars of the smallest keys."""

    def __init__(self, n_rows: int, seed: int) -> None:
        self.n_rows, self.seed, self.parts = n_rows, seed, list[Stars]()

    def add(self, stars: Stars) -> None:
        self.parts.append(stars)
        if sum(map(len, self.parts)) > 3 * self.n_rows:
            self.parts = [self.best()]

    def best(self) -> Stars:
        """The stars kept, sorted by ``source_id``."""
        batch = SpectraBatch.concatenate(stars.batch for stars in self.parts)
        names = self.parts[0].labels
        columns = {
            name: np.concatenate([getattr(stars, name) for stars in self.parts])
            for name in ("group", "colour", "magnitude")
        }
        labels = {name: np.concatenate([s.labels[name] for s in self.parts]) for name in names}
        together = Stars(batch, **columns, labels=labels)
        key = uniform_hash(batch.source_id, self.seed) + ~together.is_labelled
        kept = np.argsort(key, kind="stable")[: self.n_rows]
        return together.take(kept[np.argsort(batch.source_id[kept], kind="stable")])


def read_stars(
    reader: SpectraReader,
    split: HeldOutSplit,
    labels: LabelTable | None,
    listeners: Iterable[Callable[[Stars, int], None]] = (),
    *,
    max_rows: int = 20_000,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> tuple[Stars, Stars]:
    """Read a store once.

    Parameters
    ----------
    reader
        The store.
    split
        Which part of the sky is held out.
    labels
        Labels of some of the stars.
    listeners
        Called with the usable held-out stars of each block, and a seed for what is drawn at random.
    max_rows
        Rows to keep of each of the two sets.
    seed
        Of the hash that rows are kept by, and of listeners' draws.
    progress
        Called with the fraction that is read.

    Returns
    -------
    Stars, Stars
        Those outside and those inside of the held-out part.

    Raises
    ------
    InvalidInputError
        Too few stars are usable, held out or labelled.
    """
    listeners = tuple(listeners)
    outside, inside, n_read, number = _Kept(max_rows, seed), _Kept(max_rows, seed), 0, 0
    for partition in reader.partitions:
        for batch in reader.read_in_blocks(partition, BLOCK_ROWS):
            n_read, number = n_read + len(batch), number + 1
            # a copy: the reader fills the same memory again
            stars = Stars.of(batch.take(np.flatnonzero(trainable_rows(batch))), labels)
            held_out = split.held_out(stars.batch)
            outside.add(stars.take(~held_out))
            inside.add(judged := stars.take(held_out))
            if len(judged):
                for listener in listeners:
                    listener(judged, 1_000_003 * seed + number)
            if progress:
                progress(n_read / reader.n_rows)
    found = outside.best(), inside.best()
    _require_enough(found, labels, split)
    return found


def _require_enough(
    found: tuple[Stars, Stars], labels: LabelTable | None, split: HeldOutSplit
) -> None:
    """Refuse what tells nothing."""
    for stars, where in zip(found, ("outside of", "in"), strict=True):
        if len(stars) < LEAST_STARS:
            raise InvalidInputError(
                f"only {len(stars)} usable spectra are {where} the held-out part of the sky"
                f" ({split})",
                f"Evaluate on at least {LEAST_STARS} on both sides",
            )
    if labels is None:
        return
    n_both = [int(stars.is_labelled.sum()) for stars in found]
    if not any(n_both):
        raise InvalidInputError(
            f"{labels.name} has all of {', '.join(labels.labels)} for none of the usable spectra",
            "Give labels of the same sources, by their source_id in the same release",
        )
    if min(n_both) < LEAST_STARS:
        raise InvalidInputError(
            f"{labels.name} has all of {', '.join(labels.labels)} for {n_both[1]} held-out stars"
            f" and {n_both[0]} others",
            f"Give at least {LEAST_STARS} of each, or leave labels out that few stars have",
        )
    for name in labels.labels:
        values = np.concatenate([stars.labelled.labels[name] for stars in found])
        if np.ptp(values) == 0:
            raise InvalidInputError(
                f"the label {name} of {labels.name} is {values[0]:g} for all {len(values):,} stars",
                "Leave it out, or name its column with --label",
            )
