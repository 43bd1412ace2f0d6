"""Spectra store and model to parts of a catalogue."""
