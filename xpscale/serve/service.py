"""A query from its parameters to a file with the result, for both ways of TAP to wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from xpscale.serve.database import Database, Stop
from xpscale.serve.formats import write_result
from xpscale.serve.plan import plan

if TYPE_CHECKING:
    from xpscale.query.version import CatalogVersion
    from xpscale.serve.requests import TapRequest
    from xpscale.serve.uploads import Upload

__all__ = ["answer", "words_of_result"]


def answer(
    database: Database,
    request: TapRequest,
    uploads: Mapping[str, Upload],
    file: IO[bytes],
    stop: Stop,
    seconds: float,
    queue_s: float,
) -> int:
    """Write the result of a query and return its number of rows.

    Parameters
    ----------
    database
        Where it runs.
    request
        What is asked.
    uploads
        The user's tables, by name.
    file
        Where the result goes.
    stop
        Stops it.
    seconds, queue_s
        Its time, and that in which its turn must come.

    Raises
    ------
    XpscaleError
        In one line.
    """
    limits = database.limits
    with database.turn(stop, queue_s):
        made = plan(request.query, database.version, database.tables, uploads, request.max_rows)
        columns = tuple(
            replace(column, ucd=request.ucds.get(column.name, column.ucd))
            for column in made.columns
        )
        made = replace(made, columns=columns)
        with database.rows(made, stop, seconds) as (schema, batches):
            return write_result(
                request.form,
                file,
                schema,
                batches,
                words_of_result(database.version, request.query),
                request.max_rows,
                limits.result_bytes,
            )


def words_of_result(version: CatalogVersion, query: str) -> dict[str, str]:
    """What a result says of itself; the catalogue's address is the server's own.

    Parameters
    ----------
    version
        The catalogue.
    query
        What was asked.
    """
    words = version.provenance(query)
    return {name: word for name, word in words.items() if name != "catalog"}
