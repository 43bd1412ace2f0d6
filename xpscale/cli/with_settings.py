"""``--settings`` for every command, and ``--submit`` for those that take a cluster."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from xpscale.cli.settings_file import (
    COMMANDS,
    VARIABLE,
    Function,
    found,
    parameters,
    require_known_tables,
)
from xpscale.errors import InvalidInputError
from xpscale.settings.file import Settings, load_settings

__all__ = ["install"]

MOST = 2**63 - 1
"""Largest integer that libraries below us hold."""

SUBMIT = typer.Option(
    "--submit", help="Queue this command as a job of SLURM, which goes on where it was stopped."
)


def install(app: typer.Typer, parents: tuple[str, ...] = ()) -> None:
    """Give every command of an application ``--settings``.

    Parameters
    ----------
    app
        With all its commands.
    parents
        Names of the groups that it stands in.
    """
    for one in app.registered_commands:
        assert one.callback is not None
        name = one.name or one.callback.__name__.strip("_").replace("_", "-")
        one.callback = _with_settings(" ".join((*parents, name)), one.callback)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        install(group.typer_instance, (*parents, str(group.name)))


def _with_settings(command: str, function: Function) -> Function:
    """The same command with ``--settings``, and ``--submit`` if it takes a cluster."""
    signature = inspect.signature(function, eval_str=True)
    COMMANDS[command] = parameters(command, function)
    takes_settings = "settings" in signature.parameters
    takes_cluster = "cluster" in signature.parameters

    @functools.wraps(function)
    def run(context: typer.Context, settings: str, submit: bool = False, **values: Any) -> Any:
        _require_usable(context)
        if takes_cluster:
            values |= _who_works(command, context, settings, values)
        if submit:
            _submit(values)
            return None
        return function(**values, **({"settings": settings} if takes_settings else {}))

    own = [each for each in signature.parameters.values() if each.name != "settings"]
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    added = [
        _added("context", typer.Context),
        *([_added("submit", Annotated[bool, SUBMIT], False)] if takes_cluster else []),
        _added("settings", Annotated[str, _option(command)], ""),
    ]
    # what typer reads is the signature, and not that of the function inside
    shown: Any = run
    shown.__signature__ = signature.replace(parameters=[*own, *added])
    shown.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    del shown.__wrapped__
    return run


def _require_usable(context: typer.Context) -> None:
    """Refuse a value that is given and empty, as a variable of the shell may be: it would mean all.
    And integers that no counter holds.

    A text that takes back what the settings file says may be empty.
    """
    for one in context.command.params:
        name = str(one.name)
        value, usual = context.params.get(name), (context.default_map or {}).get(name, one.default)
        values = value if isinstance(value, list | tuple) else [value]
        is_given = str(context.get_parameter_source(name)).endswith("COMMANDLINE")
        if is_given and isinstance(value, int) and abs(value) > MOST:
            raise InvalidInputError(f"{one.opts[0]} is {value}", "Give another number")
        if is_given and not usual and any(isinstance(v, str) and not v.strip() for v in values):
            raise InvalidInputError(
                f"{one.opts[0] if one.opts[0].startswith('-') else name} is empty",
                "Give it a value, or leave it out",
            )


def _option(command: str) -> Any:
    """``--settings``, read before all other parameters: it gives them their defaults."""

    def apply(context: typer.Context, value: str) -> str:
        path = value or os.environ.get(f"{VARIABLE}SETTINGS", "")
        settings = load_settings(path) if path else Settings()
        require_known_tables(settings)
        context.default_map = {name: one.value for name, one in found(command, settings).items()}
        if not command.startswith("settings "):
            os.environ.update(settings.credentials.environment())
            settings.credentials.require(path)
        return path

    return typer.Option(
        metavar="FILE.toml",
        help="Defaults of arguments and options, the cluster; see 'xpscale settings init'.",
        is_eager=True,
        callback=apply,
        show_default=False,
    )


def _added(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def _submit(values: Mapping[str, Any]) -> None:
    """Queue this command as a job of its own."""
    from xpscale.cli.common import chosen_cluster, say
    from xpscale.clusters.job_scripts import submit
    from xpscale.settings.slurm import Slurm

    cluster = chosen_cluster(values["cluster"], values["scheduler"], values["workers"])
    if not isinstance(cluster, Slurm):
        raise InvalidInputError(
            "--submit needs a cluster of the kind slurm",
            "Give --cluster FILE.toml; 'xpscale settings init --kind slurm' writes one",
        )
    job = submit(cluster, [each for each in sys.argv[1:] if each != "--submit"])
    say(
        f"job {job} is queued: squeue --job {job}; it prints to {cluster.logs}/, and is queued"
        " again until the work is done"
    )


def _who_works(
    command: str, context: typer.Context, path: str, values: Mapping[str, Any]
) -> dict[str, str]:
    """``--cluster`` and ``--scheduler``, of which the nearer one counts.

    Raises
    ------
    InvalidInputError
        Both are on the command line.
    """
    cluster, scheduler = values["cluster"], values["scheduler"]
    if cluster and cluster != "local" and ".toml" not in cluster and path:
        cluster = f"{path}:{cluster}"  # a table [clusters.NAME]
    if not (cluster and scheduler):
        return {"cluster": cluster}
    elsewhere = found(command, load_settings(path) if path else Settings())
    near = {
        name: 0
        if str(context.get_parameter_source(name)).endswith("COMMANDLINE")
        else 2 - elsewhere[name].is_environment
        for name in ("cluster", "scheduler")
    }
    if near["cluster"] == near["scheduler"] == 0:
        raise InvalidInputError("--cluster and --scheduler exclude each other", "Give one of them")
    wins = near["cluster"] < near["scheduler"]
    return {"cluster": cluster, "scheduler": ""} if wins else {"cluster": ""}
