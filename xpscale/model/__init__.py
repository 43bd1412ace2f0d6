"""Scatter VAE in plain torch: knows nothing of clusters, tables or stores."""
