"""Clusters that a command starts for itself and ends with itself, as settings describe them."""
