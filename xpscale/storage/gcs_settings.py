"""How Google Cloud Storage is reached: the environment of Google's own tools.

=======================================  ========================================================
``GOOGLE_APPLICATION_CREDENTIALS``       file of credentials; ``GOOGLE_SERVICE_ACCOUNT`` (a file)
                                         and ``GOOGLE_SERVICE_ACCOUNT_KEY`` (its text) say the
                                         same; else those of ``gcloud auth application-default
                                         login`` or of a machine
``GOOGLE_BEARER_TOKEN``                  a token, as ``gcloud auth print-access-token`` prints it
``GOOGLE_SKIP_SIGNATURE=true``           no credentials: a public bucket is read
``STORAGE_EMULATOR_HOST``                a server other than Google's, without credentials;
                                         ``GOOGLE_BASE_URL`` the same with credentials
=======================================  ========================================================
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xpscale.storage.environment import (
    Credentials,
    client_options,
    first_of,
    is_on,
    require_machine_identity,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["ENDPOINT", "REMEDY", "VERSION", "credentials", "endpoint", "open_container"]

VERSION: Literal["e_tag", "version"] = "version"
ENDPOINT = "STORAGE_EMULATOR_HOST"
REMEDY = (
    "Check GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login; a public"
    " bucket is read with GOOGLE_SKIP_SIGNATURE=true"
)
CREDENTIALS = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
)


def open_container(container: str, prefix: str) -> ObjectStore:
    """The objects of a bucket below a prefix.

    Parameters
    ----------
    container, prefix
        Words of an address.

    Raises
    ------
    InvalidInputError
        There are no credentials, or a variable cannot be read.
    """
    from obstore.store import GCSStore

    given = _given_endpoint()
    options: dict[str, Any] = {"skip_signature": is_on("GOOGLE_SKIP_SIGNATURE")}
    if given:
        options["base_url"] = given
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        options["bearer_token"] = "emulator"
    elif not (options["skip_signature"] or first_of(*CREDENTIALS) or _gcloud_login().exists()):
        require_machine_identity("Google Cloud Storage", REMEDY)
    return GCSStore(
        container, prefix=prefix or None, client_options=client_options(given), **options
    )


def _given_endpoint() -> str:
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    if emulator and "://" not in emulator:
        emulator = f"http://{emulator}"
    return (emulator or os.environ.get("GOOGLE_BASE_URL", "")).rstrip("/")


def endpoint(container: str) -> str:
    """Address of the server of a bucket."""
    return _given_endpoint() or "https://storage.googleapis.com"


def credentials() -> Credentials:
    """Who we are."""
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return Credentials("an emulator asks for none (STORAGE_EMULATOR_HOST)")
    if is_on("GOOGLE_SKIP_SIGNATURE"):
        return Credentials("none (GOOGLE_SKIP_SIGNATURE)")
    if os.environ.get("GOOGLE_BEARER_TOKEN"):
        return Credentials("GOOGLE_BEARER_TOKEN", is_temporary=True)
    if named := next((name for name in CREDENTIALS if os.environ.get(name)), ""):
        return Credentials(named)
    login = _gcloud_login()
    return Credentials(str(login) if login.exists() else "the machine")


def _gcloud_login() -> Path:
    """What ``gcloud auth application-default login`` writes."""
    folder = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
    return Path(folder) / "application_default_credentials.json"
