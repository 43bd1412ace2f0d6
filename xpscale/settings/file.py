"""A settings file: read, and refused with the key that is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from xpscale.errors import InvalidInputError
from xpscale.local_files import local_path
from xpscale.settings.cluster import Cluster, Local, cluster_from_table
from xpscale.settings.secrets import refuse_secrets
from xpscale.toml_files import from_table, read_toml

__all__ = ["Credentials", "Data", "Settings", "load_cluster", "load_settings"]

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Data:
    """Where things lie: folders or URLs; empty for what the file does not say.

    Parameters
    ----------
    archive
        What ingest reads and ``archive fetch`` writes.
    mirror
        Where ``archive fetch`` reads; ESA's server if empty.
    store, sample, model, catalog, site
        The products.
    release
        The data release, where files do not say: dr3, dr4, or a file that describes it.
    """

    archive: str = ""
    mirror: str = ""
    store: str = ""
    sample: str = ""
    model: str = ""
    catalog: str = ""
    site: str = ""
    release: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How storage is reached, by reference: no secret stands in the file.

    Parameters
    ----------
    profile
        Of ``~/.aws/credentials``: ``AWS_PROFILE``.
    file
        Another file of this kind: ``AWS_SHARED_CREDENTIALS_FILE``.
    variables
        Environment variables that must be set where the command runs.
    endpoint, region
        Of object storage: ``AWS_ENDPOINT_URL``, ``AWS_REGION``.
    """

    profile: str = ""
    file: str = ""
    variables: list[str] = field(default_factory=list)
    endpoint: str = ""
    region: str = ""

    def __post_init__(self) -> None:
        if not all(VARIABLE.fullmatch(name) for name in self.variables):
            raise InvalidInputError(
                "variables holds what is no name of a variable",
                'Give names, not values: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]',
            )

    def environment(self) -> dict[str, str]:
        """Variables for storage libraries; those that are set already keep their values."""
        values = {
            "AWS_PROFILE": self.profile,
            "AWS_SHARED_CREDENTIALS_FILE": self.file and str(local_path(self.file)),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
        }
        return {name: value for name, value in values.items() if value and name not in os.environ}

    def require(self, where: str) -> None:
        """Refuse to begin without the variables.

        Parameters
        ----------
        where
            The file, for the message.

        Raises
        ------
        InvalidInputError
            Some are not set; the message names them.
        """
        if missing := [name for name in self.variables if not os.environ.get(name)]:
            raise InvalidInputError(
                f"{where}: [credentials] variables: not set: {', '.join(missing)}",
                f"export {missing[0]}=...",
            )


@dataclass(frozen=True)
class Settings:
    """What a settings file says.

    Parameters
    ----------
    path
        The file, as it was given.
    data, credentials
        Its tables of these names.
    cluster
        Of its table ``[cluster]``; worker processes on this machine if it has none.
    clusters
        Of its tables ``[clusters.NAME]``.
    training
        Its table ``[training]``, for `xpscale.training.settings.TrainingSettings`.
    content
        All of it, as it stands there.
    """

    path: str = ""
    data: Data = field(default_factory=Data)
    credentials: Credentials = field(default_factory=Credentials)
    cluster: Cluster | None = None
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)

    @property
    def commands(self) -> Mapping[str, Any]:
        """Its other tables: defaults for options of the commands they are named after."""
        own = {each.name for each in fields(self)}
        return {key: value for key, value in self.content.items() if key not in own}

    def cluster_named(self, name: str = "") -> Cluster:
        """A cluster of the file.

        Parameters
        ----------
        name
            Of a table ``[clusters.NAME]``; empty for ``[cluster]``, ``local`` for this machine.

        Raises
        ------
        InvalidInputError
            There is no such table; the message says which there are.
        """
        if name == Local.kind:
            return Local()
        if name and name not in self.clusters:
            known = ", ".join(("local", *self.clusters))
            raise InvalidInputError(
                f"{self.path} has no table [clusters.{name}]", f"Known are {known}"
            )
        if name:
            return self.clusters[name]
        if self.cluster is None:
            raise InvalidInputError(
                f"{self.path} has no table [cluster]", "'xpscale settings init' writes an example"
            )
        return self.cluster


def load_settings(path: str | Path) -> Settings:
    """The settings of a TOML file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        A table or key is not known, a value is not of its type, or a secret stands in the file.
    """
    where = str(path)
    if not where.endswith(".toml"):
        raise InvalidInputError(f"{where} is not called .toml", "Give a settings file: FILE.toml")
    content = read_toml(path, example="'xpscale settings init'")
    refuse_secrets(content, where)
    if not any(isinstance(value, dict) for value in content.values()):
        content = {"training": content}  # a file with nothing but the keys of training
    for key, value in content.items():
        if not isinstance(value, dict):
            raise InvalidInputError(
                f"{where}: {key} stands before the first table", "Move it into one, like [data]"
            )
    named = content.get("clusters", {})
    return Settings(
        path=where,
        data=from_table(Data, content.get("data", {}), f"{where}: [data]"),
        credentials=from_table(
            Credentials, content.get("credentials", {}), f"{where}: [credentials]"
        ),
        cluster=(
            cluster_from_table(content["cluster"], f"{where}: [cluster]")
            if "cluster" in content
            else None
        ),
        clusters={
            name: cluster_from_table(table, f"{where}: [clusters.{name}]")
            for name, table in named.items()
        },
        training=content.get("training", {}),
        content=content,
    )


def load_cluster(reference: str) -> Cluster:
    """The cluster that ``--cluster`` names.

    Parameters
    ----------
    reference
        ``local``; a TOML file with a table ``[cluster]``; or ``FILE:NAME`` for its table
        ``[clusters.NAME]``.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It has no such table, or the table is not valid.
    """
    if not reference or reference == Local.kind:
        return Local()
    path, _, name = reference.partition(".toml:")
    path = f"{path}.toml" if name else reference
    if not path.endswith(".toml"):
        raise InvalidInputError(
            f"--cluster {reference} is no TOML file and no cluster of the settings",
            "Give local, FILE.toml, or the name of a table [clusters.NAME] of --settings",
        )
    return load_settings(path).cluster_named(name)
