"""Runs with every fault of design/005 injected, and the catalogue that must exist afterwards."""
