"""Certificates with which scheduler, workers and clients of a Dask cluster know each other.

::

    FOLDER/
        ca.pem              who signed the certificate; its key is thrown away
        cluster.pem         the certificate that all of them show
        cluster-key.pem     its key: whoever can read it may run code on the cluster

A scheduler runs any code that a client sends it.  With TLS it listens only to those who show this
certificate, and nobody else reads what is sent.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING

from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.extras import naming_extras
from xpscale.local_files import local_path, read_local

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from distributed.security import Security

__all__ = ["REMEDY", "VARIABLE", "certificates_folder", "make_certificates", "security"]

VARIABLE = "XPSCALE_TLS"
"""Names the folder where nothing else does."""

REMEDY = f"with certificates it is at tls://; theirs are tls in the settings, or {VARIABLE}"

CA, CERTIFICATE, KEY = "ca.pem", "cluster.pem", "cluster-key.pem"


def certificates_folder(given: str) -> str:
    """The folder of certificates: the one given, or that of the environment; empty for no TLS.

    Parameters
    ----------
    given
        As the settings say.
    """
    return os.path.expanduser(given or os.environ.get(VARIABLE, ""))


def make_certificates(folder: str | Path, days: int = 365) -> datetime.datetime:
    """Write new certificates, readable by this user alone.

    Parameters
    ----------
    folder
        Where to; it is made.
    days
        How long they are good for.

    Returns
    -------
    datetime
        When they end, UTC.

    Raises
    ------
    ConflictError
        There are some.
    """
    with naming_extras():
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    place = local_path(folder)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if there := [name for name in (CA, CERTIFICATE, KEY) if (place / name).exists()]:
        raise ConflictError(
            f"{place}/{there[0]} is already there",
            "Give another folder; running clusters keep the certificates they were started with",
        )
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    ca = _certificate("xpscale cluster CA", ca_key, ca_key, days, is_ca=True)
    certificate = _certificate("xpscale cluster", key, ca_key, days, is_ca=False)
    files = {
        CA: ca.public_bytes(pem),
        CERTIFICATE: certificate.public_bytes(pem),
        KEY: key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    for name, data in files.items():
        with open(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    return certificate.not_valid_after_utc


def _certificate(name: str, key: object, ca_key: object, days: int, *, is_ca: bool) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("xpscale cluster CA"))
        .public_key(key.public_key())  # type: ignore[attr-defined]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())  # type: ignore[arg-type]
    )


def security(folder: str | Path) -> Security:
    """What a Dask scheduler, worker or client is told, so that it talks to its like alone.

    Parameters
    ----------
    folder
        From `make_certificates`.

    Raises
    ------
    NotFoundError
        A file is missing.
    InvalidInputError
        The certificate has ended, or is none.
    """
    from distributed.security import Security

    place = local_path(folder)
    for name in (CA, CERTIFICATE, KEY):
        if not (place / name).is_file():
            raise NotFoundError(
                f"{place} has no {name}", f"Make certificates: xpscale certificates make {place}"
            )
    _require_valid(place / CERTIFICATE)
    ca, certificate, key = (str(place / name) for name in (CA, CERTIFICATE, KEY))
    roles = {
        f"tls_{role}_{what}": path
        for role in ("client", "scheduler", "worker")
        for what, path in (("cert", certificate), ("key", key))
    }
    return Security(tls_ca_file=ca, require_encryption=True, **roles)


def _require_valid(path: Path) -> None:
    with naming_extras():
        from cryptography import x509
    try:
        end = x509.load_pem_x509_certificate(read_local(path)).not_valid_after_utc
    except ValueError as error:
        raise InvalidInputError(f"{path} is no certificate ({error})", "Make new ones") from error
    if end < datetime.datetime.now(datetime.UTC):
        raise InvalidInputError(
            f"{path} ended at {end:%Y-%m-%d %H:%M} UTC",
            "Make new ones in another folder, and start the cluster with these",
        )
