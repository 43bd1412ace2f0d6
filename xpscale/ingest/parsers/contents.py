"""What a parser makes of an input: its contents, in fragments; and the rows of a fragment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xpscale.ingest.table_formats import content_hash
from xpscale.spectra import SpectraBatch
from xpscale.store.partitions import COUNT_ORDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from xpscale.ingest.given_sources import SourceInput

__all__ = ["Contents", "Fragment", "FragmentRows", "Parser"]

WHOLE_SKY = (0, 12 * 4**COUNT_ORDER - 1)


@dataclass(frozen=True, slots=True)
class Fragment:
    """The part of an input that one task reads.

    Parameters
    ----------
    name
        What reports call it.
    key
        Its task key; changes with its content.
    n_rows
        Rows, about.
    source
        What its parser needs to read it.
    pixels
        First and last pixel of order 8 that it has rows in, as far as is known before reading.
    release
        Name of the data release that it says it is of; empty if it does not say.
    parts
        The fragments that it consists of, if it is a group of them; such a one has no source.
    """

    name: str
    key: str
    n_rows: int
    source: Any
    pixels: tuple[int, int] = WHOLE_SKY
    release: str = ""
    parts: tuple[Fragment, ...] = ()

    @staticmethod
    def group(parts: Sequence[Fragment]) -> Fragment:
        """Several fragments that one task reads, in their order."""
        first = parts[0]
        if len(parts) == 1:
            return first
        return Fragment(
            name=f"{first.name} and {len(parts) - 1} more",
            key=f"{first.key}.{content_hash(part.key for part in parts)[:8]}",
            n_rows=sum(part.n_rows for part in parts),
            source=None,
            pixels=(min(part.pixels[0] for part in parts), max(part.pixels[1] for part in parts)),
            parts=tuple(parts),
        )


@dataclass(frozen=True, slots=True, eq=False)
class FragmentRows:
    """All rows of a fragment.

    Parameters
    ----------
    batch
        The rows, with errors.
    faults
        Masks with shape (N,) of rows that are bad for a reason that only the input shows, by the
        names in `xpscale.row_rules`.
    correlations
        BP and RP correlations, each with shape (N, n (n - 1) / 2) for the n coefficients of its
        band; ``None`` if they are not kept.
    release
        Name of the data release that the rows say they are of; empty if they do not.
    """

    batch: SpectraBatch
    faults: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    correlations: tuple[NDArray[Any], NDArray[Any]] | None = None
    release: str = ""

    @staticmethod
    def concatenate(parts: Sequence[FragmentRows], release: str) -> FragmentRows:
        """The rows of several fragments in their order.

        Parameters
        ----------
        parts
            At least one, all of the same bands.
        release
            That of all.
        """
        names = dict.fromkeys(name for part in parts for name in part.faults)
        faults = {
            name: np.concatenate(
                [part.faults.get(name, np.zeros(len(part.batch), bool)) for part in parts]
            )
            for name in names
        }
        kept = [part.correlations for part in parts if part.correlations is not None]
        bp_rp = [np.concatenate(band) for band in zip(*kept, strict=True)]
        return FragmentRows(
            SpectraBatch.concatenate(part.batch for part in parts),
            faults,
            (bp_rp[0], bp_rp[1]) if bp_rp else None,
            release,
        )


class Parser(Protocol):
    """Reads the fragments of one format.  Travels to the workers with every task: small."""

    def read(self, fragment: Fragment) -> FragmentRows:
        """All rows of a fragment.

        Raises
        ------
        InvalidInputError
            It is damaged, or not what it seemed to be.
        """
        ...


@dataclass(frozen=True)
class Contents:
    """What an input holds.

    Parameters
    ----------
    kind
        Name of the format, a part of the identity of an ingest.
    description
        What lies there, for people.
    origin
        Where the rows come from, for the attributes of the store.
    parser
        Reads the fragments.
    fragments
        All of them.  Of a source in two of them, the row of the first is kept.
    digest
        Content hash of the input.
    digest_name
        Attribute of the store that keeps it.
    n_bytes
        Bytes of all files; 0 if they are not known.
    has_correlations
        Whether correlations of coefficients are read, too.
    sources
        The table of sources that its rows are joined with, if one was given.
    """

    kind: str
    description: str
    origin: str
    parser: Parser
    fragments: tuple[Fragment, ...]
    digest: str
    digest_name: str = "input_digest"
    n_bytes: int = 0
    has_correlations: bool = False
    sources: SourceInput | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this input from others, whatever its files contain; JSON values."""
        names = content_hash(fragment.name for fragment in self.fragments)
        return {"kind": self.kind, "files": names, "n_files": len(self.fragments)}


def fragment_key(number: int, *content: str) -> str:
    """``00012.1f2e3d4c``: the place of a fragment among the others, and a hash of its content.

    Parameters
    ----------
    number
        Its place.
    content
        What tells it from others.
    """
    return f"{number:05d}.{content_hash(content)[:8]}"
