"""Bounds of the decoders, shared by the networks in torch and by `xpscale.model.decoder`."""

__all__ = ["LOG_SCATTER_BOUNDS", "MEAN_BOUND", "SCATTER_FLOOR"]

SCATTER_FLOOR = 1e-3
"""Smallest scatter, in standard deviations of the coefficient over the training sample.

The smallest errors of bright stars are of this size (BP 0, RP 0); below it the likelihood could
grow without bound."""

MEAN_BOUND = 8.0
"""Largest |asinh x_hat|: 1,490 standard deviations, nine times the most extreme star of the APOGEE
library."""

LOG_SCATTER_BOUNDS = (-12.0, 6.0)
"""Of the logarithm of the scatter, before it grows with x_hat."""
