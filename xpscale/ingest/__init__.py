"""Archive files to a spectra store, as a plan of tasks like any other."""
