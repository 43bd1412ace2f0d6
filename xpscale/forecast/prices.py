"""What a run costs, from a price table that the user gives.

The table is TOML with exactly the fields of `Prices`; ``pipelines/settings/prices.toml`` is one,
explained line by line.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from xpscale.errors import InvalidInputError
from xpscale.toml_files import read_toml, require_keys

__all__ = ["Cost", "Prices", "load_prices"]

HOUR_S = 3600.0
GB = 1e9


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices, all in one currency; 0 for what costs nothing.

    Parameters
    ----------
    currency
        Its name, for printing.
    worker_hour
        One worker process for an hour: a machine's price over the workers it runs.
    egress_gb, ingress_gb
        10^9 bytes from storage to the workers, and from the workers to storage.
    stored_gb_month
        10^9 bytes kept for a month.
    put_1000, get_1000
        A thousand requests that write, and that read.
    """

    currency: str
    worker_hour: float
    egress_gb: float
    ingress_gb: float
    stored_gb_month: float
    put_1000: float
    get_1000: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run costs; ``storage_month`` comes after it, every month, and is not in `total`."""

    currency: str
    workers: float
    egress: float
    ingress: float
    requests: float
    storage_month: float

    @property
    def total(self) -> float:
        """The run itself."""
        return self.workers + self.egress + self.ingress + self.requests

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for programs."""
        return {**asdict(self), "total": self.total}

    def __str__(self) -> str:
        return (
            f"{_money(self.total)} {self.currency}: workers {_money(self.workers)}, egress"
            f" {_money(self.egress)}, ingress {_money(self.ingress)}, requests"
            f" {_money(self.requests)}; keeping the catalogue {_money(self.storage_month)} a month"
        )

    @staticmethod
    def of(
        prices: Prices,
        *,
        worker_s: float,
        bytes_in: float,
        bytes_out: float,
        n_put: float,
        n_get: float,
    ) -> Cost:
        """The cost of a run.

        Parameters
        ----------
        prices
            The price table.
        worker_s
            Seconds, summed over all worker processes.
        bytes_in, bytes_out
            Bytes read and written.
        n_put, n_get
            Requests that write, and that read.
        """
        return Cost(
            prices.currency,
            workers=worker_s / HOUR_S * prices.worker_hour,
            egress=bytes_in / GB * prices.egress_gb,
            ingress=bytes_out / GB * prices.ingress_gb,
            requests=(n_put * prices.put_1000 + n_get * prices.get_1000) / 1000,
            storage_month=bytes_out / GB * prices.stored_gb_month,
        )


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.1 or amount == 0 else f"{amount:.1g}"


def load_prices(path: str | Path) -> Prices:
    """A price table; every field must be there, and nothing else.

    Raises
    ------
    NotFoundError
        The file does not exist.
    InvalidInputError
        It is not TOML, or a field is missing, unknown, negative or no number; the message names it.
    """
    values = read_toml(path, example="pipelines/settings/prices.toml")
    names = {field.name for field in fields(Prices)}
    require_keys(values, names, str(path))
    for name in sorted(names - {"currency"}):
        if (
            isinstance(values[name], bool)
            or not isinstance(values[name], int | float)
            or not values[name] >= 0
        ):
            raise InvalidInputError(
                f"{path}: {name} is {values[name]!r}", "Give a number that is not negative"
            )
    return Prices(**values)
