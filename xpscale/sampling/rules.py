"""How many objects a sample takes of each cell.

Letters: N available objects, N_c in cell c, k_c of them kept (`xpscale.sampling.sketch`), n to
draw.  A rule sets a target a_c; the expected number e_c follows it as far as there are objects::

    e_c = min(k_c, t a_c),   t such that sum_c e_c = n

    uniform      a_c = N_c                          every object is as likely as any other
    density      a_c = N_c^2                        an object is as likely as its cell is dense
    flattened    a_c = 1                            equally many of every cell, or all it has
    cut          a_c = N_c, or 0 if N_c < minimum   dense cells only

The number drawn is e_c rounded up or down at random, so that it is e_c on average and the sum is n:
systematic sampling (Madow & Madow 1944, Ann. Math. Stat. 15, 1).  With E_c = e_1 + .. + e_c and one
random v from 0 to 1::

    q_c = floor(E_c + v) - floor(E_{c-1} + v)

Within its cell an object is as likely as any other, so it is drawn with probability e_c / N_c,
exactly, and stands for N_c / e_c available ones (Horvitz & Thompson 1952, J. Am. Stat. Assoc. 47,
663): means over the sample with these weights are unbiased estimates for all available objects.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.sampling.sketch import water_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RULES", "allot", "quantile_count", "require_known", "rounded"]

RULES = ("uniform", "density", "flattened", "cut")


def allot(
    counts: NDArray[np.int64], kept: NDArray[np.int64], n: int, rule: str, min_count: int = 0
) -> NDArray[np.float64]:
    """Expected numbers e_c, with shape (K,).

    Parameters
    ----------
    counts, kept
        N_c and k_c, with shape (K,).
    n
        Number of objects to draw.
    rule
        One of `RULES`.
    min_count
        For the rule ``"cut"``: the fewest objects of a cell that is drawn from.

    Raises
    ------
    InvalidInputError
        If the rule is unknown, or there are fewer than n objects to draw from.
    """
    require_known(rule)
    allowed = counts >= max(min_count, 1)
    available = int(counts[allowed].sum())
    if not 1 <= n <= available:
        beyond = f" in cells of at least {min_count:,} objects" if min_count else ""
        raise InvalidInputError(
            f"cannot draw {n:,} objects of {available:,}{beyond}",
            "Ask for fewer: only usable objects outside the held-out pixels count",
        )
    n_kept = int(kept[allowed].sum())
    if n_kept < n:
        raise InvalidInputError(
            f"only {n_kept:,} of the {available:,} objects to draw {n:,} from were kept",
            "Raise the oversampling: they are a small part of the store",
        )
    exponent = {"uniform": 1, "density": 2, "flattened": 0, "cut": 1}[rule]
    targets = counts[allowed].astype(np.float64) ** exponent
    caps = kept[allowed]
    expected = np.zeros(len(counts))
    level = water_level(targets, caps, n)
    expected[allowed] = caps if math.isinf(level) else np.minimum(caps, level * targets)
    return expected


def require_known(rule: str) -> None:
    """Refuse what is not a rule.

    Raises
    ------
    InvalidInputError
        If it is none of `RULES`.
    """
    if rule not in RULES:
        raise InvalidInputError(
            f"no sampling rule is called {rule!r}", f"Rules are {', '.join(RULES)}"
        )


def quantile_count(counts: NDArray[np.int64], quantile: float) -> int:
    """The smallest N_c such that sparser cells hold at most a given share of all objects.

    Parameters
    ----------
    counts
        N_c, with shape (K,).
    quantile
        The share, from 0 to below 1.

    Raises
    ------
    InvalidInputError
        If the quantile is outside that range.
    """
    if not 0 <= quantile < 1:
        raise InvalidInputError(f"the quantile is {quantile}", "Use at least 0 and less than 1")
    occupied = np.sort(counts[counts > 0])
    if not len(occupied):
        return 0
    share = np.cumsum(occupied) / occupied.sum()
    return int(occupied[np.argmax(share > quantile)])


def rounded(expected: NDArray[Any], caps: NDArray[Any], v: float) -> NDArray[np.int64]:
    """Numbers q_c with shape (K,): e_c rounded up or down, with the same sum.

    Parameters
    ----------
    expected
        e_c, with shape (K,); their sum is a whole number.
    caps
        k_c, with shape (K,).
    v
        A random number from 0 to 1.
    """
    # whole numbers come first, where sums are exact: a cell that gives all it has must not be asked
    # for one more
    order = np.argsort(expected < caps, kind="stable")
    total = round(expected.sum())
    ends = np.cumsum(expected[order])
    ends[-1:] = total
    numbers = np.empty(len(expected), np.int64)
    numbers[order] = np.diff(np.floor(np.minimum(ends, total) + v), prepend=0.0).astype(np.int64)
    return numbers
