"""The object stores by the scheme of their addresses, and all that differs between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from xpscale.storage import azure_settings, gcs_settings, s3_settings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from xpscale.storage.environment import Credentials

__all__ = ["CLOUDS", "SCHEMES", "Cloud", "cloud_of", "open_store"]


class Cloud(Protocol):
    """What the module of a kind of object store has."""

    VERSION: Literal["e_tag", "version"]
    """What tells an object from a later one of its key, in obstore's words."""
    REMEDY: str
    """What to check if it refuses."""
    ENDPOINT: str
    """The variable that names another server."""

    def open_container(self, container: str, prefix: str) -> ObjectStore:
        """The objects of a bucket (or container) below a prefix.

        Parameters
        ----------
        container, prefix
            Words of an address.
        """

    def credentials(self) -> Credentials:
        """Who we are, as the environment says."""

    def endpoint(self, container: str) -> str:
        """Address of the server of a bucket."""


CLOUDS: dict[str, Cloud] = {
    "s3": s3_settings,
    "gs": gcs_settings,
    "az": azure_settings,
    "abfss": azure_settings,
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
