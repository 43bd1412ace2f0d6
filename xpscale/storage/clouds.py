"""The object stores by the scheme of their addresses, and all that differs between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xpscale.storage import azure_settings, gcs_settings, s3_settings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["CLOUDS", "SCHEMES", "Cloud", "cloud_of", "open_store"]


@dataclass(frozen=True, slots=True)
class Cloud:
    """A kind of object store.

    Parameters
    ----------
    title
        What people call it.
    open_container
        The store of a bucket (or container) and a prefix.
    version
        What tells an object from a later one of its key, in obstore's words.
    remedy
        What to check if it refuses.
    """

    title: str
    open_container: Callable[[str, str], ObjectStore]
    version: Literal["e_tag", "version"]
    remedy: str


_AZURE = Cloud("Azure Blob Storage", azure_settings.open_container, "e_tag", azure_settings.REMEDY)
CLOUDS = {
    "s3": Cloud("S3", s3_settings.open_bucket, "e_tag", s3_settings.REMEDY),
    "gs": Cloud("Google Cloud Storage", gcs_settings.open_bucket, "version", gcs_settings.REMEDY),
    "az": _AZURE,
    "abfss": _AZURE,
}
"""By the scheme of an address as `xpscale.storage.address.checked` writes it."""

SCHEMES = {
    **{scheme: scheme for scheme in CLOUDS},
    "gcs": "gs",
    **dict.fromkeys(("azure", "abfs", "adl"), "az"),
}
"""The scheme that we write for each that people write."""


def cloud_of(url: str) -> Cloud | None:
    """The kind of object store of an address; ``None`` for a path or a web address."""
    scheme, found, _ = url.partition("://")
    return CLOUDS.get(scheme) if found else None


def open_store(url: str) -> ObjectStore:
    """The objects at an address of a bucket.

    Parameters
    ----------
    url
        As `xpscale.storage.address.checked` writes it.
    """
    # from_url of obstore would take #, ? and % of a prefix for those of a web address
    scheme, _, rest = url.partition("://")
    container, _, prefix = rest.partition("/")
    return CLOUDS[scheme].open_container(container, prefix)
