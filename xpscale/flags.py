"""The bits of the column ``flags`` and of those of labels, and what they say: the only place that
defines them.
"""

from __future__ import annotations

import enum
from typing import Self

__all__ = ["Flag", "LabelFlag", "WordedFlag"]


class WordedFlag(enum.IntFlag):
    """Bits that people can read; 0 means nothing to remark."""

    meaning: str
    """What a bit says, in a sentence for people."""

    def __new__(cls, value: int, meaning: str = "") -> Self:
        """A bit with its meaning."""
        flag = int.__new__(cls, value)
        flag._value_, flag.meaning = value, meaning
        return flag

    @property
    def words(self) -> str:
        """The names of the bits that are set, for people.

        >>> (Flag.POOR_FIT | Flag.PARTLY_SEEN).words
        'poor fit; partly seen'
        """
        return "; ".join((flag.name or "").lower().replace("_", " ") for flag in self)


class Flag(WordedFlag):
    """Bits of the column ``flags``."""

    ERRORS_UNUSABLE = (
        1,
        "No coefficient has a finite and positive error: nll and reduced_chi2 are NaN, and a"
        " network that needs errors gives the prior",
    )
    OUTSIDE_TRAINING_DOMAIN = (
        2,
        "The model extrapolates: the spectrum or its latents lie outside of what was seen in"
        " training",
    )
    """A coefficient lies outside the range seen in training by more than five times its noise and
    the training sample's spread; or the two leading ones lie where no training object is, by more
    than five times their noise; or the latents are farther out than those of 99.9 % of the training
    objects of like signal-to-noise.  A run that reads no errors cannot tell, and never sets it
    (`xpscale.model.typicality.outside`).
    """
    LATENT_VARIANCE_CLAMPED = 4, "A latent log variance ran against its bound"
    SCATTER_AT_BOUND = 8, "The intrinsic scatter of a coefficient is at the network's ceiling"
    """Above 0.99 of the sigmoid's ceiling; networks without one never set it."""
    POOR_FIT = 16, "reduced_chi2 is above 10: the reconstruction misses the spectrum"
    """This and the one before are only set in a catalogue with a reconstruction or a scatter."""
    PARTLY_SEEN = (
        32,
        "Some coefficients were not used (n_coefficients tells how many were): the posterior is as"
        " much wider",
    )
    """A band is missing, high orders are cut off, or they have no usable error."""


class LabelFlag(WordedFlag):
    """Bits of the flags of a label, such as ``teff_flags``."""

    FEW_LABELLED_STARS_NEAR = 1, "labelled stars tell little here"
    """More than half of the prior's variance is left."""
    OUTSIDE_THE_KNOWN_RANGE = 2, "outside the range of their labels"
