"""Objects at a URL, and whose place it is."""

from xpscale.storage.readable import BLOCK_BYTES, Stream
from xpscale.storage.value import Storage

__all__ = ["BLOCK_BYTES", "Storage", "Stream"]
