"""How many basis coefficients each band of a spectrum has.

The width of a band is a property of the data: 55 BP and 55 RP coefficients in Gaia DR3, other
numbers in the cycle behind DR4.  It is read where spectra are read and travels with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xpscale.errors import InvalidInputError

__all__ = ["Bands"]

MAX_COEFFICIENTS = 4096
"""Of a band; the Gaia archive has 55.  A larger number is damage, or made to fill the memory."""


@dataclass(frozen=True, order=True, slots=True)
class Bands:
    """The number of BP and of RP coefficients, which lie side by side: first BP, then RP.

    Parameters
    ----------
    n_bp, n_rp
        Coefficients of each band, at least one and at most `MAX_COEFFICIENTS`.

    Raises
    ------
    InvalidInputError
        If a band has none, or too many.

    Examples
    --------
    >>> bands = Bands(51, 55)
    >>> bands.n_coefficients, bands.label(0), bands.label(51)
    (106, 'BP 0', 'RP 0')
    """

    n_bp: int
    n_rp: int

    def __post_init__(self) -> None:
        if min(self.n_bp, self.n_rp) < 1 or max(self.n_bp, self.n_rp) > MAX_COEFFICIENTS:
            raise InvalidInputError(
                f"a spectrum cannot have {self.n_bp} BP and {self.n_rp} RP coefficients",
                f"Each band needs at least one coefficient, and at most {MAX_COEFFICIENTS:,}",
            )

    @property
    def n_coefficients(self) -> int:
        """C, the coefficients of both bands."""
        return self.n_bp + self.n_rp

    @property
    def bp(self) -> slice:
        """The columns of BP among the coefficients."""
        return slice(0, self.n_bp)

    @property
    def rp(self) -> slice:
        """The columns of RP among the coefficients."""
        return slice(self.n_bp, self.n_coefficients)

    @property
    def n_correlations(self) -> tuple[int, int]:
        """Correlations among the coefficients of BP and of RP: n (n - 1) / 2 each."""
        return self.n_bp * (self.n_bp - 1) // 2, self.n_rp * (self.n_rp - 1) // 2

    def label(self, column: int) -> str:
        """What a column is called: ``BP 3``."""
        return f"BP {column}" if column < self.n_bp else f"RP {column - self.n_bp}"

    def to_dict(self) -> dict[str, int]:
        """The numbers, as JSON can hold them."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Bands:
        """The bands that `to_dict` wrote; other entries of the mapping are ignored.

        Raises
        ------
        KeyError
            If ``n_bp`` or ``n_rp`` is missing.
        """
        return Bands(int(values["n_bp"]), int(values["n_rp"]))

    @staticmethod
    def parse(text: str) -> Bands:
        """The bands that ``N_BP,N_RP`` spells.

        Raises
        ------
        InvalidInputError
            If the text is something else.

        >>> Bands.parse("48,44")
        Bands(n_bp=48, n_rp=44)
        """
        numbers = [word.strip() for word in text.replace("+", ",").split(",")]
        if len(numbers) != 2 or not all(word.isdecimal() for word in numbers):
            raise InvalidInputError(
                f"{text!r} does not give the numbers of BP and RP coefficients",
                "Give both, such as 55,55",
            )
        return Bands(int(numbers[0]), int(numbers[1]))

    def __str__(self) -> str:
        return f"{self.n_bp} BP + {self.n_rp} RP"
