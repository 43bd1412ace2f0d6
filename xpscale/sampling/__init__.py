"""Spectra store to object-dense samples."""
