"""The numbers of a spectra store that a person wants first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from xpscale.bands import Bands
from xpscale.columns import G_ZERO_POINT
from xpscale.storage import Storage
from xpscale.store.reader import open_store

__all__ = ["StoreInfo", "store_info"]


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """Numbers of a store.

    Parameters
    ----------
    url
        Where it is.
    release, origin
        Name of the data release, and what files the rows come from.
    n_rows, n_partitions
        Sources and partitions.
    bands
        The numbers of BP and RP coefficients of a source.
    partitions_by_order
        Partitions of each HEALPix order.
    magnitudes
        Sources by G magnitude, rounded down.
    n_read, n_rejected, n_movers
        Rows that its ingest read; rejected, by reason; written, but in another pixel of order 8
        than their identifier says.
    digest
        Content hash of the store.
    quarantined
        Names and reasons of the files that could not be read.
    """

    url: str
    release: str
    origin: str
    n_rows: int
    bands: Bands
    n_partitions: int
    partitions_by_order: Mapping[str, int]
    magnitudes: Mapping[str, int]
    n_read: int
    n_rejected: Mapping[str, int]
    n_movers: int
    digest: str
    quarantined: tuple[Mapping[str, str], ...] = ()

    def to_json(self) -> str:
        """All of it as one JSON object."""
        values = asdict(self)
        bands = {"n_coefficients": self.bands.n_coefficients, **values.pop("bands")}
        return json.dumps({**values, **bands}, indent=1)

    def __str__(self) -> str:
        n_rejected = sum(self.n_rejected.values())
        return "\n".join(
            [
                f"{self.n_rows:,} sources, {self.bands} coefficients",
                f"{self.release}: {self.origin}",
                f"digest {self.digest}",
                (
                    f"{self.n_read:,} read, {self.n_rows:,} written, {n_rejected:,} rejected;"
                    f" {self.n_movers:,} written lie in another pixel of order 8 than their"
                    " source_id"
                    " says"
                ),
                *_bars("rejected", self.n_rejected),
                *(f"set aside: {file['name']}: {file['reason']}" for file in self.quarantined),
                *_bars(f"{self.n_partitions:,} partitions", self.partitions_by_order, "order "),
                *_bars("sources by G magnitude, rounded down", self.magnitudes, "G "),
            ]
        )


def _bars(title: str, counts: Mapping[str, int], prefix: str = "") -> list[str]:
    """A title and a line for each number, the largest with a bar of 40 blocks; empty if there are
    no numbers.
    """
    if not counts:
        return []
    most, width = max(counts.values()), max(map(len, counts))
    lines = [title]
    for name, n in counts.items():
        whole, eighths = divmod(max(1, round(320 * n / most)), 8)
        bar = "█" * whole + " ▏▎▍▌▋▊▉"[eighths]
        label = prefix + (name.rjust(width) if prefix else name.ljust(width))
        lines.append(f"  {n:>{len(f'{most:,}')},} {label}  {bar}".rstrip())
    return lines


def store_info(url: str | Storage) -> StoreInfo:
    """What a store's attributes, its report, and the G flux of every source say."""
    store = open_store(url)
    report = store.report
    magnitudes: Counter[int] = Counter()
    for partition in store.partitions:
        flux = store.read_columns(partition, ["phot_g_mean_flux"])["phot_g_mean_flux"]
        g_mag = G_ZERO_POINT - 2.5 * np.log10(flux)
        magnitudes.update(np.floor(g_mag).astype(int).tolist())
    orders = Counter(partition.pixel.order for partition in store.partitions)
    return StoreInfo(
        url=store.url,
        release=store.release.name,
        origin=str(store.attributes.get("origin", "")),
        n_rows=store.n_rows,
        bands=store.bands,
        n_partitions=len(store.partitions),
        partitions_by_order={str(order): n for order, n in sorted(orders.items())},
        magnitudes={str(g): n for g, n in sorted(magnitudes.items())},
        n_read=report["n_read"],
        n_rejected=report["n_rejected"],
        n_movers=report["n_movers"],
        digest=store.digest,
        quarantined=tuple(report.get("quarantined", ())),
    )
