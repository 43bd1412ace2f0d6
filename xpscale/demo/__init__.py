"""The demo: the whole flow on real stars, on one machine."""
