"""Bounds of the networks, shared by torch, numpy (`xpscale.model.decoder`) and compiled code."""

__all__ = [
    "ERROR_BOUNDS",
    "LARGEST_RESIDUAL",
    "LATENT_LOG_VAR_BOUNDS",
    "LAYER_NORM_EPS",
    "LOG_SCATTER_BOUNDS",
    "MEAN_BOUND",
    "SCATTER_FLOOR",
    "SMALLEST_DIAGONAL",
]

SCATTER_FLOOR = 1e-3
"""Smallest scatter, in standard deviations of the coefficient over the training sample.

The smallest errors of bright stars are of this size (BP 0, RP 0); below it the likelihood could
grow without bound."""

MEAN_BOUND = 8.0
"""Largest |asinh x_hat|: 1,490 standard deviations, nine times the most extreme star of the APOGEE
library."""

LOG_SCATTER_BOUNDS = (-12.0, 6.0)
"""Of the logarithm of the scatter, before it grows with x_hat."""

LATENT_LOG_VAR_BOUNDS = (-20.0, 5.0)
"""The encoder's log variances are clamped to this range.

The published weights reach -15.2 on spectra of their own prior and never exceed 0.6 there.  Without
an upper bound one outlier's variance of e^13 sets the loss of the whole held-out set (spikes of
+500 nats in the published training log)."""

SMALLEST_DIAGONAL = 1e-6
"""Of the factor of a turned posterior: below it float32 cannot tell two latents apart."""

ERROR_BOUNDS = (1e-6, 1e3)
"""Of a standardized error; an element that is not seen has the upper one."""

LARGEST_RESIDUAL = 1e6
"""Residuals are bounded to this many standard deviations, so that none is infinite in float32."""

LAYER_NORM_EPS = 1e-5
"""Added to the variance by LayerNorm: torch's default."""
