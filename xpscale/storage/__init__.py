"""Objects at a URL, and whose place it is."""

from xpscale.storage.value import BLOCK_BYTES, Storage, Stream

__all__ = ["BLOCK_BYTES", "Storage", "Stream"]
