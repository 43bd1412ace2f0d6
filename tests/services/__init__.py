"""Runs that are disturbed by every fault of design/005, and what must be there afterwards."""
