"""How Azure Blob Storage is reached: the environment of Azure's own tools.

=======================================  ========================================================
``AZURE_STORAGE_ACCOUNT_NAME``           the account, where the address does not name it;
                                         ``AZURE_STORAGE_ACCOUNT`` says the same
``AZURE_STORAGE_ACCOUNT_KEY``            its key; ``AZURE_STORAGE_KEY`` says the same
``AZURE_STORAGE_SAS_TOKEN``              or a shared access signature
``AZURE_STORAGE_CONNECTION_STRING``      account, key and server in one
``AZURE_CLIENT_ID`` and the like         or a service principal (with ``AZURE_TENANT_ID`` and
                                         ``AZURE_CLIENT_SECRET``) or a workload's identity
                                         (``AZURE_FEDERATED_TOKEN_FILE``)
``AZURE_USE_AZURE_CLI=true``             or that of ``az login``; else that of the machine
``AZURE_SKIP_SIGNATURE=true``            no credentials: a public container is read
``AZURE_STORAGE_ENDPOINT``               a server other than Azure's
=======================================  ========================================================
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs

from xpscale.errors import InvalidInputError
from xpscale.storage.environment import (
    Credentials,
    client_options,
    end_of,
    first_of,
    is_on,
    require_machine_identity,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["ENDPOINT", "REMEDY", "VERSION", "credentials", "endpoint", "open_container"]

VERSION: Literal["e_tag", "version"] = "e_tag"
ENDPOINT = "AZURE_STORAGE_ENDPOINT"
REMEDY = (
    "Check AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or"
    " AZURE_STORAGE_CONNECTION_STRING; a public container is read with AZURE_SKIP_SIGNATURE=true"
)
IDENTITIES = (
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_IDENTITY_ENDPOINT",
    "AZURE_MSI_ENDPOINT",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_MASTER_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_USE_AZURE_CLI",
)
"""Variables that obstore finds credentials by itself with."""


def open_container(container: str, prefix: str) -> ObjectStore:
    """The objects of a container below a prefix.

    Parameters
    ----------
    container
        Its name, or ``NAME@ACCOUNT.dfs.core.windows.net``.
    prefix
        Below it.

    Raises
    ------
    InvalidInputError
        There is no account or no credentials, or a variable cannot be read.
    """
    from obstore.store import AzureStore

    name, _, host = container.partition("@")
    options = {key: text for key, text in _options(host).items() if text}
    if not options.get("account_name"):
        raise InvalidInputError(
            f"az://{name} names no account, and no variable does",
            "Set AZURE_STORAGE_ACCOUNT_NAME, or write"
            f" abfss://{name}@ACCOUNT.dfs.core.windows.net/FOLDER",
        )
    options["skip_signature"] = is_on("AZURE_SKIP_SIGNATURE")
    is_known = {"account_key", "sas_key"} & set(options) or first_of(*IDENTITIES)
    if not (options["skip_signature"] or is_known):
        require_machine_identity("Azure Blob Storage", REMEDY)
    client = client_options(options.get("endpoint", ""))
    return AzureStore(name, prefix=prefix or None, client_options=client, **options)


def endpoint(container: str) -> str:
    """Address of the server of a container."""
    found = _options(container.partition("@")[2])
    return found["endpoint"] or f"https://{found['account_name']}.blob.core.windows.net"


def credentials() -> Credentials:
    """Who we are."""
    if is_on("AZURE_SKIP_SIGNATURE"):
        return Credentials("none (AZURE_SKIP_SIGNATURE)")
    found = _options("")
    if signature := found["sas_key"]:
        end = end_of(parse_qs(signature).get("se", [""])[0])
        return Credentials("a shared access signature", end, is_temporary=True)
    if found["account_key"]:
        return Credentials(f"the key of account {found['account_name']}")
    named = next((name for name in IDENTITIES if os.environ.get(name)), "the machine")
    return Credentials(named, is_temporary=named == "AZURE_STORAGE_TOKEN")


def _options(host: str) -> dict[str, Any]:
    """Account, key or signature, and server, of a host or the environment; empty where unknown."""
    given = dict(
        part.split("=", 1)
        for part in os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";")
        if "=" in part
    )
    account, _, domain = host.partition(".")
    if account and given.get("AccountName") not in (None, account):
        given = {}  # it is of another account
    server = first_of("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT") or given.get("BlobEndpoint")
    if not server and domain:
        server = f"https://{account}.{domain.replace('dfs.', 'blob.', 1)}"
    if not server and (suffix := given.get("EndpointSuffix")):
        server = f"https://{given.get('AccountName')}.blob.{suffix}"
    key = first_of("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY")
    signature = first_of("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY")
    return {
        "account_name": account
        or given.get("AccountName")
        or first_of("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
        "account_key": given.get("AccountKey") or key,
        "sas_key": (given.get("SharedAccessSignature") or signature).lstrip("?"),
        "endpoint": server,
    }
