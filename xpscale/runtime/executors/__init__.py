"""Ways to run tasks: one after the other in this process, or on a Dask cluster."""
