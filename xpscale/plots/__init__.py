"""Figures: data in, ``(figure, axes)`` out; nothing is read or written here."""
