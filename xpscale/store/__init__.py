"""The spectra store: Zarr v3, one group per HEALPix partition, sorted by position on the sky."""
