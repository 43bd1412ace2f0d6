"""Benchmarks that print tables: ratios within one run, medians of several runs."""
