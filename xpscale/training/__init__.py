"""Spectra store to model: object-dense samples, the training loop, its metrics."""
