"""What a report is made of: sections of tables and figures, each with what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xpscale.evaluation.bootstrap import Estimate

__all__ = ["Drawing", "Section", "Table"]


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers by row and column.

    Parameters
    ----------
    title
        What they are.
    meaning
        What they say, in a sentence.
    rows
        Cells by the name of their column, by the name of their row: estimates, text or numbers.
    first
        Head of the column of names.
    """

    title: str
    meaning: str
    rows: Mapping[str, Mapping[str, Any]]
    first: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(dict.fromkeys(name for row in self.rows.values() for name in row))

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        rows = {
            name: {
                column: cell.to_json() if isinstance(cell, Estimate) else cell
                for column, cell in row.items()
            }
            for name, row in self.rows.items()
        }
        return {"title": self.title, "meaning": self.meaning, "rows": rows}

    def to_markdown(self) -> str:
        """A table of Markdown."""
        lines = [[self.first, *self.columns], ["---"] * (1 + len(self.columns))]
        lines += [
            [name, *(str(row.get(column, "")) for column in self.columns)]
            for name, row in self.rows.items()
        ]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A figure with what it says.

    Parameters
    ----------
    figure
        Of matplotlib.
    title
        What it shows.
    meaning
        What it says, in a sentence.
    """

    figure: Any
    title: str
    meaning: str


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A part of the report.

    Parameters
    ----------
    name
        Of its files and its place in the JSON: letters, digits and ``_``.
    title
        Its heading.
    sentence
        Its main result, in plain words.
    tables
        By name.
    drawings
        By name.
    """

    name: str
    title: str
    sentence: str
    tables: Mapping[str, Table] = field(default_factory=dict)
    drawings: Mapping[str, Drawing] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON can hold them."""
        return {
            "title": self.title,
            "sentence": self.sentence,
            "tables": {name: table.to_json() for name, table in self.tables.items()},
        }
