"""Measurements that print tables: ratios within one run, medians of several."""
