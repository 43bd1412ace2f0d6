"""``xpscale settings show|check|init``."""

from __future__ import annotations

import os
from dataclasses import asdict, fields
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpscale.cli.common import Json, Overwrite, SettingsFile, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xpscale.settings.file import Settings

__all__ = ["register"]

nouns = typer.Typer(
    no_args_is_help=True,
    help="One file for all commands: write one, check it, or show where each value comes from.",
)

FILE = "xpscale.toml"


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(nouns, name="settings")


@nouns.command()
def init(
    file: Annotated[str, typer.Argument(metavar="[FILE.toml]", help="Where to write.")] = FILE,
    kind: Annotated[
        str,
        typer.Option("--kind", help="Of the cluster: local, scheduler, slurm or kubernetes."),
    ] = "local",
    overwrite: Overwrite = False,
) -> None:
    """Write a settings file to start from, with every key explained."""
    from xpscale.errors import InvalidInputError
    from xpscale.settings.cluster import KINDS
    from xpscale.storage.single_file import put_file, require_free

    if kind not in KINDS:
        raise InvalidInputError(f"--kind {kind} is not known", f"Give one of {', '.join(KINDS)}")
    if not file.endswith(".toml"):
        raise InvalidInputError(f"{file} is not called .toml", f"Give a name like {FILE}")
    require_free(file, overwrite=overwrite)
    parts = files("xpscale.settings")
    names = ("data", kind, "commands")
    text = "\n".join(parts.joinpath(f"{name}.toml").read_text("utf-8") for name in names)
    put_file(file, text.encode(), overwrite=overwrite)
    say(f"written: {file}; edit it, then: xpscale settings check {file}")


@nouns.command()
def check(
    file: Annotated[str, typer.Argument(metavar="[FILE.toml]", help="The settings file.")] = FILE,
) -> None:
    """Verify a settings file: keys, types, no secrets, variables that must be set."""
    from xpscale.cli.settings_file import require_known_tables
    from xpscale.settings.file import load_settings

    settings = load_settings(file)
    require_known_tables(settings)
    if settings.training:
        from xpscale.training.settings import TrainingSettings

        TrainingSettings.from_toml(file)
    settings.credentials.require(file)
    print("sound")


@nouns.command()
def show(
    file: Annotated[
        str, typer.Argument(metavar="[FILE.toml]", help="The settings file, or --settings.")
    ] = "",
    settings: SettingsFile = "",
    json: Json = False,
) -> None:
    """Print every value that the file or the environment sets, and which of them does."""
    from xpscale.settings.file import Settings, load_settings

    path = file or settings
    rows = list(_rows(load_settings(path) if path else Settings()))
    if json:
        names = ("table", "key", "value", "origin")
        print_json({"settings": [dict(zip(names, row, strict=True)) for row in rows]})
        return
    texts = [f"{key} = {_toml(value)}" for _, key, value, _ in rows]
    width = max(map(len, texts), default=0)
    last = ""
    for text, (table, _, _, origin) in zip(texts, rows, strict=True):
        if table != last:
            print("\n" * bool(last) + f"[{table}]")
        last = table
        print(f"{text:<{width}}  # {origin}")


def _rows(settings: Settings) -> Iterator[tuple[str, str, Any, str]]:
    """Table, key, value and origin of each setting."""
    from xpscale.cli.settings_file import COMMANDS, VARIABLE, found, require_known_tables

    require_known_tables(settings)
    for each in fields(settings.data):
        name = VARIABLE + each.name.upper()
        if value := os.environ.get(name) or getattr(settings.data, each.name):
            yield "data", each.name, value, name if os.environ.get(name) else settings.path
    tables = {"cluster": settings.cluster} if settings.cluster else {}
    tables |= {f"clusters.{name}": cluster for name, cluster in settings.clusters.items()}
    for table, cluster in tables.items():
        given: Any = settings.content
        for name in table.split("."):
            given = given[name]
        values = {"kind": cluster.kind, **asdict(cluster)}
        yield from _given(table, values, given, settings.path)
    for table in ("credentials", "training"):
        for key, value in settings.content.get(table, {}).items():
            yield table, key, value, settings.path
    for command, takes in COMMANDS.items():
        values = found(command, settings)
        for taken in takes:
            one = values.get(taken.name)
            if one and taken.is_option and not one.origin.endswith(("[data]", "[cluster]")):
                yield command.replace(" ", "."), taken.key, one.value, one.origin.partition(" [")[0]


def _given(
    table: str, values: dict[str, Any], given: dict[str, Any], path: str
) -> Iterator[tuple[str, str, Any, str]]:
    """The values of a cluster: from the file, or defaults."""
    client = values.pop("client", {})
    for key, value in values.items():
        if value not in (None, "", [], {}):
            yield table, key, value, path if key in given else "default"
    if client:
        yield from _given(f"{table}.client", client, given.get("client", {}), path)


def _toml(value: Any) -> str:
    """A value as a TOML file has it."""
    import json

    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
