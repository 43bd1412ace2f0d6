"""Objects at a URL, and whose place it is."""

from xpscale.storage.value import Storage

__all__ = ["Storage"]
