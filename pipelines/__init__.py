"""Recipes: each chooses and combines the public API, and defines nothing of its own.  Copy one and
change it.
"""
