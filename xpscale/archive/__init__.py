"""ESA archive files to batches of spectra."""
